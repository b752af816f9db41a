"""`make shell`: a shell, or the one command in CMD, with the running demo's settings and the virtual environment on.

`python -m dev.shell COMMAND` keeps the command's exit status, where make turns every failure into 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from dev import environment


def main(arguments: list[str]) -> NoReturn:
    """Become the shell, or exit with 1 when there is no demo to be in."""
    home = environment.home_folder(os.environ)
    settings = environment.running(home)
    if settings is None:
        sys.exit(f"No demo is running in {home}: start it with `make demo` first.")
    programs = Path(sys.executable).parent
    settings |= {"VIRTUAL_ENV": str(programs.parent), "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = " ".join(arguments) or os.environ.get("CMD", "")
    shell = ["/bin/sh", "-c", command] if command else [os.environ.get("SHELL") or "/bin/sh"]
    os.chdir(environment.CHECKOUT)
    os.execvpe(shell[0], shell, environment.inherited(os.environ) | settings)


if __name__ == "__main__":
    main(sys.argv[1:])

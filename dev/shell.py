"""`make shell`: a shell, or the one command in CMD, with the settings of the running demo and the virtual environment on.

`python -m dev.shell COMMAND` keeps the command's exit status, where make turns every failure into 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dev import environment


def main(arguments: list[str]) -> int:
    """Become the shell; returns only when there is no demo to be in."""
    home = environment.home_folder(os.environ)
    settings = environment.running(home)
    if settings is None:
        print(f"No demo is running in {home}: start it with `make demo` first.", file=sys.stderr)
        return 1
    programs = Path(sys.executable).parent
    settings |= {"VIRTUAL_ENV": str(programs.parent), "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = " ".join(arguments) or os.environ.get("CMD", "")
    shell = ["/bin/sh", "-c", command] if command else [os.environ.get("SHELL") or "/bin/sh"]
    os.chdir(environment.CHECKOUT)
    os.execvpe(shell[0], shell, environment.inherited(os.environ) | settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

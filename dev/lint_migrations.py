"""`python -m dev.lint_migrations`: squawk reads the SQL that the migrations would run, each as its own file."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from flask_migrate import upgrade

from app import create_app

ROOT = Path(__file__).parent.parent
# The SQL is only printed, so nothing has to be there.
_NOWHERE = {
    "app_env": "test",
    "database_url": "postgresql://tripdesk_app@nowhere/tripdesk",
    "database_owner_url": "postgresql://tripdesk_owner@nowhere/tripdesk",
    "redis_url": "redis://nowhere",
}


def main() -> int:
    """Lint every migration; squawk's exit status."""
    logging.disable()  # its lines would stand between the statements
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        before = "base"
        for revision in revisions:
            file = Path(folder) / f"{revision}.sql"
            file.write_text(_sql(f"{before}:{revision}"))
            files.append(file)
            before = revision
        squawk = Path(sys.executable).parent / "squawk"  # of this environment, activated or not
        return subprocess.run([squawk, "--config", ROOT / ".squawk.toml", *files], check=False).returncode


def _sql(span: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), create_app(**_NOWHERE).app_context():
        upgrade(str(ROOT / "migrations"), revision=span, sql=True)
    return printed.getvalue()


if __name__ == "__main__":
    sys.exit(main())

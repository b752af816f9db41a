"""The WSGI entry: `wsgi:app`. Wrong settings end the start with one clear line each."""

import sys

from app import create_app
from app.config import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.exit(f"Tripdesk can't start:\n{error}")

"""The demo's marketplace is what the invariants are tried on."""

from __future__ import annotations

from tests.demo.conftest import seeded, seeded_app

__all__ = ["seeded", "seeded_app"]

"""The reason a person gives for what they do, as it is kept in the trail."""

from __future__ import annotations

from app.errors import Invalid

MAX_LENGTH = 5_000


def given(reason: str | None) -> str:
    """The reason without the space around it. Raises Invalid when there is none, or over `MAX_LENGTH` characters."""
    said = (reason or "").strip()
    if not said:
        raise Invalid.field("reason", "Say why.")
    if len(said) > MAX_LENGTH:
        raise Invalid.field("reason", f"Use at most {MAX_LENGTH:,} characters.")
    return said

"""Typed confirmation: what can't be taken back is done only by who typed the name of what it is done to.

The route is declared so, its `Action` shows the field, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from flask import request

from app.console import session
from app.errors import Invalid


def typed(may: Collection[str], name_of: Callable[..., str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a page's POST go through only where `typed` is what `name_of` gives for the route's arguments, in whatever
    case. Raises NotAllowed for who holds none of the roles `may`, else Invalid by field; nothing is done then.
    """

    def declare(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def serve(*arguments: Any, **named: Any) -> Any:
            session.actor().require(*may)
            require(name_of(**named))
            return view(*arguments, **named)

        serve.asks_to_type = True  # type: ignore[attr-defined]  # read by the test
        return serve

    return declare


def require(wanted: str) -> None:
    """Raises Invalid by field unless `typed` is this, in whatever case; for a route that asks for it at times only."""
    if request.form.get("typed", "").strip().casefold() != wanted.casefold():
        raise Invalid.field("typed", f"Type {wanted} to confirm it. Nothing was done.")

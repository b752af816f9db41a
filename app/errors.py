"""The ways a verb says no; every door translates them once, into its own kind of answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of the input; `field` is named as the caller named it."""

    field: str
    message: str


class TripdeskError(Exception):
    """A refusal with a sentence a person can read. `status` and `title` are what the doors answer with."""

    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(TripdeskError):
    """What was asked makes no sense as written; `fields` says where."""

    status = 422
    title = "Invalid input"

    def __init__(self, detail: str, fields: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.fields = fields or []

    @classmethod
    def field(cls, name: str, message: str) -> Invalid:
        """One field is wrong."""
        return cls(message, [FieldError(name, message)])


class NotSignedIn(TripdeskError):
    """Nobody, or nobody we can verify, is asking: the doors' own refusal, verbs never raise it."""

    status = 401
    title = "Sign in first"


class NotAllowed(TripdeskError):
    """This person may not do that."""

    status = 403
    title = "Not allowed"


class NotFound(TripdeskError):
    """There is no such thing, or this person may not know of it."""

    status = 404
    title = "Not found"


class Conflict(TripdeskError):
    """It made sense, but not in the state things are in."""

    status = 409
    title = "Conflict"

    def __init__(self, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooMany(TripdeskError):
    """Asked too often; `retry_after` is in seconds."""

    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(TripdeskError):
    """Not now: something we need is down or busy. `retry_after` is in seconds."""

    status = 503
    title = "Try again shortly"

    def __init__(self, detail: str, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Busy(Unavailable):
    """A lock or statement timeout: somebody else is at the same rows."""

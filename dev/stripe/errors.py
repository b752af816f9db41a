"""The errors that Stripe answers with, in Stripe's words and shape (https://docs.stripe.com/api/errors)."""

from typing import Any


class ApiError(Exception):
    """An answer that is not 2xx. The body is Stripe's `{"error": {...}}` once the request id is known.

    `executed` says whether the endpoint had begun its work: only then is the answer kept for the idempotency key.
    `keeps_work` says that rows written before the error stand, as with a declined card.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        executed: bool = True,
        keeps_work: bool = False,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.keeps_work = keeps_work
        self.headers = headers or {}
        self.error = {"type": kind, "message": message} | {k: v for k, v in fields.items() if v is not None}
        if code := self.error.get("code"):
            self.error["doc_url"] = doc_url(code)

    def body(self, request_id: str, now: int) -> dict[str, Any]:
        """The answer's JSON, which names the request as Stripe's does."""
        log = f"https://dashboard.stripe.com/test/logs/{request_id}?t={now}"
        return {"error": dict(sorted((self.error | {"request_log_url": log}).items()))}


def doc_url(code: str) -> str:
    """Where Stripe explains an error code."""
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def invalid_parameter(message: str, param: str, code: str | None = None) -> ApiError:
    """A parameter that fails before anything is done, so that the idempotency key stays free."""
    return ApiError(400, message, param=param, code=code, executed=False)


def no_such(kind: str, identifier: str, param: str = "id") -> ApiError:
    """An object that does not exist: 404 when the URL names it, 400 when a parameter does."""
    return ApiError(
        404 if param in ("id", "intent", "dispute") else 400,
        f"No such {kind}: '{identifier}'",
        param=param,
        code="resource_missing",
    )


def unrecognized_url(method: str, path: str) -> ApiError:
    """A URL or method that the API does not have."""
    return ApiError(
        404,
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove the trailing slash. "
        "If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code. "
        "Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
    )


def missing_key() -> ApiError:
    """No credentials came with the request."""
    return ApiError(
        401,
        "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer "
        "auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for "
        "details, or we can help at https://support.stripe.com/.",
        headers={"WWW-Authenticate": 'Basic realm="Stripe"'},
    )


def wrong_key(key: str) -> ApiError:
    """Credentials that are not this account's; like Stripe's, the message shows only their ends."""
    masked = key[:8] + "*" * max(len(key) - 12, 4) + key[-4:] if len(key) > 12 else "*" * len(key)
    return ApiError(401, f"Invalid API Key provided: {masked}", headers={"WWW-Authenticate": 'Basic realm="Stripe"'})


def rate_limited() -> ApiError:
    """Too many requests; nothing was done."""
    return ApiError(
        429,
        "Request rate limit exceeded. Learn more about rate limits https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        executed=False,
        headers={"Stripe-Rate-Limited-Reason": "global-rate"},
    )


def server_error(*, retry: bool) -> ApiError:
    """Stripe's own failure. `retry` is what `Stripe-Should-Retry` tells the client."""
    return ApiError(
        500,
        "Sorry! There was an error while talking to Stripe. Please try again later.",
        kind="api_error",
        headers={"Stripe-Should-Retry": "true" if retry else "false"},
    )


def key_in_use(key: str) -> ApiError:
    """Another request with the same idempotency key is being worked on right now."""
    return ApiError(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later.",
        kind="idempotency_error",
        code="idempotency_key_in_use",
        executed=False,
        headers={"Stripe-Should-Retry": "true"},
    )


def key_reused(key: str, first_path: str, path: str) -> ApiError:
    """The idempotency key was first used for something else."""
    if first_path != path:
        what = f"for the same endpoint they were first used for ('{path}' vs '{first_path}')"
    else:
        what = "with the same parameters they were first used with"
    return ApiError(
        400,
        f"Keys for idempotent requests can only be used {what}. "
        f"Try using a key other than '{key}' if you meant to execute a different request.",
        kind="idempotency_error",
        executed=False,
    )

"""Jobs of accounts: answering who forgot a password, and forgetting what is old."""

from __future__ import annotations

from app.accounts import claims, credentials, throttle
from app.accounts.models import PasswordResetRequest
from jobs import due, job


@job
def answer_password_reset_request(reset_request_id: int) -> None:
    """Mail a link to whoever forgot their password, if they have an account."""
    if due(PasswordResetRequest, reset_request_id):
        credentials.answer_password_reset_request(reset_request_id)


@job
def forget_old() -> None:
    """Delete old counts of wrong sign-ins, requests for passwords, and claims of those who went away."""
    throttle.forget_old()
    credentials.forget_old_requests()
    claims.forget_old()

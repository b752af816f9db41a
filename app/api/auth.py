"""/v1/auth: registering, logging in and out, new tokens, passwords and addresses by mail."""

from __future__ import annotations

from flask import request
from pydantic import Field

from app.accounts import credentials, tokens
from app.accounts import service as accounts
from app.accounts.models import User
from app.accounts.tokens import TokenPair
from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.errors import NotAllowed, NotSignedIn
from app.schemas import Body, PlainText, Schema

GROUP = "Accounts"


class Registration(Body):
    """A new traveller."""

    email: PlainText = Field(max_length=254, examples=["ada@example.org"])
    password: str = Field(max_length=200, description="At least 10 characters.", examples=["correct horse battery"])
    name: PlainText = Field(min_length=1, max_length=200, examples=["Ada Nordmann"])


class Credentials(Body):
    """What a person logs in with."""

    email: PlainText = Field(max_length=254, examples=["ada@example.org"])
    password: str = Field(max_length=200, examples=["correct horse battery"])
    totp: PlainText | None = Field(
        None,
        max_length=40,
        description="The present code of the second factor, or a recovery code, where one is set up.",
    )


class CodeNeeded(NotSignedIn):
    """The password was right; the second factor is still to come."""

    title = accounts.CodeNeeded.title


class Forgotten(Body):
    """Whose password is to be reset."""

    email: PlainText = Field(max_length=254, examples=["ada@example.org"])


class PasswordReset(Body):
    """The token of a mailed link, and the new password."""

    token: PlainText = Field(max_length=300, description="The last part of the mailed link.")
    password: str = Field(max_length=200, description="At least 10 characters.", examples=["correct horse battery"])


class Verification(Body):
    """The token of a mailed link."""

    token: PlainText = Field(max_length=300, description="The last part of the mailed link.")


class RefreshWish(Body):
    """The refresh token to use."""

    refresh_token: PlainText = Field(max_length=200)


class UserOut(Schema):
    """The person who is logged in."""

    id: int
    email: str
    name: str
    roles: list[str] = Field(description="Staff roles; empty for a traveller.")
    email_verified: bool = Field(description="Whether the person has shown that they read mail at their address.")

    @classmethod
    def of(cls, person: User) -> UserOut:
        """From the account."""
        return cls(
            id=person.id,
            email=person.email,
            name=person.name,
            roles=sorted(person.roles),
            email_verified=person.email_verified_at is not None,
        )


class TokensOut(Schema):
    """An access token for the next minutes, and a refresh token to get the next pair with."""

    access_token: str
    refresh_token: str
    expires_in: int = Field(description="Seconds the access token is good for.", examples=[900])
    user: UserOut

    @classmethod
    def of(cls, pair: TokenPair) -> TokensOut:
        """From a pair just issued."""
        return cls(
            access_token=pair.access_token,
            refresh_token=pair.refresh_token,
            expires_in=pair.expires_in,
            user=UserOut.of(pair.user),
        )


@endpoint(
    api,
    "POST",
    "/auth/register",
    group=GROUP,
    who="anyone",
    body=Registration,
    answer=TokensOut,
    status=201,
    refuses=(409, 422),
)
def register(body: Registration) -> TokensOut:
    """Make a traveller's account

    Logs in at once, and mails a link that proves the address. A password that is easily guessed is refused; an address
    that has an account already, with 409.
    """
    person = accounts.register(email=body.email, name=body.name, password=body.password, address=request.remote_addr)
    return TokensOut.of(tokens.issue(person, address=request.remote_addr))


@endpoint(
    api, "POST", "/auth/login", group=GROUP, who="anyone", body=Credentials, answer=TokensOut, refuses=(401, 422, 429)
)
def login(body: Credentials) -> TokensOut:
    """Log in with e-mail address and password

    Staff log in here too. A wrong address and a wrong password are told apart by nothing. Where a second factor is set
    up, a log-in without `totp` is answered with 401 and the title "Second factor needed"; a recovery code is taken as
    well. Who is wrong too often waits: 429 with `Retry-After`, for longer each time.
    """
    try:
        person = accounts.authenticate(
            email=body.email, password=body.password, code=body.totp, address=request.remote_addr
        )
    except accounts.CodeNeeded as error:
        raise CodeNeeded(error.detail) from None
    except NotAllowed as error:
        raise NotSignedIn(error.detail) from None
    return TokensOut.of(tokens.issue(person, address=request.remote_addr))


@endpoint(
    api, "POST", "/auth/refresh", group=GROUP, who="anyone", body=RefreshWish, answer=TokensOut, refuses=(401, 422)
)
def refresh(body: RefreshWish) -> TokensOut:
    """Exchange a refresh token for a new pair

    Each refresh token works once. Using one a second time ends every token of that log-in.
    """
    return TokensOut.of(tokens.rotate(body.refresh_token, address=request.remote_addr))


@endpoint(
    api, "POST", "/auth/logout", group=GROUP, who="anyone", body=RefreshWish, answer=None, status=204, refuses=(422,)
)
def logout(body: RefreshWish) -> None:
    """End a log-in

    Its refresh tokens stop working at once; an access token runs out by itself within minutes.
    """
    tokens.revoke(body.refresh_token, address=request.remote_addr)


@endpoint(
    api,
    "POST",
    "/auth/password/forgot",
    group=GROUP,
    who="anyone",
    body=Forgotten,
    answer=None,
    status=202,
    refuses=(422, 429),
)
def forgot_password(body: Forgotten) -> None:
    """Have a link mailed that resets a password

    Answered alike whether or not the address has an account.
    """
    credentials.request_password_reset(body.email, address=request.remote_addr)


@endpoint(
    api,
    "POST",
    "/auth/password/reset",
    group=GROUP,
    who="anyone",
    body=PasswordReset,
    answer=None,
    status=204,
    refuses=(422,),
)
def reset_password(body: PasswordReset) -> None:
    """Choose a new password behind a mailed link

    Every log-in of the account ends. A link works once, for an hour.
    """
    credentials.reset_password(body.token, body.password, address=request.remote_addr)


@endpoint(
    api,
    "POST",
    "/auth/verify-email",
    group=GROUP,
    who="anyone",
    body=Verification,
    answer=None,
    status=204,
    refuses=(422,),
)
def verify_email(body: Verification) -> None:
    """Prove an e-mail address with a mailed link

    A link works once, for a week; a newer one replaces it. Who lost theirs asks support, who can mail another; choosing
    a new password behind a mailed link confirms the address as well.
    """
    credentials.verify_email(body.token, address=request.remote_addr)

"""/v1/auth: registering, logging in and out, and new tokens."""

from __future__ import annotations

from flask import request
from pydantic import Field

from app.accounts import service as accounts
from app.accounts import tokens
from app.accounts.models import User
from app.accounts.tokens import TokenPair
from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.api.schemas import PlainText, Schema, Wish
from app.errors import NotAllowed, NotSignedIn

GROUP = "Accounts"


class Registration(Wish):
    """A new traveller."""

    email: PlainText = Field(max_length=254, examples=["ada@example.org"])
    password: str = Field(max_length=200, description="At least 10 characters.", examples=["correct horse battery"])
    name: PlainText = Field(min_length=1, max_length=200, examples=["Ada Nordmann"])


class Credentials(Wish):
    """What a person logs in with."""

    email: PlainText = Field(max_length=254, examples=["ada@example.org"])
    password: str = Field(max_length=200, examples=["correct horse battery"])
    totp: PlainText | None = Field(
        None, max_length=16, description="The code of the second factor, where one is set up."
    )


class RefreshWish(Wish):
    """The refresh token to use."""

    refresh_token: PlainText = Field(max_length=200)


class UserOut(Schema):
    """The person who is logged in."""

    id: int
    email: str
    name: str
    roles: list[str] = Field(description="Staff roles; empty for a traveller.")

    @classmethod
    def of(cls, person: User) -> UserOut:
        """From the account."""
        return cls(id=person.id, email=person.email, name=person.name, roles=sorted(person.roles))


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

    Logs in at once. An address that has an account already is refused with 409.
    """
    person = accounts.register(email=body.email, name=body.name, password=body.password, address=request.remote_addr)
    return TokensOut.of(tokens.issue(person, address=request.remote_addr))


@endpoint(api, "POST", "/auth/login", group=GROUP, who="anyone", body=Credentials, answer=TokensOut, refuses=(401, 422))
def login(body: Credentials) -> TokensOut:
    """Log in with e-mail address and password

    Staff log in here too. A wrong address and a wrong password are told apart by nothing.
    """
    try:
        person = accounts.authenticate(email=body.email, password=body.password)
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

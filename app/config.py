"""Every setting once, typed. A bad one stops the start with a sentence that names it."""

from __future__ import annotations

import os
import re
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from flask import current_app
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CommaSeparated = Annotated[tuple[str, ...], NoDecode]

_DEVELOPMENT_SECRET = "development-only-secret-do-not-use-in-production"  # noqa: S105  (refused in production below)

_DEVELOPMENT_SENDER = "Tripdesk <no-reply@tripdesk.example>"
_ORIGIN = re.compile(r"https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")
_FOLDER = re.compile(r"file:///[^/?#][^?#]*")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

# The local Stripe's, known to everybody.
DEMO_STRIPE_KEY = "sk_test_tripdesk_demo"
_DEMO_WEBHOOK_SECRET = "whsec_tripdesk_demo"  # noqa: S105


class SettingsError(Exception):
    """One or more settings are missing or wrong; the text names each, a line apiece."""


class Settings(BaseSettings):
    """What the environment says; each name is its variable's in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    app_env: Literal["development", "test", "production"] = "development"
    tripdesk_home: Path = Path(".tripdesk")

    database_url: str = ""
    database_owner_url: str = ""
    redis_url: str = ""

    meili_url: str = ""
    meili_api_key: SecretStr = SecretStr("")

    stripe_secret_key: SecretStr = SecretStr("")
    stripe_webhook_secret: CommaSeparated = ()
    stripe_api_base: str = ""

    secret_key: SecretStr = SecretStr(_DEVELOPMENT_SECRET)
    secret_key_fallbacks: CommaSeparated = ()
    jwt_secret: CommaSeparated = (f"development:{_DEVELOPMENT_SECRET}",)

    public_url: str = "http://127.0.0.1:8000"
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    cors_origins: CommaSeparated = ()
    metrics_token: SecretStr = SecretStr("")
    rate_limits: Literal["on", "off"] = "on"
    sentry_dsn: str = ""
    sentry_traces_sample_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    mail_url: SecretStr = SecretStr("")
    mail_from: str = _DEVELOPMENT_SENDER
    storage_url: str = ""
    log_dir: Path | None = None

    demo_password: SecretStr = SecretStr("tripdesk-demo")
    hold_minutes: int = Field(default=15, ge=1, le=120)
    claim_minutes: int = Field(default=10, ge=1, le=120)
    undo_seconds: int = Field(default=30, ge=0, le=600)
    commission_basis_points: int = Field(default=1500, ge=0, le=10_000)
    refund_approval_days: int = Field(default=7, ge=1, le=90)
    refund_twin_seconds: int = Field(default=60, ge=0, le=3600)

    @field_validator("secret_key_fallbacks", "jwt_secret", "cors_origins", "stripe_webhook_secret", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def jwt_keys(self) -> dict[str, str]:
        """Key id to secret, in order: the first signs, all verify."""
        return dict(entry.split(":", 1) for entry in self.jwt_secret)

    @property
    def mail_sender(self) -> Address:
        """Who our mail is from. ValueError or HeaderParseError when that is no address."""
        name, address = parseaddr(self.mail_from)
        return Address(display_name=name, addr_spec=address)

    def problems(self) -> list[str]:
        """What is wrong beyond single types: addresses, secrets, settings that exclude each other."""
        found = [
            *self._address_problems(),
            *self._jwt_problems(),
            *self._stripe_problems(),
            *self._mail_problems(),
            *self._storage_problems(),
            *self._origin_problems(),
        ]
        if self.app_env == "production":
            found += self._production_problems()
        return found

    def _address_problems(self) -> list[str]:
        found = []
        unset = f"is not set, and no demo is running in {self.tripdesk_home}: start `make demo`, or set it to"
        if not self.database_url:
            found.append(f"DATABASE_URL {unset} postgresql://…")
        # Only migrations and demo data need the owner's; a web process is safer without it.
        for name, value in (("DATABASE_URL", self.database_url), ("DATABASE_OWNER_URL", self.database_owner_url)):
            if value and urlsplit(value).scheme not in ("postgresql", "postgres"):
                found.append(f"{name} must start with postgresql://, not {value.split(':', 1)[0]}:")
        if not self.redis_url:
            found.append(f"REDIS_URL {unset} redis://…")
        elif urlsplit(self.redis_url).scheme not in ("redis", "rediss", "unix"):
            found.append("REDIS_URL must start with redis://, rediss:// or unix://")
        if self.meili_url and not _ORIGIN.match(self.meili_url):
            found.append("MEILI_URL must look like http://host:7700 or https://search.example.org")
        if urlsplit(self.public_url).scheme not in ("http", "https"):
            found.append("PUBLIC_URL must start with http:// or https://")
        return found

    def _jwt_problems(self) -> list[str]:
        entries = [entry.partition(":") for entry in self.jwt_secret]
        if not entries or any(not kid or not secret for kid, _, secret in entries):
            return ["JWT_SECRET must be a comma-separated list of kid:secret, such as 2026a:long-random-text"]
        if len({kid for kid, _, _ in entries}) != len(entries):
            return ["JWT_SECRET names the same kid twice"]
        if any(len(secret) < 32 for _, _, secret in entries):
            return ["JWT_SECRET: each secret needs at least 32 characters"]
        return []

    def _stripe_problems(self) -> list[str]:
        found = []
        key = self.stripe_secret_key.get_secret_value()
        if key and not key.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
            found.append("STRIPE_SECRET_KEY must start with sk_test_, sk_live_, rk_test_ or rk_live_")
        if self.stripe_api_base and "_live_" in key:
            found.append(
                "STRIPE_API_BASE may not be set together with a live STRIPE_SECRET_KEY: it would send the key elsewhere"
            )
        if any(not secret.startswith("whsec_") for secret in self.stripe_webhook_secret):
            found.append("STRIPE_WEBHOOK_SECRET: each secret must start with whsec_")
        return found

    def _mail_problems(self) -> list[str]:
        found = []
        # Its password stays out of the message.
        if self.mail_url.get_secret_value() and not _is_mail_server(self.mail_url.get_secret_value()):
            found.append(
                "MAIL_URL must look like smtp://user:password@host:587 or smtps://host:465;"
                " write special characters of user and password as %XX"
            )
        try:
            has_sender = "." in self.mail_sender.domain
        except (ValueError, HeaderParseError):
            has_sender = False
        if not has_sender:
            found.append("MAIL_FROM must be an address, such as Tripdesk <no-reply@example.org>")
        return found

    def _storage_problems(self) -> list[str]:
        if not self.storage_url or _FOLDER.fullmatch(self.storage_url) or _BUCKET.fullmatch(self.storage_url):
            return []
        return ["STORAGE_URL must look like file:///var/lib/tripdesk/storage or s3://bucket/prefix"]

    def _origin_problems(self) -> list[str]:
        # Compared letter by letter with what browsers send, so it has to be written as they do (RFC 6454 §6.2).
        return [
            f"CORS_ORIGINS: {origin} is not an origin as browsers send it; write it like https://shop.example.org"
            for origin in self.cors_origins
            if not _ORIGIN.fullmatch(origin) or origin.endswith(_DEFAULT_PORTS[origin.partition(":")[0]])
        ]

    def _production_problems(self) -> list[str]:
        found = []
        if self.secret_key.get_secret_value() == _DEVELOPMENT_SECRET or len(self.secret_key.get_secret_value()) < 32:
            found.append("SECRET_KEY must be set in production, to at least 32 random characters")
        if any(_DEVELOPMENT_SECRET in entry for entry in self.jwt_secret):
            found.append("JWT_SECRET must be set in production")
        if not self.stripe_secret_key.get_secret_value():
            found.append("STRIPE_SECRET_KEY must be set in production")
        if not self.stripe_webhook_secret:
            found.append("STRIPE_WEBHOOK_SECRET must be set in production")
        if _DEMO_WEBHOOK_SECRET in self.stripe_webhook_secret:
            found.append("STRIPE_WEBHOOK_SECRET is the demo's, which is public: set your endpoint's own")
        if self.stripe_secret_key.get_secret_value() == DEMO_STRIPE_KEY:
            found.append("STRIPE_SECRET_KEY is the demo's, which is public: set your own")
        if not self.mail_url.get_secret_value():
            found.append("MAIL_URL must be set in production, such as smtp://user:password@host:587")
        if self.mail_from == _DEVELOPMENT_SENDER:
            found.append("MAIL_FROM must be set in production, to an address that you may send from")
        if self.meili_url and not self.meili_api_key.get_secret_value():
            found.append(
                "MEILI_API_KEY must be set in production where MEILI_URL is: Meilisearch must not be open to all"
            )
        if self.rate_limits == "off":
            found.append("RATE_LIMITS may not be off in production")
        if not self.public_url.startswith("https://"):
            found.append("PUBLIC_URL must start with https:// in production")
        return found


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        return False
    return parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and has_port and parts.path in ("", "/")


def load(**overrides: Any) -> Settings:
    """Read the environment; outside production, what it leaves unset comes from the running demo.

    Raises SettingsError, a line for each problem.
    """
    home = Path(overrides.get("tripdesk_home") or os.environ.get("TRIPDESK_HOME") or ".tripdesk")
    in_production = (overrides.get("app_env") or os.environ.get("APP_ENV")) == "production"
    running_demo = None if in_production else home / "run" / "env"
    try:
        settings = Settings(_env_file=running_demo, **overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_in_words(line) for line in error.errors())) from None
    problems = settings.problems()
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _in_words(error: Any) -> str:
    name = str(error["loc"][0]).upper()
    return (
        f"{name}: {error['msg']} (got {error['input']!r})"
        if not any(word in name for word in ("SECRET", "KEY", "MAIL_URL"))
        else f"{name}: {error['msg']}"
    )


def run_by_command() -> bool:
    """Whether this process is a `flask` command: its stdout is the command's answer, and its work may take long."""
    return os.environ.get("FLASK_RUN_FROM_CLI") == "true"


def settings() -> Settings:
    """The settings of the running app."""
    found: Settings = current_app.extensions["settings"]
    return found

"""Settings: each wrong one stops the start with one line that names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.config import SettingsError, load
from tests.conftest import ROOT

GOOD: dict[str, Any] = {
    "app_env": "test",
    "database_url": "postgresql://app@db/tripdesk",
    "database_owner_url": "postgresql://owner@db/tripdesk",
    "redis_url": "redis://redis:6379/0",
}
PRODUCTION: dict[str, Any] = {
    **GOOD,
    "app_env": "production",
    "secret_key": "s" * 32,
    "jwt_secret": "2026a:" + "j" * 32,
    "stripe_secret_key": "sk_live_something",
    "stripe_webhook_secret": "whsec_something",
    "public_url": "https://desk.example.org",
    "mail_url": "smtp://apikey:secret@smtp.example.org:587",
    "mail_from": "Desk <no-reply@desk.example.org>",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "REDIS_", "STRIPE_", "JWT_", "SECRET_KEY", "APP_ENV", "TRIPDESK_HOME")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"database_url": ""}, "DATABASE_URL is not set"),
        ({"database_url": "mysql://root@db/x"}, "DATABASE_URL must start with postgresql://, not mysql:"),
        ({"database_owner_url": "mysql://root@db/x"}, "DATABASE_OWNER_URL must start with postgresql://, not mysql:"),
        ({"redis_url": ""}, "REDIS_URL is not set"),
        ({"redis_url": "http://redis"}, "REDIS_URL must start with redis://"),
        ({"public_url": "desk.example.org"}, "PUBLIC_URL must start with http:// or https://"),
        ({"app_env": "staging"}, "APP_ENV: Input should be 'development', 'test' or 'production' (got 'staging')"),
        ({"jwt_secret": "no-kid-here"}, "JWT_SECRET must be a comma-separated list of kid:secret"),
        ({"jwt_secret": "a:short"}, "JWT_SECRET: each secret needs at least 32 characters"),
        ({"jwt_secret": f"a:{'x' * 32},a:{'y' * 32}"}, "JWT_SECRET names the same kid twice"),
        ({"stripe_secret_key": "pk_test_1"}, "STRIPE_SECRET_KEY must start with sk_test_"),
        ({"stripe_webhook_secret": "secret"}, "STRIPE_WEBHOOK_SECRET: each secret must start with whsec_"),
        (
            {"stripe_secret_key": "sk_live_1", "stripe_api_base": "http://localhost:1"},
            "STRIPE_API_BASE may not be set together with a live STRIPE_SECRET_KEY",
        ),
        ({"trusted_proxies": "many"}, "TRUSTED_PROXIES: Input should be a valid integer"),
        ({"trusted_proxies": -1}, "TRUSTED_PROXIES: Input should be greater than or equal to 0"),
        ({"rate_limits": "maybe"}, "RATE_LIMITS: Input should be 'on' or 'off'"),
        ({"mail_url": "https://smtp.example.org"}, "MAIL_URL must look like smtp://user:password@host:587"),
        ({"mail_url": "smtp://"}, "MAIL_URL must look like smtp://user:password@host:587"),
        ({"mail_url": "smtp://smtp.example.org:many"}, "MAIL_URL must look like smtp://user:password@host:587"),
        ({"mail_url": "smtp://user:pa/ss@smtp.example.org"}, "MAIL_URL must look like smtp://user:password@host:587"),
        ({"mail_from": "Tripdesk"}, "MAIL_FROM must be an address"),
        ({"mail_from": "Tripdesk <nobody@nowhere>"}, "MAIL_FROM must be an address"),
        ({"storage_url": "/var/lib/files"}, "STORAGE_URL must look like file:///var/lib/tripdesk/storage or s3://"),
        ({"storage_url": "file://files"}, "STORAGE_URL must look like file:///"),
        ({"storage_url": "file:///"}, "STORAGE_URL must look like file:///"),
        ({"storage_url": "s3://"}, "STORAGE_URL must look like file:///"),
        ({"storage_url": "s3://key:secret@bucket"}, "STORAGE_URL must look like file:///"),
        ({"cors_origins": "*"}, "CORS_ORIGINS: * is not an origin as browsers send it"),
        ({"cors_origins": "https://a.example.org,shop.example.org"}, "CORS_ORIGINS: shop.example.org is not an origin"),
        ({"cors_origins": "https://shop.example.org/"}, "CORS_ORIGINS: https://shop.example.org/ is not an origin"),
        ({"cors_origins": "https://Shop.example.org"}, "CORS_ORIGINS: https://Shop.example.org is not an origin"),
        ({"cors_origins": "https://shop.example.org:443"}, "CORS_ORIGINS: https://shop.example.org:443 is not"),
        ({"cors_origins": "null"}, "CORS_ORIGINS: null is not an origin"),
        ({"hold_minutes": 0}, "HOLD_MINUTES: Input should be greater than or equal to 1"),
        ({"undo_seconds": -1}, "UNDO_SECONDS: Input should be greater than or equal to 0"),
        ({"commission_basis_points": 10_001}, "COMMISSION_BASIS_POINTS: Input should be less than or equal to 10000"),
        ({"sentry_traces_sample_rate": 2}, "SENTRY_TRACES_SAMPLE_RATE: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_setting_gives_one_line_that_names_it(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**{**GOOD, **wrong})
    (only,) = str(refusal.value).splitlines()
    assert line in only


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"secret_key": "development-only-secret-do-not-use-in-production"}, "SECRET_KEY must be set in production"),
        ({"secret_key": "short"}, "SECRET_KEY must be set in production"),
        ({"jwt_secret": "a:development-only-secret-do-not-use-in-production"}, "JWT_SECRET must be set in production"),
        ({"stripe_secret_key": ""}, "STRIPE_SECRET_KEY must be set in production"),
        ({"stripe_secret_key": "sk_test_tripdesk_demo"}, "STRIPE_SECRET_KEY is the demo's"),
        ({"stripe_webhook_secret": ""}, "STRIPE_WEBHOOK_SECRET must be set in production"),
        ({"stripe_webhook_secret": "whsec_real,whsec_tripdesk_demo"}, "STRIPE_WEBHOOK_SECRET is the demo's"),
        ({"mail_url": ""}, "MAIL_URL must be set in production"),
        ({"mail_from": "Tripdesk <no-reply@tripdesk.example>"}, "MAIL_FROM must be set in production"),
        ({"rate_limits": "off"}, "RATE_LIMITS may not be off in production"),
        ({"public_url": "http://desk.example.org"}, "PUBLIC_URL must start with https:// in production"),
    ],
)
def test_production_refuses(wrong: dict[str, Any], line: str) -> None:
    assert load(**PRODUCTION).app_env == "production"
    with pytest.raises(SettingsError) as refusal:
        load(**{**PRODUCTION, **wrong})
    (only,) = str(refusal.value).splitlines()
    assert line in only


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        load(app_env="production")
    names = {line.split()[0] for line in str(refusal.value).splitlines()}
    assert names == {
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "JWT_SECRET",
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "PUBLIC_URL",
        "MAIL_URL",
        "MAIL_FROM",
    }


def test_a_wrong_secret_is_not_repeated_in_the_message() -> None:
    with pytest.raises(SettingsError) as refusal:
        load(
            **{
                **PRODUCTION,
                "stripe_secret_key": "hunter2-is-my-key",
                "jwt_secret": "a:hunter2",
                "secret_key": "hunter2",
                "mail_url": "smtp://user:hunter2",
            }
        )
    assert "hunter2" not in str(refusal.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        **GOOD,
        "jwt_secret": f"b:{'x' * 32}, a:{'y' * 32}",
        "stripe_webhook_secret": "whsec_1,whsec_2",
    }.items():
        monkeypatch.setenv(name.upper(), value)
    settings = load()
    assert settings.database_url == GOOD["database_url"]
    assert list(settings.jwt_keys) == ["b", "a"]
    assert settings.stripe_webhook_secret == ("whsec_1", "whsec_2")


def test_what_is_unset_comes_from_the_running_demo(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "env").write_text("DATABASE_URL=postgresql://demo@socket/tripdesk\nREDIS_URL=redis://demo/0\n")
    settings = load(tripdesk_home=tmp_path, database_owner_url="postgresql://mine@db/tripdesk")
    assert (settings.database_url, settings.redis_url) == ("postgresql://demo@socket/tripdesk", "redis://demo/0")
    assert settings.database_owner_url == "postgresql://mine@db/tripdesk"


def test_production_takes_nothing_from_a_running_demo(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "env").write_text("REDIS_URL=redis://demo/0\n")
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        load(**{**PRODUCTION, "redis_url": "", "tripdesk_home": tmp_path})


def test_a_web_process_needs_no_address_of_the_owners_role() -> None:
    assert load(**{**GOOD, "database_owner_url": ""}).database_owner_url == ""


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "")
    assert load(**GOOD).trusted_proxies == 0


def test_a_start_with_wrong_settings_ends_in_plain_words(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TRIPDESK_HOME": str(tmp_path), "RATE_LIMITS": "maybe"}
    done = subprocess.run(
        [sys.executable, "-c", "import wsgi"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Tripdesk can't start:",
        "RATE_LIMITS: Input should be 'on' or 'off' (got 'maybe')",
    ]


def test_origins_are_taken_as_browsers_send_them() -> None:
    origins = ("https://shop.example.org", "http://localhost:5173", "http://[::1]:3000", "https://10.0.0.1:8443")
    assert load(**{**GOOD, "cors_origins": ", ".join(origins)}).cors_origins == origins

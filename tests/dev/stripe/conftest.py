"""Servers for the tests of the local Stripe: one shared by tests that look only at their own objects, or one each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dev.stripe.local_stripe import LocalStripe, Receiver


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStripe]:
    """A server for every test that neither lists everything nor touches the switches."""
    server = LocalStripe(tmp_path_factory.mktemp("stripe") / "stripe.db").start()
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes webhooks on a port of its own."""
    started = Receiver()
    yield started
    started.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalStripe]]:
    """Starts a server of the test's own; each call adds one with its own state."""
    servers: list[LocalStripe] = []

    def started(webhook_url: str | None = None) -> LocalStripe:
        servers.append(LocalStripe(tmp_path / f"stripe-{len(servers)}.db", webhook_url).start())
        return servers[-1]

    yield started
    for server in servers:
        server.stop()

"""A caller of the API, signed in or not."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests import factories
from tests.api.calling import Caller


@pytest.fixture
def nobody(client: FlaskClient) -> Caller:
    """Without an access token."""
    return Caller(client, None)


@pytest.fixture
def caller(client: FlaskClient) -> Caller:
    """A traveller."""
    return Caller(client, factories.traveller())

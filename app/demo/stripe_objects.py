"""Stripe's side of the demo's payments: their ids, the events as they arrived, and loading it all into the local Stripe."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import batched
from typing import Any

import orjson
import requests
from sqlalchemy import text

from app.errors import Unavailable
from app.extensions import db
from app.payments.stripe_gateway import API_VERSION

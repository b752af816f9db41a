"""Made-up ids that begin with their time: millions of them go to the end of an index, not to a place anywhere in it."""

from __future__ import annotations

import random
from datetime import datetime


def ordered_id(rng: random.Random, at: datetime, length: int) -> str:
    """So many hexadecimal digits, of at least 13: the microseconds, and whatever comes for the rest."""
    rest = length - 13
    return f"{int(at.timestamp() * 1_000_000):013x}{rng.getrandbits(4 * rest):0{rest}x}"


def new_stripe_id(rng: random.Random, prefix: str, at: datetime) -> str:
    """An id such as Stripe gives its objects at that moment: `pi_3…`, `ch_3…`, `re_3…`, `evt_3…`."""
    return f"{prefix}_3{ordered_id(rng, at, 23)}"

"""Every advisory lock of the database that we take, so that no two things ever wait for each other by mistake.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class AdvisoryLock(IntEnum):
    """What is done by one at a time; any numbers will do, as long as they are different and stay."""

    SEALING_AUDIT = 7_201
    """Two sealing jobs at once would fork the chain."""
    IMPORTING_BATCH = 7_202
    """Two imports at once would both make the same new provider."""
    STARTING_IMPORT = 7_203
    """Two imports that are started at once would both find nobody before them."""
    IMPORTING_BY_COMMAND = 7_204
    """Held by a command for as long as it imports; its connection's name says who, and since when."""
    KEEPING_MAPPING = 7_205
    """Two people who keep a choice of columns under the same new name at once."""
    SEEDING = 7_206
    """Two seeds at once would both find the database empty."""
    INDEXING = 7_210
    """A document that was read earlier must not be written later."""
    SENDING_TO_MEILISEARCH = 7_211
    REBUILDING_MEILISEARCH = 7_212
    SENDING_SYNONYMS = 7_213
    NAMING_POLICY = 7_230
    """Two policies that are made at once would both find their name free."""
    SAVING_SYNONYMS = 7_231
    """Two groups that are saved at once would both find their words free."""

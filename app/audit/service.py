"""Writing the audit trail, sealing it, and proving that nobody altered it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import Connection, Insert, Text, cast, func, insert, literal, select, text

from app.advisory_locks import AdvisoryLock
from app.audit.actor import Actor
from app.audit.models import AuditEntry, AuditSeal
from app.db import changes, require_transaction, statement, transaction
from app.extensions import Model, db
from app.logs import request_id
from app.states import Moving

log = logging.getLogger(__name__)

# Never written to the trail, whatever table they turn up in.
_SECRET_COLUMNS = frozenset({"password_hash", "token_hash", "client_secret", "payload", "secrets"})
# JSON comes as text: reading it ourselves takes half the time of having the driver do it.
_DOCUMENTS = ("before", "after")
_SEALED_NAMES = tuple(column.name for column in AuditEntry.__table__.columns)
_SEALED_COLUMNS = tuple(
    cast(column, Text) if column.name in _DOCUMENTS else column for column in AuditEntry.__table__.columns
)
_NO_DIGEST_YET = b"\0" * 32
_SEAL_BATCH = 20_000
_XMIN = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_XMAX = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
# The chain's last link. Transaction ids that this cluster has not given out yet come from the one that the database was
# restored from; they say nothing about what runs here.
_HEAD = f"""
SELECT s.position, s.digest, e.id, e.transaction_id, coalesce(e.transaction_id >= {_XMAX}, true) AS is_foreign
FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.position DESC LIMIT 1
"""  # noqa: S608  # nosec B608 - constants of this module
_IS_RESTORED = f"SELECT EXISTS (SELECT FROM audit_entries WHERE transaction_id >= {_XMAX}) AS yes"  # noqa: S608  # nosec B608
_ENTRY = ", ".join(f"{name}::text" if name in _DOCUMENTS else name for name in _SEALED_NAMES)
# Transactions below xmin are over: whatever comes to be seen later has a higher id. So in the order of transaction ids
# nothing can appear before the head any more, and the head is where the next sealing goes on.
_NEXT = f"""
SELECT {_ENTRY} FROM audit_entries e
WHERE (transaction_id, id) > (%(transaction_id)s, %(id)s) AND transaction_id < {_XMIN}
  AND (SELECT position FROM audit_seals s WHERE s.entry_id = e.id) IS NULL
ORDER BY transaction_id, id LIMIT %(most)s
"""  # noqa: S608  # nosec B608 - constants of this module
_UNSEALED = f"""
SELECT {_ENTRY} FROM audit_entries e
WHERE (transaction_id < {_XMIN} OR transaction_id >= {_XMAX})
  AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = e.id)
ORDER BY transaction_id < {_XMAX}, transaction_id, id LIMIT %(most)s
"""  # noqa: S608  # nosec B608 - constants of this module
_SEAL = """
INSERT INTO audit_seals (position, entry_id, digest)
SELECT %(position)s + number, entry_id, decode(digest, 'hex')
FROM unnest(CAST(%(entry_ids)s AS bigint[]), CAST(%(digests)s AS text[])) WITH ORDINALITY
     AS sealed(entry_id, digest, number)
"""
_WRITE = """
INSERT INTO audit_entries (actor_kind, actor_id, actor_label, address, request_id, action, object_type, object_id,
                           before, after, reason)
VALUES (%(actor_kind)s, %(actor_id)s, %(actor_label)s, %(address)s, %(request_id)s, %(action)s, %(object_type)s,
        %(object_id)s, %(before)s, %(after)s, %(reason)s)
"""


def record(
    by: Actor,
    action: str,
    row: Model,
    *,
    reason: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write that `by` did `action` (such as `booking.cancel`) to `row`, with what changed since it was locked.

    `before` and `after` add what isn't a column of the row. Call it last in a verb, in the verb's own transaction.
    """
    require_transaction()
    db.session.flush()
    was, now = changes(row)
    if before is not None:
        was = {**(was or {}), **before}
    statement(
        _WRITE,
        {
            **_who(by),
            "action": action,
            "object_type": row.__tablename__,
            "object_id": row.id,  # type: ignore[attr-defined]  # every audited table has one
            "before": None if was is None else _json(was),
            "after": _json({**now, **(after or {})}),
            "reason": reason,
        },
    )


def record_each(by: Actor, action: str, rows: Sequence[Model]) -> None:
    """Write what `by` did to each of many rows of one kind, as `record` does for one, with few statements."""
    require_transaction()
    db.session.flush()
    if not rows:
        return
    entries = []
    for row in rows:
        before, now = changes(row)
        entries.append(
            {
                **_who(by),
                "action": action,
                "object_type": row.__tablename__,
                "object_id": row.id,  # type: ignore[attr-defined]  # every audited table has one
                "before": _plain(before),
                "after": _plain(now),
            }
        )
    db.session.execute(insert(AuditEntry), entries)


def record_many(
    by: Actor, action: str, model: type[Model], ids: list[int], *, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The same for many rows that one statement changed alike."""
    require_transaction()
    if not ids:
        return
    same = {
        **_who(by),
        "action": action,
        "object_type": model.__tablename__,
        "before": _plain(before),
        "after": _plain(after),
    }
    db.session.execute(insert(AuditEntry), [{**same, "object_id": row_id} for row_id in ids])


def entries_of(by: Actor, action: str, model: type[Model], moving: Moving, *, reason: str | None = None) -> Insert:
    """The same as a step of the statement that moves the rows: each entry has what its row held before."""
    rows, after = moving.rows, _plain(moving.after)
    same = {**_who(by), "action": action, "object_type": model.__tablename__, "after": after, "reason": reason}
    before = func.jsonb_build_object(*chain.from_iterable((name, rows.c[f"was_{name}"]) for name in moving.after))
    columns = AuditEntry.__table__.c
    return insert(AuditEntry).from_select(
        [*same, "object_id", "before"],
        select(*(literal(value, columns[name].type) for name, value in same.items()), rows.c.id, before),
    )


def _who(by: Actor) -> dict[str, Any]:
    return {
        "actor_kind": by.kind,
        "actor_id": by.id,
        "actor_label": by.label,
        "address": by.address,
        "request_id": request_id.get(),
    }


def _json(values: dict[str, Any]) -> str:
    return orjson.dumps(_plain(values)).decode()


def _plain(values: dict[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: _plain_value(value) for name, value in values.items() if name not in _SECRET_COLUMNS}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return str(value)


def seal(*, thorough: bool = False) -> int:
    """Chain the entries that no running transaction can get in front of any more, a batch of them; returns how many.

    Goes on from the chain's head, so it takes as long as there is to seal. `thorough` looks at every entry there is for
    one that was passed over, which only a database restored into another cluster can have. The head's digest goes to
    the log, where somebody who can rewrite the database can't reach it.
    """
    with transaction():
        if not db.session.scalar(select(func.pg_try_advisory_xact_lock(AdvisoryLock.SEALING_AUDIT))):
            return 0
        # Right after a big load the planner has no idea how long these tables are.
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        head = next(iter(statement(_HEAD, {})), None)
        position, digest = (head.position, bytes(head.digest)) if head else (0, _NO_DIGEST_YET)
        is_foreign = head.is_foreign if head else statement(_IS_RESTORED, {})[0].yes
        if thorough or is_foreign:
            entries = statement(_UNSEALED, {"most": _SEAL_BATCH})
        else:
            last = {"transaction_id": head.transaction_id, "id": head.id} if head else {"transaction_id": 0, "id": 0}
            entries = statement(_NEXT, {**last, "most": _SEAL_BATCH})
        if entries:
            digests = []
            for entry in entries:
                digest = _digest(digest, _with_documents(entry._asdict()))
                digests.append(digest.hex())
            ids = ",".join(str(entry.id) for entry in entries)
            digests_given = f"{{{','.join(digests)}}}"
            statement(_SEAL, {"position": position, "entry_ids": f"{{{ids}}}", "digests": digests_given})
            sealed = {"position": position + len(entries), "digest": digest.hex(), "entries": len(entries)}
            log.info("audit sealed", extra=sealed)
    return len(entries)


class Chain:
    """The end of the chain, for whoever writes many entries at once and seals them in the same transaction.

    `transaction_id` is what the entries must have.
    """

    def __init__(self, transaction_id: int, position: int, digest: bytes) -> None:
        self.transaction_id = transaction_id
        self._position = position
        self._digest = digest

    def seal(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The seal of the next entry, as a row. In `before` and `after`, JSON with sorted keys may be an
        `orjson.Fragment`.
        """
        self._digest = _digest(self._digest, entry)
        self._position += 1
        return {"position": self._position, "entry_id": entry["id"], "digest": self._digest}


def take_chain(connection: Connection) -> Chain | None:
    """The chain's end, for a transaction that has locked the trail against everybody else (`LOCK TABLE`).

    None while an older transaction runs anywhere in the cluster, which could still get in front, or when older entries
    are not sealed yet. With neither, whatever comes later has a higher transaction id.
    """
    connection.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.SEALING_AUDIT)))
    transaction_id: int = connection.scalars(text("SELECT pg_current_xact_id()::text::bigint")).one()
    oldest: int = connection.scalars(text(f"SELECT {_XMIN}")).one()  # nosec B608 - a constant of this module
    if oldest < transaction_id or connection.exec_driver_sql(_UNSEALED, {"most": 1}).first():
        return None
    head = connection.exec_driver_sql(_HEAD).first()
    return (
        Chain(transaction_id, head.position, bytes(head.digest)) if head else Chain(transaction_id, 0, _NO_DIGEST_YET)
    )


def _with_documents(entry: dict[str, Any]) -> dict[str, Any]:
    for name in _DOCUMENTS:
        if entry[name] is not None:
            entry[name] = orjson.loads(entry[name])
    return entry


def _digest(previous: bytes, entry: Mapping[str, Any]) -> bytes:
    """SHA-256 over the digest before and the entry's columns as JSON with sorted keys."""
    content = orjson.dumps(dict(entry), option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return hashlib.sha256(previous + content).digest()


@dataclass(frozen=True)
class AuditReport:
    """What `verify` found: how many entries are sealed and right, how many not sealed, and the first wrong one."""

    sealed: int
    unsealed: int
    first_altered: int | None
    problem: str | None


def verify() -> AuditReport:
    """Walk the chain from its start and recompute every digest; names the first entry that was altered or taken out."""
    unsealed = (
        db.session.scalar(
            select(func.count()).select_from(AuditEntry).outerjoin(AuditSeal).where(AuditSeal.entry_id.is_(None))
        )
        or 0
    )
    walk = (
        select(AuditSeal.position, AuditSeal.entry_id, AuditSeal.digest, *_SEALED_COLUMNS)
        .outerjoin(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
        .order_by(AuditSeal.position)
        .execution_options(yield_per=2_000)
    )
    digest, checked = _NO_DIGEST_YET, 0
    for position, entry_id, sealed_digest, *values in db.session.execute(walk):
        entry = dict(zip(_SEALED_NAMES, values, strict=True))
        if position != checked + 1:
            return AuditReport(checked, unsealed, entry_id, f"the seal at position {checked + 1} is missing")
        if entry["id"] is None:
            return AuditReport(checked, unsealed, entry_id, f"entry {entry_id} is missing, but its seal is there")
        digest = _digest(digest, _with_documents(entry))
        if digest != sealed_digest:
            return AuditReport(
                checked, unsealed, entry_id, f"entry {entry_id} is not what was sealed at position {position}"
            )
        checked += 1
    return AuditReport(checked, unsealed, None, None)

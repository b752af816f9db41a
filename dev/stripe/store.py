"""What the local Stripe knows, in one SQLite file: the facts of each object, from which answers are drawn."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# `seq` breaks ties between objects of one second, so that lists are newest first and their cursors exact.
SCHEMA = """
CREATE TABLE IF NOT EXISTS payment_intents (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, status TEXT NOT NULL,
    client_secret TEXT NOT NULL, description TEXT, receipt_email TEXT, statement_descriptor TEXT,
    statement_descriptor_suffix TEXT, metadata TEXT NOT NULL DEFAULT '{}', capture_method TEXT NOT NULL,
    redirects TEXT, payment_method_types TEXT NOT NULL, payment_method TEXT, test_method TEXT, last_payment_error TEXT,
    latest_charge TEXT, canceled_at INTEGER, cancellation_reason TEXT);
CREATE INDEX IF NOT EXISTS payment_intents_newest ON payment_intents (created, seq);

CREATE TABLE IF NOT EXISTS charges (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, payment_intent TEXT NOT NULL,
    amount INTEGER NOT NULL, amount_refunded INTEGER NOT NULL DEFAULT 0, currency TEXT NOT NULL, status TEXT NOT NULL,
    payment_method TEXT NOT NULL, test_method TEXT NOT NULL, balance_transaction TEXT, failure_code TEXT,
    failure_message TEXT, decline_code TEXT,
    CHECK (amount_refunded BETWEEN 0 AND amount));
CREATE INDEX IF NOT EXISTS charges_newest ON charges (created, seq);
CREATE INDEX IF NOT EXISTS charges_of_intent ON charges (payment_intent);

CREATE TABLE IF NOT EXISTS refunds (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, charge TEXT NOT NULL,
    payment_intent TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT, metadata TEXT NOT NULL DEFAULT '{}', balance_transaction TEXT,
    failure_balance_transaction TEXT, failure_reason TEXT);
CREATE INDEX IF NOT EXISTS refunds_newest ON refunds (created, seq);
CREATE INDEX IF NOT EXISTS refunds_of_charge ON refunds (charge);
CREATE INDEX IF NOT EXISTS refunds_of_intent ON refunds (payment_intent);

-- `case_type` is Stripe's: chargeback, inquiry (no money moves until it is escalated), or resolution (a prevented one).
CREATE TABLE IF NOT EXISTS disputes (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, charge TEXT NOT NULL,
    payment_intent TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    reason TEXT NOT NULL, network_reason_code TEXT, case_type TEXT NOT NULL, status TEXT NOT NULL,
    is_charge_refundable INTEGER NOT NULL, due_by INTEGER NOT NULL, evidence TEXT NOT NULL DEFAULT '{}',
    submission_count INTEGER NOT NULL DEFAULT 0, past_due INTEGER NOT NULL DEFAULT 0,
    metadata TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS disputes_newest ON disputes (created, seq);
CREATE INDEX IF NOT EXISTS disputes_of_charge ON disputes (charge);
CREATE INDEX IF NOT EXISTS disputes_of_intent ON disputes (payment_intent);

CREATE TABLE IF NOT EXISTS balance_transactions (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, type TEXT NOT NULL,
    amount INTEGER NOT NULL, fee INTEGER NOT NULL, currency TEXT NOT NULL, source TEXT NOT NULL,
    available_on INTEGER NOT NULL, description TEXT);
CREATE INDEX IF NOT EXISTS balance_transactions_newest ON balance_transactions (created, seq);
CREATE INDEX IF NOT EXISTS balance_transactions_of_type ON balance_transactions (type, created, seq);
CREATE INDEX IF NOT EXISTS balance_transactions_of_source ON balance_transactions (source);

CREATE TABLE IF NOT EXISTS payouts (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, status TEXT NOT NULL,
    automatic INTEGER NOT NULL, balance_transaction TEXT NOT NULL, failure_balance_transaction TEXT,
    failure_code TEXT);
CREATE INDEX IF NOT EXISTS payouts_newest ON payouts (created, seq);

-- `delivered` is null when no webhook was asked for, 0 until the receiver answered 2xx, then 1.
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, type TEXT NOT NULL,
    data BLOB NOT NULL, request_id TEXT, idempotency_key TEXT, delivered INTEGER);
CREATE INDEX IF NOT EXISTS events_newest ON events (created, seq);
CREATE INDEX IF NOT EXISTS events_of_type ON events (type, created, seq);
CREATE INDEX IF NOT EXISTS events_undelivered ON events (created, seq) WHERE delivered = 0;

-- A webhook still to be sent; `due` is null once Stripe has given up on it.
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY, event TEXT NOT NULL, first_due REAL NOT NULL, due REAL,
    attempts INTEGER NOT NULL DEFAULT 0, last_result TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE due IS NOT NULL;

CREATE TABLE IF NOT EXISTS schedule (
    seq INTEGER PRIMARY KEY, due REAL NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS schedule_due ON schedule (due);

CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, parameters TEXT NOT NULL, request_id TEXT NOT NULL,
    status INTEGER NOT NULL, body BLOB NOT NULL, headers TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS switches (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), value TEXT NOT NULL);
"""


class Store:
    """The state file: any number of readers and one writer at a time, each in a transaction of its own."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writing = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._writer = self._connect()
        # Ids are random, so loading a million payments touches every page of their indexes over and over: there is room
        # for those in memory (taken only as needed), and the log may grow before it is folded in.
        self._writer.executescript("PRAGMA cache_size=-262144; PRAGMA wal_autocheckpoint=16384;")
        self._writer.executescript(SCHEMA)
        self.after_commit: list[Callable[[], None]] = []

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        # NORMAL in WAL mode loses nothing when the process is killed; only a power cut may take the last moments.
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"
        )
        return connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state."""
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.execute("ROLLBACK")
            self._readers.append(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A change that is made whole or not at all; afterwards `after_commit` is called."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
        for notify in self.after_commit:
            notify()

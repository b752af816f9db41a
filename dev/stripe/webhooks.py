"""Webhooks: signed, sent side by side, and retried until the receiver answers 2xx or three days have passed."""

import hashlib
import hmac
import http.client
import logging
import sqlite3
import threading
import time
from urllib.parse import urlsplit

import orjson

from dev.stripe import events
from dev.stripe.store import Store
from dev.stripe.switches import SwitchBoard
from dev.stripe.work import Work

log = logging.getLogger(__name__)

SENDERS = 8
ANSWER_WITHIN = 10.0  # seconds
GIVE_UP_AFTER = 3 * 24 * 3600.0  # as Stripe; its own pauses are hours long, which nobody would wait for here
LONGEST_PAUSE = 60.0


def signature(payload: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` of a payload (https://docs.stripe.com/webhooks#verify-manually)."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def post(url: str, payload: bytes, secret: str) -> int:
    """Sends one webhook and returns the receiver's status code; redirects are not followed.

    Raises OSError or HTTPException when there is no answer.
    """
    target = urlsplit(url)
    secure = target.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(target.hostname or "", target.port, timeout=ANSWER_WITHIN)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(payload, secret, int(time.time())),
        "Connection": "close",
    }
    try:
        connection.request(
            "POST", (target.path or "/") + (f"?{target.query}" if target.query else ""), payload, headers
        )
        return connection.getresponse().status
    finally:
        connection.close()


class Sender:
    """A few threads that send what is due. What is being sent is only remembered here: a restart sends it again."""

    def __init__(self, store: Store, switches: SwitchBoard, url: str, secret: str) -> None:
        self._store = store
        self._switches = switches
        self._url = url
        self._secret = secret
        self._turn = threading.Condition()
        self._sending: set[int] = set()
        store.after_commit.append(self._wake)

    def start(self) -> None:
        """Begins, with whatever was waiting when the server stopped."""
        for number in range(SENDERS):
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True).start()

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify()

    def _run(self) -> None:
        while True:
            delivery = self._claim()
            try:
                self._send(delivery)
            except Exception:
                # The thread must outlive a fault of ours; the delivery stays due and is tried again.
                log.exception("Webhook delivery %s failed", delivery["seq"])
                time.sleep(1)
            finally:
                with self._turn:
                    self._sending.discard(delivery["seq"])
                    self._turn.notify()

    def _claim(self) -> sqlite3.Row:
        """Waits for a delivery that is due and that no other thread is sending."""
        with self._turn:
            while True:
                delivery = None if self._switches.now.webhooks.paused else self._next()
                wait = delivery["due"] - time.time() if delivery else None
                if delivery is not None and wait is not None and wait <= 0:
                    self._sending.add(delivery["seq"])
                    self._turn.notify()  # there may be more for the next thread
                    return delivery
                self._turn.wait(wait)

    def _next(self) -> sqlite3.Row | None:
        with self._store.read() as db:
            rows = db.execute(
                "SELECT seq, event, first_due, due, attempts FROM deliveries "
                "WHERE due IS NOT NULL ORDER BY due LIMIT ?",
                (SENDERS + 1,),
            ).fetchall()
        return next((row for row in rows if row["seq"] not in self._sending), None)

    def _send(self, delivery: sqlite3.Row) -> None:
        with self._store.read() as db:
            event = events.shape(db, events.find(db, delivery["event"]))
        # A copy sent after another one was answered would count 0; the bytes stay the same over all attempts.
        payload = orjson.dumps(event | {"pending_webhooks": 1}, option=orjson.OPT_INDENT_2)
        try:
            answer = post(self._url, payload, self._secret)
            delivered, result = 200 <= answer < 300, f"HTTP {answer}"
        except (OSError, http.client.HTTPException) as error:
            delivered, result = False, f"{type(error).__name__}: {error}"
        with self._store.write() as db:
            if delivered:
                db.execute("DELETE FROM deliveries WHERE seq = ?", (delivery["seq"],))
                db.execute("UPDATE events SET delivered = 1 WHERE id = ?", (delivery["event"],))
                return
            attempts = delivery["attempts"] + 1
            due: float | None = time.time() + min(2.0 ** (attempts - 1), LONGEST_PAUSE)
            if time.time() > delivery["first_due"] + GIVE_UP_AFTER:
                due = None
            db.execute(
                "UPDATE deliveries SET due = ?, attempts = ?, last_result = ? WHERE seq = ?",
                (due, attempts, result, delivery["seq"]),
            )


def status(work: Work, _params: dict[str, object]) -> dict[str, object]:
    """`GET /_local/webhooks`: how many deliveries wait or were given up, and the last trouble of those waiting."""
    row = work.db.execute(
        "SELECT count(due) AS waiting, count(*) - count(due) AS given_up, min(due) AS next_due FROM deliveries"
    ).fetchone()
    trouble = work.db.execute(
        "SELECT last_result FROM deliveries WHERE last_result IS NOT NULL ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return {**dict(row), "last_trouble": trouble["last_result"] if trouble else None}

"""What Stripe does by itself some time after a request: settling debits, refunds and disputes, posting money."""

import logging
import threading
import time
from collections.abc import Callable

from dev.stripe import charges, disputes, intents, payouts, refunds
from dev.stripe.store import Store
from dev.stripe.switches import SwitchBoard
from dev.stripe.work import Work

log = logging.getLogger(__name__)

ACTIONS: dict[str, Callable[[Work, str], None]] = {
    "settle_debit": intents.settle_debit,
    "post_balance_transaction": charges.post_late,
    "succeed_refund": refunds.succeed,
    "fail_refund": refunds.fail,
    "open_dispute_of_card": disputes.open_of_card,
    "win_dispute": disputes.win,
    "lose_dispute": disputes.lose,
    "close_inquiry": disputes.close_inquiry,
    "close_refunded_inquiries": disputes.close_refunded_inquiries,
    "escalate_inquiry": disputes.escalate,
    "dispute_due": disputes.pass_deadline,
    "pay_payout": payouts.pay,
    "pay_out_daily": payouts.pay_out_daily,
}


class Clock:
    """A thread that does each scheduled action when it is due, once: the action and its removal are one transaction."""

    def __init__(self, store: Store, switches: SwitchBoard, *, sends_webhooks: bool) -> None:
        self._store = store
        self._switches = switches
        self._sends_webhooks = sends_webhooks
        self._changed = threading.Event()
        store.after_commit.append(self._changed.set)

    def start(self) -> None:
        """Begins, with whatever came due while the server was down."""
        threading.Thread(target=self._run, name="clock", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._changed.clear()
            with self._store.read() as db:
                first = db.execute("SELECT seq, due, action, object FROM schedule ORDER BY due LIMIT 1").fetchone()
            wait = first["due"] - time.time() if first else None
            if first is None or (wait is not None and wait > 0):
                self._changed.wait(wait)
                continue
            try:
                with self._store.write() as db:
                    db.execute("DELETE FROM schedule WHERE seq = ?", (first["seq"],))
                    work = Work(db, self._switches.now, self._sends_webhooks)
                    ACTIONS[first["action"]](work, first["object"])
            except Exception:
                # One action that fails must not end the thread; it is tried again, and said loudly.
                log.exception("%s of %s failed; it is tried again", first["action"], first["object"])
                time.sleep(1)

"""The statements that are always true of the rows, each with the SELECT that finds what contradicts it."""

from __future__ import annotations

from dataclasses import dataclass

from app.catalog.checklist import ITEMS
from app.payments.ledger_days import LEDGER_DAYS
from app.reports.payables import PAYABLES
from app.reports.provider_sums import IS_PAYABLE, OVER, SIGNED


@dataclass(frozen=True)
class Invariant:
    """A statement that must be true, and the SELECT that gives one line for each thing that contradicts it."""

    statement: str
    contradictions: str

    @property
    def select(self) -> str:
        """The SELECT in full, with what its words in capitals stand for."""
        sql = self.contradictions
        for name, meaning in _STANDS_FOR.items():
            sql = sql.replace(name, meaning)
        return sql


# Every night of a booking, or its departure, as a row.
_DAYS_SOLD = """
    (SELECT b.id, b.reference, b.status, b.package_id, b.units,
            CAST(coalesce(night.value->>'date', night.value->>'departure') AS date) AS day,
            CAST(night.value->>'price' AS bigint) AS price_minor, night.value ? 'departure' AS is_departure
     FROM bookings b CROSS JOIN LATERAL jsonb_array_elements(b.nights) AS night) AS days
"""

_ASKED_OF_ALL = "(VALUES {}) AS asked(item)".format(
    ", ".join(f"('{item.key}')" for item in ITEMS if item.is_required and item.sells is None)
)

_STANDS_FOR = {
    # Every night of every booking.
    "DAYS_SOLD": _DAYS_SOLD,
    # The items of the checklist that every provider has to show.
    "ASKED_OF_ALL": _ASKED_OF_ALL,
    # What is owed to providers as its page reads it, and the parts of that.
    "IS_PAYABLE": IS_PAYABLE,
    "PAYABLES": PAYABLES.format(only=""),
    "ADDED_TO_PAYABLE": SIGNED,
    "BOOKING_OVER": OVER,
    "LEDGER_DAYS": LEDGER_DAYS.all,
}

INVARIANTS = (
    Invariant(
        "What is owed to providers, ahead of them and held, is what the ledger's entries leave with each, to the cent",
        """
        WITH told AS (PAYABLES),
        plain AS (
            SELECT e.provider_id, e.currency,
                   coalesce(sum(ADDED_TO_PAYABLE) FILTER (WHERE NOT is_held AND BOOKING_OVER IS NOT NULL), 0) AS owed,
                   coalesce(sum(ADDED_TO_PAYABLE) FILTER (WHERE NOT is_held AND BOOKING_OVER IS NULL), 0) AS ahead,
                   coalesce(sum(ADDED_TO_PAYABLE) FILTER (WHERE is_held), 0) AS held
            FROM ledger_entries e JOIN bookings b ON b.id = e.booking_id
            CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM payment_holds h WHERE h.payment_id = e.payment_id
                                               AND h.lifted_at IS NULL) AS is_held) AS held
            WHERE IS_PAYABLE GROUP BY 1, 2)
        SELECT 'provider ' || provider_id || ': ' || coalesce(t.owed_minor, 0) || ', ' || coalesce(t.ahead_minor, 0)
               || ' and ' || coalesce(t.held_minor, 0) || ', by the entries ' || coalesce(p.owed, 0) || ', '
               || coalesce(p.ahead, 0) || ' and ' || coalesce(p.held, 0)
        FROM told t FULL JOIN plain p USING (provider_id, currency)
        WHERE (coalesce(t.owed_minor, 0), coalesce(t.ahead_minor, 0), coalesce(t.held_minor, 0))
              <> (coalesce(p.owed, 0), coalesce(p.ahead, 0), coalesce(p.held, 0))
        UNION ALL
        SELECT 'provider payable is ' || coalesce(balance, 0) || ' ' || currency || ', the providers have '
               || coalesce(parts, 0)
        FROM (SELECT currency, sum(credit_minor - debit_minor) AS balance FROM (LEDGER_DAYS) AS days
              WHERE account = 'provider_payable' GROUP BY 1) AS account
        FULL JOIN (SELECT currency, sum(owed_minor + ahead_minor + held_minor) AS parts FROM told GROUP BY 1) AS parts
              USING (currency)
        WHERE coalesce(balance, 0) <> coalesce(parts, 0)
        """,
    ),
    Invariant(
        "The stock held and booked on every day is what the bookings take",
        """
        WITH sold AS (
            SELECT package_id, day,
                   coalesce(sum(units) FILTER (WHERE status = 'PENDING_PAYMENT'), 0) AS held,
                   coalesce(sum(units) FILTER (WHERE status IN ('CONFIRMED', 'COMPLETED')), 0) AS booked
            FROM DAYS_SOLD GROUP BY package_id, day)
        SELECT 'package ' || package_id || ' on ' || day || ': '
               || coalesce(a.held, 0) || ' held and ' || coalesce(a.booked, 0) || ' booked, its bookings take '
               || coalesce(s.held, 0) || ' and ' || coalesce(s.booked, 0)
        FROM availability a FULL JOIN sold s USING (package_id, day)
        WHERE coalesce(a.held, 0) <> coalesce(s.held, 0) OR coalesce(a.booked, 0) <> coalesce(s.booked, 0)
        """,
    ),
    Invariant(
        "Every day that was ever booked is in its package's calendar",
        """
        SELECT reference || ' takes ' || day || ' of package ' || package_id FROM DAYS_SOLD
        WHERE NOT EXISTS (SELECT FROM availability a WHERE a.package_id = days.package_id AND a.day = days.day)
        """,
    ),
    Invariant(
        "A booking's total is the price of its nights times its units",
        """
        SELECT reference || ': total ' || b.total_minor || ', its nights come to ' || coalesce(n.price_minor, 0)
        FROM bookings b LEFT JOIN (
            SELECT id, sum(price_minor * units) AS price_minor FROM DAYS_SOLD GROUP BY id) n USING (id)
        WHERE b.total_minor IS DISTINCT FROM n.price_minor
        """,
    ),
    Invariant(
        "A booking's nights are every day from its start to its end, a departure its start",
        """
        SELECT reference || ': ' || b.starts_on || ' to ' || b.ends_on || ', but '
               || coalesce(n.days, 0) || ' days from ' || coalesce(CAST(n.first AS text), 'none')
               || ' to ' || coalesce(CAST(n.last AS text), 'none')
        FROM bookings b LEFT JOIN (
            SELECT id, count(DISTINCT day) AS days, count(*) AS rows, min(day) AS first, max(day) AS last,
                   bool_or(is_departure) AS is_departure
            FROM DAYS_SOLD GROUP BY id) n USING (id)
        WHERE n.id IS NULL OR n.rows <> n.days OR n.first <> b.starts_on
           OR n.last <> CASE WHEN n.is_departure THEN b.starts_on ELSE b.ends_on - 1 END
           OR n.days <> CASE WHEN n.is_departure THEN 1 ELSE b.ends_on - b.starts_on END
        """,
    ),
    Invariant(
        "A booking has the times that belong to its state, in order",
        """
        SELECT reference || ' is ' || status || ': created ' || created_at || ', expires ' || expires_at
               || ', confirmed ' || coalesce(CAST(confirmed_at AS text), 'never')
               || ', expired ' || coalesce(CAST(expired_at AS text), 'never')
               || ', cancelled ' || coalesce(CAST(cancelled_at AS text), 'never')
               || ', completed ' || coalesce(CAST(completed_at AS text), 'never')
        FROM bookings
        WHERE (confirmed_at IS NOT NULL) <> (status IN ('CONFIRMED', 'COMPLETED'))
              AND status NOT LIKE 'CANCELLED%'
           OR (completed_at IS NOT NULL) <> (status = 'COMPLETED')
           OR (cancelled_at IS NOT NULL) <> (status LIKE 'CANCELLED%')
           OR status = 'EXPIRED' AND expired_at IS NULL
           OR status = 'PENDING_PAYMENT' AND expired_at IS NOT NULL
           OR NOT coalesce(created_at < expires_at AND expires_at <= coalesce(expired_at, expires_at)
              AND coalesce(expired_at, created_at) <= coalesce(confirmed_at, 'infinity')
              AND coalesce(confirmed_at, created_at) <= least(completed_at, cancelled_at, 'infinity'), false)
        """,
    ),
    Invariant(
        "No hold is kept longer than two minutes past its time",
        """
        SELECT reference || ' should have expired at ' || expires_at FROM bookings
        WHERE status = 'PENDING_PAYMENT' AND expires_at < now() - interval '2 minutes'
        """,
    ),
    Invariant(
        "A stay is completed after noon of its last day at the place, and soon after",
        """
        SELECT reference || ' is ' || status || ', ends on ' || ends_on || ' (' || time_zone || ')' FROM bookings
        -- Countries change their clocks, and then the noons of the past move by an hour.
        WHERE status = 'COMPLETED' AND completed_at < (ends_on + time '11:00') AT TIME ZONE time_zone
           OR status = 'CONFIRMED'
              AND greatest((ends_on + time '12:00') AT TIME ZONE time_zone, confirmed_at) < now() - interval '1 hour'
        """,
    ),
    Invariant(
        "A confirmed or completed booking has exactly one captured payment, of its own amount and currency",
        """
        SELECT reference || ' is ' || b.status || ' over ' || total_minor || ' ' || b.currency || ', captured: '
               || coalesce(string_agg(p.amount_minor || ' ' || p.currency, ' and '), 'nothing')
        FROM bookings b LEFT JOIN payments p ON p.booking_id = b.id AND p.succeeded_at IS NOT NULL
        WHERE b.status IN ('CONFIRMED', 'COMPLETED')
        GROUP BY b.id HAVING count(p.id) <> 1 OR min(p.amount_minor) <> b.total_minor OR min(p.currency) <> b.currency
        """,
    ),
    Invariant(
        "A payment asks for its booking's amount, in its currency and for its provider",
        """
        SELECT 'payment ' || p.id || ' of ' || p.amount_minor || ' ' || p.currency || ' for provider ' || p.provider_id
               || ', ' || reference || ' is ' || total_minor || ' ' || b.currency || ' for provider ' || b.provider_id
        FROM payments p JOIN bookings b ON b.id = p.booking_id
        WHERE (p.amount_minor, p.currency, p.provider_id) <> (b.total_minor, b.currency, b.provider_id)
        """,
    ),
    Invariant(
        "Captured money has a booking that stands or stood, or is on its way back in full",
        """
        SELECT 'payment ' || p.id || ' captured ' || p.amount_minor || ', ' || reference || ' is ' || b.status
               || ', refunds ' || coalesce(r.amount_minor, 0)
        FROM payments p JOIN bookings b ON b.id = p.booking_id LEFT JOIN (
            SELECT payment_id, sum(amount_minor) AS amount_minor FROM refunds
            WHERE status NOT IN ('REJECTED', 'EXPIRED') GROUP BY payment_id) r ON r.payment_id = p.id
        WHERE p.succeeded_at IS NOT NULL AND b.confirmed_at IS NULL AND coalesce(r.amount_minor, 0) < p.amount_minor
        """,
    ),
    Invariant(
        "A payment has the times and Stripe's ids that belong to its state",
        """
        SELECT 'payment ' || id || ' is ' || status || ': succeeded ' || coalesce(CAST(succeeded_at AS text), 'never')
               || ', cancelled ' || coalesce(CAST(cancelled_at AS text), 'never')
               || ', charge ' || coalesce(stripe_charge_id, 'none')
               || ', fee ' || coalesce(CAST(fee_minor AS text), 'none')
        FROM payments
        WHERE (succeeded_at IS NOT NULL) <> (status IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED'))
           OR (cancelled_at IS NOT NULL) <> (status = 'CANCELLED')
           OR succeeded_at IS NOT NULL
              AND (stripe_payment_intent_id IS NULL OR stripe_charge_id IS NULL OR fee_minor IS NULL)
           -- Stripe's clock counts in seconds, and it isn't ours.
           OR succeeded_at < created_at - interval '1 minute' OR cancelled_at < created_at
        """,
    ),
    Invariant(
        "What a payment has given back is what its refunds have paid, and its state says so",
        """
        SELECT 'payment ' || p.id || ' is ' || p.status || ', refunded ' || p.refunded_minor || ' of ' || p.amount_minor
               || ', refunds paid ' || coalesce(r.paid, 0) || ', not given up ' || coalesce(r.live, 0)
        FROM payments p LEFT JOIN (
            SELECT payment_id, sum(amount_minor) FILTER (WHERE status = 'SUCCEEDED') AS paid,
                   sum(amount_minor) FILTER (WHERE status NOT IN ('FAILED', 'REJECTED', 'EXPIRED')) AS live
            FROM refunds GROUP BY payment_id) r ON r.payment_id = p.id
        WHERE p.refunded_minor <> coalesce(r.paid, 0) OR r.live > p.amount_minor
           OR p.succeeded_at IS NULL AND r.payment_id IS NOT NULL
           OR p.succeeded_at IS NOT NULL AND p.status <> CASE p.refunded_minor
              WHEN 0 THEN 'SUCCEEDED' WHEN p.amount_minor THEN 'REFUNDED' ELSE 'PARTIALLY_REFUNDED' END
        """,
    ),
    Invariant(
        "No refund waits to go out for which nothing is left",
        """
        SELECT 'payment ' || p.id || ': refunds not given up ' || r.live || ' and disputes ' || p.disputed_minor
               || ' of ' || p.amount_minor || ', and ' || r.waiting || ' of it still waits'
        FROM payments p JOIN (
            SELECT payment_id, sum(amount_minor) FILTER (WHERE status NOT IN ('FAILED', 'REJECTED', 'EXPIRED')) AS live,
                   sum(amount_minor) FILTER (WHERE status IN ('PENDING_APPROVAL', 'APPROVED')) AS waiting
            FROM refunds GROUP BY payment_id) r ON r.payment_id = p.id
        WHERE r.waiting > 0 AND r.live + p.disputed_minor > p.amount_minor
        """,
    ),
    Invariant(
        "A refund has the times and Stripe's id that belong to its state, and its payment's currency",
        """
        SELECT 'refund ' || r.id || ' is ' || r.status || ' in ' || r.currency
               || ': submitted ' || coalesce(CAST(r.submitted_at AS text), 'never')
               || ', succeeded ' || coalesce(CAST(r.succeeded_at AS text), 'never')
               || ', failed ' || coalesce(CAST(r.failed_at AS text), 'never')
               || ', at Stripe ' || coalesce(r.stripe_refund_id, 'unknown')
        FROM refunds r JOIN payments p ON p.id = r.payment_id
        WHERE r.currency <> p.currency
           OR r.status IN ('SUBMITTED', 'SUCCEEDED') AND r.submitted_at IS NULL
           OR r.status = 'SUCCEEDED' AND (r.succeeded_at IS NULL OR r.stripe_refund_id IS NULL)
           OR r.status = 'FAILED' AND r.failed_at IS NULL
           OR NOT (r.created_at <= coalesce(r.submitted_at, 'infinity')
              AND coalesce(r.submitted_at, r.created_at) <= coalesce(r.succeeded_at, 'infinity'))
        """,
    ),
    Invariant(
        "What a dispute has moved is posted, and once it is lost all it took is borne by somebody",
        """
        WITH told AS (
            SELECT stripe_dispute_id AS source_id, max(payment_id) AS payment_id, bool_or(status = 'LOST') AS is_lost,
                   sum(withdrawn_minor) AS withdrawn, sum(reinstated_minor) AS reinstated, sum(fee_minor) AS fee,
                   sum(fee_returned_minor) AS fee_returned
            FROM disputes WHERE source = 'CHARGEBACK' GROUP BY stripe_dispute_id),
        posted AS (
            -- Borne anew, it has the number of the time behind the dispute's id.
            SELECT split_part(source_id, '.', 1) AS source_id,
                   sum(signed) FILTER (WHERE what = 'dispute.withdrawn') AS withdrawn,
                   sum(signed) FILTER (WHERE what = 'dispute.reinstated') AS reinstated,
                   sum(signed) FILTER (WHERE what = 'dispute.fee') AS fee,
                   sum(signed) FILTER (WHERE what = 'dispute.fee_returned') AS fee_returned,
                   sum(signed) FILTER (WHERE starts_with(what, 'dispute.lost.')) AS borne
            FROM (SELECT source_id, regexp_replace(kind, '[.](more|less|reversed)$', '') AS what,
                         CASE WHEN kind LIKE '%.less' OR kind LIKE '%.reversed' THEN -amount_minor
                              ELSE amount_minor END AS signed
                  FROM ledger_entries WHERE starts_with(kind, 'dispute.')) AS moved
            GROUP BY 1)
        SELECT source_id || ': took ' || coalesce(t.withdrawn, 0) || ' and a fee of ' || coalesce(t.fee, 0)
               || ', gave back ' || coalesce(t.reinstated, 0) || ' and ' || coalesce(t.fee_returned, 0) || ', posted '
               || coalesce(p.withdrawn, 0) || ', ' || coalesce(p.fee, 0) || ', ' || coalesce(p.reinstated, 0) || ', '
               || coalesce(p.fee_returned, 0) || ' and borne ' || coalesce(p.borne, 0)
        FROM told t FULL JOIN posted p USING (source_id)
        WHERE (coalesce(t.withdrawn, 0), coalesce(t.fee, 0), coalesce(t.reinstated, 0), coalesce(t.fee_returned, 0),
               CASE WHEN t.is_lost THEN t.withdrawn - t.reinstated ELSE 0 END)
              <> (coalesce(p.withdrawn, 0), coalesce(p.fee, 0), coalesce(p.reinstated, 0), coalesce(p.fee_returned, 0),
                  coalesce(p.borne, 0))
        """,
    ),
    Invariant(
        "A payment is held while a dispute over it is undecided, but where somebody lifted that",
        """
        SELECT 'dispute ' || d.id || ' is ' || d.status || ', its payment is '
               || CASE WHEN h.id IS NULL THEN 'not held' ELSE 'held' END
        FROM disputes d LEFT JOIN payment_holds h ON h.source = 'dispute:' || d.id AND h.lifted_at IS NULL
        WHERE (h.id IS NOT NULL)
              <> (d.status IN ('OPEN', 'UNDER_REVIEW', 'EVIDENCE_SUBMITTED') AND d.hold_lifted_at IS NULL)
        """,
    ),
    Invariant(
        "A refund is on hold exactly while its payment is held, and one that waits for approval says until when",
        """
        SELECT 'refund ' || r.id || ' is ' || r.status || ', its payment is held by ' || h.source
        FROM refunds r JOIN payment_holds h ON h.payment_id = r.payment_id AND h.lifted_at IS NULL
        WHERE r.status IN ('PENDING_APPROVAL', 'APPROVED')
        UNION ALL
        SELECT 'refund ' || r.id || ' is on hold, but nothing holds its payment' FROM refunds r
        WHERE r.status = 'ON_HOLD' AND NOT EXISTS (
            SELECT FROM payment_holds h WHERE h.payment_id = r.payment_id AND h.lifted_at IS NULL)
        UNION ALL
        SELECT 'refund ' || id || ' waits for approval for ever' FROM refunds
        WHERE status = 'PENDING_APPROVAL' AND expires_at IS NULL
        """,
    ),
    Invariant(
        "A row that waits for work says when it is due, and one that is done is not due",
        """
        SELECT 'event ' || stripe_event_id || ' is ' || status || ', due ' || coalesce(CAST(due_at AS text), 'never')
        FROM webhook_events
        WHERE (due_at IS NOT NULL) <> (status = 'RECEIVED')
           OR status IN ('PROCESSED', 'IGNORED') AND processed_at IS NULL
        UNION ALL
        SELECT 'refund ' || id || ' is ' || status || ', due ' || coalesce(CAST(due_at AS text), 'never') FROM refunds
        WHERE due_at IS NULL AND status IN ('APPROVED', 'SUBMITTED')
              AND attempts = 0 OR due_at IS NOT NULL AND status NOT IN ('APPROVED', 'SUBMITTED')
        UNION ALL
        SELECT 'payment ' || id || ' is ' || status || ', due ' || due_at FROM payments
        WHERE due_at IS NOT NULL AND status IN ('CANCELLED', 'SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED')
        """,
    ),
    Invariant(
        "Nothing has been due for more than two minutes",
        """
        SELECT 'event ' || stripe_event_id || ' since ' || due_at || ': ' || coalesce(last_error, 'never tried')
        FROM webhook_events WHERE due_at < now() - interval '2 minutes'
        UNION ALL
        SELECT 'refund ' || id || ' since ' || due_at || ': ' || coalesce(last_error, 'never tried')
        FROM refunds WHERE due_at < now() - interval '2 minutes'
        UNION ALL
        SELECT 'payment ' || id || ' since ' || due_at || ': ' || coalesce(last_error, 'never tried')
        FROM payments WHERE due_at < now() - interval '2 minutes'
        UNION ALL
        SELECT 'dispute ' || id || ' since ' || due_at || ': ' || coalesce(last_error, 'never tried')
        FROM disputes WHERE due_at < now() - interval '2 minutes'
        UNION ALL
        SELECT 'review ' || id || ' since ' || undo_until || ': its decision can''t be undone, and is not told'
        FROM reviews WHERE undo_until < now() - interval '2 minutes'
        """,
    ),
    Invariant(
        "A review is of a completed booking, by its traveller, about its package and after it",
        """
        SELECT 'review ' || r.id || ' of ' || r.created_at || ' by traveller ' || r.traveller_id || ' about package '
               || r.package_id || ', ' || reference || ' is ' || b.status || ' by ' || b.traveller_id || ' of '
               || b.package_id || ', completed ' || coalesce(CAST(b.completed_at AS text), 'never')
        FROM reviews r JOIN bookings b ON b.id = r.booking_id
        WHERE b.status <> 'COMPLETED' OR (r.package_id, r.traveller_id) <> (b.package_id, b.traveller_id)
           OR NOT coalesce(b.completed_at <= r.created_at, false)
        """,
    ),
    Invariant(
        "A verified provider has shown everything that is asked of all",
        """
        SELECT 'provider ' || p.id || ' is verified, ' || asked.item || ' is ' || coalesce(lower(c.status), 'open')
        FROM providers p CROSS JOIN ASKED_OF_ALL
             LEFT JOIN provider_checks c ON c.provider_id = p.id AND c.item = asked.item
        WHERE p.status = 'VERIFIED' AND c.status IS DISTINCT FROM 'ACCEPTED'
        """,
    ),
    Invariant(
        "The stock by month is that of the calendar's days",
        """
        SELECT 'package ' || package_id || ' in ' || to_char(month, 'YYYY-MM') || ': kept are '
               || coalesce(CAST(kept.prices AS text), 'no days') || ' with minimums '
               || coalesce(CAST(kept.min_nights AS text), 'none') || ', the days say '
               || coalesce(CAST(days.prices AS text), 'no days') || ' with minimums '
               || coalesce(CAST(days.min_nights AS text), 'none')
        FROM stock_months kept FULL JOIN availability_months days USING (package_id, month)
             CROSS JOIN (SELECT array_fill(CAST(NULL AS bigint), ARRAY[31])) AS nothing (prices)
        WHERE coalesce(kept.prices, nothing.prices) <> coalesce(days.prices, nothing.prices)
           OR kept.min_nights IS DISTINCT FROM days.min_nights
        """,
    ),
    Invariant(
        "A booking has at most one review",
        """
        SELECT reference || ' has ' || count(*) FROM reviews r JOIN bookings b ON b.id = r.booking_id
        GROUP BY b.id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "A review has the times and the decision that belong to its state",
        """
        SELECT 'review ' || id || ' is ' || status || ': created ' || created_at
               || ', moderated ' || coalesce(CAST(moderated_at AS text), 'never')
               || ', withdrawn ' || coalesce(CAST(withdrawn_at AS text), 'never')
               || ', reason ' || coalesce(moderation_reason, 'none')
               || ', to be undone until ' || coalesce(CAST(undo_until AS text), 'never')
        FROM reviews
        WHERE (moderated_at IS NOT NULL) <> (status IN ('APPROVED', 'REJECTED'))
           OR (moderation_reason IS NOT NULL) <> (status = 'REJECTED')
           OR status NOT IN ('APPROVED', 'REJECTED')
              AND coalesce(CAST(moderated_by AS text), moderation_notes, CAST(undo_until AS text)) IS NOT NULL
           OR (withdrawn_at IS NOT NULL) <> (status = 'WITHDRAWN')
           OR least(moderated_at, withdrawn_at) < created_at
        """,
    ),
    Invariant(
        "The ratings counted are those of the approved reviews",
        """
        SELECT 'package ' || package_id || ': ' || coalesce(c.reviews, 0) || ' with rating ' || rating
               || ' counted, approved are ' || coalesce(r.reviews, 0)
        FROM rating_counts c FULL JOIN (
            SELECT package_id, rating, count(*) AS reviews FROM reviews WHERE status = 'APPROVED'
            GROUP BY package_id, rating) r USING (package_id, rating)
        WHERE coalesce(c.reviews, 0) <> coalesce(r.reviews, 0)
        """,
    ),
    Invariant(
        "Every booking, payment and refund has the audit entry of its beginning",
        """
        SELECT what || ' ' || id || ' (' || status || ')' FROM (
            SELECT 'bookings' AS what, id, status, 'booking.hold' AS action FROM bookings
            UNION ALL SELECT 'payments', id, status, 'payment.open' FROM payments
            UNION ALL SELECT 'refunds', id, status, NULL FROM refunds) AS kept
        WHERE NOT EXISTS (SELECT FROM audit_entries a WHERE a.object_type = what AND a.object_id = kept.id
                          AND a.action = coalesce(kept.action, a.action))
        """,
    ),
)

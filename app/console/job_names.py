"""What jobs are called where people read of them, instead of the names of their functions."""

from __future__ import annotations

JOBS = {
    "jobs.accounts.answer_password_reset_request": "Mail a link for a new password",
    "jobs.accounts.forget_old": "Delete old counts and claims",
    "jobs.audit.seal": "Seal the audit trail",
    "jobs.bookings.complete_stays": "Complete the stays that are over",
    "jobs.bookings.expire_holds": "Free the holds whose time is over",
    "jobs.bulk.delete_files": "Delete old exports",
    "jobs.bulk.work": "Go on with a bulk run",
    "jobs.disputes.remind": "Remind finance of disputes",
    "jobs.disputes.send": "Ask Stripe about a dispute",
    "jobs.imports.forget_files": "Delete the files of old imports",
    "jobs.imports.work": "Go on with an import",
    "jobs.meilisearch.compare": "Compare Meilisearch with the catalogue",
    "jobs.meilisearch.send": "Send changes to Meilisearch",
    "jobs.meilisearch.send_synonyms": "Send synonyms to Meilisearch",
    "jobs.notifications.send": "Send a mail",
    "jobs.payments.check_books": "Check the books",
    "jobs.payments.close_intent": "Close a payment at Stripe",
    "jobs.payments.expire_refunds": "Expire refunds nobody decided on",
    "jobs.payments.submit_refund": "Have Stripe pay a refund",
    "jobs.providers.sweep_files": "Delete files of no document",
    "jobs.reconciliation.reconcile_due": "Begin with days to be reconciled",
    "jobs.reconciliation.work": "Go on with a day's reconciliation",
    "jobs.reports.add_up": "Add up the sums by day",
    "jobs.reviews.settle": "Make decisions on reviews final",
    "jobs.search.compare": "Compare search with the catalogue",
    "jobs.search.count_words": "Count the words of the catalogue",
    "jobs.search.forget_searches": "Forget old searches",
    "jobs.search.index": "Take changed packages into search",
    "jobs.search.keep_searches": "Keep what was searched for",
    "jobs.search.rebuild": "Go on with a rebuild of the index",
    "jobs.sweeps.bulks": "Hand out bulk runs",
    "jobs.sweeps.disputes": "Hand out disputes",
    "jobs.sweeps.imports": "Hand out imports",
    "jobs.sweeps.index_rebuilds": "Hand out rebuilds of the index",
    "jobs.sweeps.notifications": "Hand out mails",
    "jobs.sweeps.password_reset_requests": "Hand out requests for new passwords",
    "jobs.sweeps.payments": "Hand out payments",
    "jobs.sweeps.reconciliations": "Hand out days to be reconciled",
    "jobs.sweeps.refunds": "Hand out refunds",
    "jobs.sweeps.sweep_all": "Hand out all work that is due",
    "jobs.sweeps.webhook_events": "Hand out Stripe's events",
    "jobs.webhooks.process": "Work through one of Stripe's events",
}


def job_in_words(job: str) -> str:
    """What a job is called; one that has no name yet by its function."""
    return JOBS.get(job, job)

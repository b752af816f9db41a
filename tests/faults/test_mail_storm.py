"""Mail while its worker is killed and Redis is emptied: each goes out once, and what nobody can know is said."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from app.notifications.models import Notification
from tests.conftest import wait_for
from tests.notifications.conftest import a_mail
from tests.notifications.mail_server import MailServer
from tests.stack import Stack

MAILS = 150


def written(stack: Stack) -> list[Notification]:
    with stack.app():
        return [a_mail() for _ in range(MAILS)]


def statuses(stack: Stack) -> Counter[str]:
    return Counter(dict(stack.ask_database("SELECT status, count(*) FROM notifications GROUP BY status")))


def settled(stack: Stack) -> int:
    return statuses(stack)["SENT"] + statuses(stack)["UNKNOWN"]


def trouble(stack: Stack) -> int:
    """Kill the mail worker with whatever it is at, again and again, and throw Redis away in between."""
    kills = 0
    while settled(stack) <= MAILS * 0.8:
        before = settled(stack)
        wait_for(lambda: settled(stack) > before, "the worker to send a mail", 120)  # noqa: B023  (called at once)
        time.sleep(1)
        stack.kill("mail")
        kills += 1
        if kills % 2:
            stack.empty_redis()
        # Half a minute later.
        stack.ask_database("UPDATE notifications SET leased_until = now() WHERE status = 'QUEUED'")
        stack.start_worker("mail")
    return kills


def as_if_dead_long_enough(stack: Stack) -> None:
    stack.ask_database(
        "UPDATE notifications SET sending_at = sending_at - interval '2 minutes', leased_until = now()"
        " WHERE status = 'SENDING'"
    )


@pytest.mark.timeout(400)
def test_each_mail_goes_to_the_mail_server_at_most_once_and_none_is_forgotten(stack: Stack) -> None:
    with MailServer(seconds_for_a_mail=0.05) as server:
        stack.settings["mail_url"] = server.url
        mails = written(stack)
        for queue in ("mail", "default"):
            stack.start_worker(queue)
        stack.start_scheduler()
        assert trouble(stack) > 2
        as_if_dead_long_enough(stack)
        stack.ask_database("UPDATE notifications SET leased_until = now() WHERE status = 'QUEUED'")
        wait_for(lambda: not statuses(stack).keys() - {"SENT", "UNKNOWN"}, "every mail to be settled", 90)
        delivered = Counter(server.recipients)
    assert set(delivered.values()) == {1}, "a mail went out twice"
    sent = {row[0] for row in stack.ask_database("SELECT recipient FROM notifications WHERE status = 'SENT'")}
    assert sent <= set(delivered), "a mail is said to be sent, and was not"
    unknown = statuses(stack)["UNKNOWN"]
    assert len(sent) + unknown == len(mails)
    print(f"{len(sent)} sent, {unknown} that only a person can decide about")  # noqa: T201  (shown with -s)


@pytest.mark.timeout(400)
def test_into_the_folder_each_mail_is_written_once_with_nobody_s_help(stack: Stack) -> None:
    mails = written(stack)
    for queue in ("mail", "default"):
        stack.start_worker(queue)
    stack.start_scheduler()
    trouble(stack)
    as_if_dead_long_enough(stack)
    stack.ask_database("UPDATE notifications SET leased_until = now() WHERE status = 'QUEUED'")
    wait_for(lambda: statuses(stack) == Counter(SENT=MAILS), "every mail to be sent", 90)
    files = [file.read_text() for file in (stack.folder / "mail").glob("*.eml")]
    assert sorted(mail.recipient for mail in mails) == sorted(
        recipient for file in files for recipient in [mail.recipient for mail in mails] if recipient in file
    )


def test_a_worker_killed_while_the_server_has_the_mail_leaves_it_to_a_person(stack: Stack) -> None:
    with MailServer() as server:
        server.hangs_at = "DATA"
        stack.settings["mail_url"] = server.url
        with stack.app():
            a_mail()
        for queue in ("mail", "default"):
            stack.start_worker(queue)
        stack.start_scheduler()
        wait_for(lambda: server.mails, "the server to have it")
        stack.kill("mail")
        assert statuses(stack) == Counter(SENDING=1)
        server.hangs_at = ""
        stack.empty_redis()
        as_if_dead_long_enough(stack)
        stack.start_worker("mail")
        wait_for(lambda: statuses(stack) == Counter(UNKNOWN=1), "it to be given to a person", 60)
        assert len(server.mails) == 1

"""Files are kept whole or not at all, under keys of ours, in a folder or in a bucket."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from flask import Flask
from flask.testing import FlaskClient
from moto.server import ThreadedMotoServer

from app import storage
from app.config import load
from app.errors import NotFound, Unavailable
from tests.conftest import _settings
from tests.console.browser import signed_in

BUCKET = "tripdesk-files"
KEY = "documents/Zm9v_-1"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A stand-in for S3 with an empty bucket; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", s3),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The app keeps its files here; each test in a place of its own."""
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
        url = f"s3://{BUCKET}/{tmp_path.name}"
    else:
        url = f"file://{tmp_path}/not%20there%20yet"
    monkeypatch.setitem(app.extensions, "storage", storage.connect(load(**_settings("nowhere", storage_url=url))))
    return url


def content(key: str) -> bytes:
    return b"".join(storage.read(key))


def everything() -> list[str]:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return sorted([*storage.older("documents", tomorrow), *storage.older("exports", tomorrow)])


def failing(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise RuntimeError("the line went dead")


def test_what_was_saved_is_read_again_in_blocks(place: str) -> None:
    blocks = [os.urandom(700_000), b"", os.urandom(700_000)]
    assert storage.save(KEY, iter(blocks)) == 1_400_000
    found = list(storage.read(KEY))
    assert b"".join(found) == b"".join(blocks)
    assert max(map(len, found)) <= 64 * 1024
    assert storage.exists(KEY)


def test_an_empty_file_is_a_file(place: str) -> None:
    assert storage.save(KEY, []) == 0
    assert storage.exists(KEY)
    assert content(KEY) == b""


def test_a_file_that_breaks_off_is_not_there(place: str) -> None:
    with pytest.raises(RuntimeError):
        storage.save(KEY, failing(b"x" * 2_000_000))
    assert not storage.exists(KEY)
    assert everything() == []


def test_a_file_that_breaks_off_leaves_the_one_before(place: str) -> None:
    storage.save(KEY, [b"before"])
    with pytest.raises(RuntimeError):
        storage.save(KEY, failing(b"after"))
    assert content(KEY) == b"before"
    storage.save(KEY, [b"after"])
    assert content(KEY) == b"after"
    assert everything() == [KEY]


def test_what_is_not_there_is_not_found_before_anything_is_read(place: str) -> None:
    assert not storage.exists(KEY)
    with pytest.raises(NotFound, match="not there any more"):
        storage.read(KEY)


def test_several_files_are_read_one_behind_the_other_also_when_the_request_is_over(place: str, app: Flask) -> None:
    keys = [f"exports/1/{number}.csv" for number in (2, 10, 1)]
    for key in keys:
        storage.save(key, [key.encode()])
    blocks = storage.read_each(keys)
    threads: list[bytes] = []
    elsewhere = threading.Thread(target=lambda: threads.extend(blocks))
    elsewhere.start()
    elsewhere.join()
    assert b"".join(threads) == "".join(keys).encode()
    with pytest.raises(NotFound):
        list(storage.read_each([*keys, "exports/1/gone.csv"]))
    assert list(storage.read_each([])) == [b""]


def test_deleting_takes_all_of_them_and_minds_no_missing_one(place: str) -> None:
    keys = [f"exports/1/{number:04}.csv" for number in range(1, 4)]
    for key in (*keys, KEY):
        storage.save(key, [b"1"])
    storage.delete([*keys, "exports/2/0001.csv"])
    assert everything() == [KEY]
    storage.delete([])


def test_files_are_told_by_their_age(place: str) -> None:
    storage.save(KEY, [b"1"])
    storage.save("exports/1/0001.csv", [b"1"])
    now = datetime.now(UTC)
    assert list(storage.older("documents", now + timedelta(minutes=1))) == [KEY]
    assert list(storage.older("documents", now - timedelta(minutes=1))) == []
    assert list(storage.older("nothing", now + timedelta(minutes=1))) == []


@pytest.mark.parametrize(
    "key",
    [
        "../secrets.env",
        "documents/../../secrets.env",
        "/etc/passwd",
        "documents//1",
        "documents/.half",
        "documents/a..b",
        "documents/a b",
        "documents/ä",
        "documents/1\n",
        "documents",
        "",
        "documents/" + "a" * 200,
    ],
)
def test_a_key_that_is_not_one_of_ours_is_refused(place: str, key: str) -> None:
    for refused in (
        lambda: storage.save(key, [b"1"]),
        lambda: storage.read(key),
        lambda: storage.exists(key),
        lambda: storage.delete([key]),
    ):
        with pytest.raises(ValueError, match="no key of a file"):
            refused()
    assert everything() == []


def test_two_who_save_the_same_file_leave_one_of_the_two(place: str, app: Flask) -> None:
    whole = [bytes([letter]) * 300_000 for letter in b"ab"]
    both = threading.Barrier(2)

    def write(text: bytes) -> None:
        both.wait()
        with app.app_context():
            storage.save(KEY, [text[:150_000], text[150_000:]])

    threads = [threading.Thread(target=write, args=(text,)) for text in whole]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(KEY) in whole


def in_folder(app: Flask, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setitem(app.extensions, "storage", storage.Folder(path))


def test_a_file_is_read_as_it_was_when_reading_began(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_folder(app, monkeypatch, tmp_path)
    storage.save(KEY, [b"a" * 200_000])
    blocks = storage.read(KEY)
    storage.save(KEY, [b"b"])
    storage.delete([KEY])
    assert b"".join(blocks) == b"a" * 200_000


def test_nothing_half_written_stays(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_folder(app, monkeypatch, tmp_path)
    with pytest.raises(RuntimeError):
        storage.save(KEY, failing(b"1"))
    storage.save(KEY, [b"1"])
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [KEY.rsplit("/", 1)[1]]


def test_files_are_for_the_account_that_runs_us_alone(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_folder(app, monkeypatch, tmp_path)
    storage.save(KEY, [b"1"])
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0


def test_what_a_killed_process_left_half_written_goes_after_a_day(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_folder(app, monkeypatch, tmp_path)
    storage.save(KEY, [b"1"])
    old, young = tmp_path / ".half" / "old", tmp_path / ".half" / "young"
    for half in (old, young):
        half.write_bytes(b"half")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(old, (long_ago, long_ago))
    storage.save(KEY, [b"2"])
    assert [half.name for half in (tmp_path / ".half").iterdir()] == ["young"]


def test_without_a_setting_files_are_kept_in_the_home(tmp_path: Path) -> None:
    place = storage.connect(load(**_settings("nowhere", tripdesk_home=str(tmp_path), storage_url="")))
    assert isinstance(place, storage.Folder)
    assert place.path == tmp_path / "storage"


def test_a_place_that_takes_nothing_is_said_by_the_probe_and_on_the_settings_page(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    admin = signed_in(app, "admin")
    assert "Files can&#39;t be kept" not in admin.get("/console/settings/").text
    in_the_way = tmp_path / "a-file"
    in_the_way.write_text("not a folder")
    in_folder(app, monkeypatch, in_the_way)
    with pytest.raises(Unavailable, match=f"Files can't be kept in {in_the_way}: Not a directory"):
        storage.save(KEY, [b"1"])
    assert storage.problem() == f"Files can't be kept in {in_the_way}: Not a directory."
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json["status"], ready.json["storage"]) == (200, "degraded", "down")  # type: ignore[index]
    assert "Not a directory" in admin.get("/console/settings/").text


def test_a_bucket_that_is_not_there_or_does_not_answer_is_unavailable_and_asked_once_a_minute(
    app: Flask, s3_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint, url in ((None, "s3://nobody-has-this"), ("http://127.0.0.1:1", f"s3://{BUCKET}")):
        if endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        place = storage.connect(load(**_settings("nowhere", storage_url=url)))
        monkeypatch.setitem(app.extensions, "storage", place)
        said = storage.problem()
        assert said is not None
        assert "Files can't be kept in the bucket" in said
        assert isinstance(place, storage.Bucket)
        assert place._probed is not None
        asked_at = place._probed[0]
        assert storage.problem() == said
        assert place._probed[0] == asked_at
    with pytest.raises(Unavailable, match="Files can't be kept in the bucket"):
        storage.save(KEY, [b"1"])

"""JSON logs and request ids."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import logs


@pytest.fixture
def log_dir(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    logs.configure(tmp_path / "logs", stream=sys.stdout)
    yield tmp_path / "logs"
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = before


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_log_line_is_json_with_time_level_and_request_id(log_dir: Path) -> None:
    token = logs.request_id.set("req_of_this_test")
    logging.getLogger("app.somewhere").info("it\nhappened", extra={"booking": 7})
    logs.request_id.reset(token)
    (line,) = lines(log_dir / "combined.log")
    assert str(line.pop("at")).startswith("20")
    assert line == {
        "level": "INFO",
        "logger": "app.somewhere",
        "message": "it\nhappened",
        "request_id": "req_of_this_test",
        "booking": 7,
    }


def test_errors_go_to_a_file_of_their_own_too(log_dir: Path) -> None:
    logging.getLogger("app").info("fine")
    logging.getLogger("app").error("not fine")
    assert [line["message"] for line in lines(log_dir / "error.log")] == ["not fine"]
    assert [line["message"] for line in lines(log_dir / "combined.log")] == ["fine", "not fine"]


@pytest.mark.parametrize("sane", ["1", "a.b_c:d-e", "x" * 128])
def test_a_sane_request_id_is_kept(sane: str) -> None:
    assert logs.new_request_id(sane) == sane


@pytest.mark.parametrize("odd", [None, "", "x" * 129, "has space", "new\nline", 'quote"', "ünïcode", "<script>1"])
def test_any_other_is_replaced(odd: str | None) -> None:
    made = logs.new_request_id(odd)
    assert made != odd
    assert logs.new_request_id(made) == made

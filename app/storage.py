"""Files kept outside the database, such as documents and exports: in a folder or in S3, as STORAGE_URL says.

Keys are ours, made of ids and random tokens (`exports/12/0001.csv`), never of a name that a person gave.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from time import monotonic
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from flask import current_app

from app.config import Settings
from app.errors import NotFound, Unavailable

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_MOST_CHARACTERS = 200
_BLOCK_BYTES = 64 * 1024
_IN_MEMORY_BYTES = 1024 * 1024
_HALVES_KEPT = timedelta(days=1)
_NEVER = datetime.max.replace(tzinfo=UTC)
_PROBE_SECONDS = 60
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_MOST_AT_ONCE = 1000


class Storage(Protocol):
    """A place for files."""

    def save(self, key: str, content: Iterable[bytes]) -> int:
        """See `save`."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """See `read`."""
        ...

    def exists(self, key: str) -> bool:
        """See `exists`."""
        ...

    def delete(self, keys: list[str]) -> None:
        """See `delete`."""
        ...

    def older(self, folder: str, than: datetime) -> Iterator[str]:
        """See `older`."""
        ...

    def problem(self) -> str | None:
        """See `problem`."""
        ...


def save(key: str, content: Iterable[bytes]) -> int:
    """Keep a file, whole or not at all; one that has the key already is replaced. How many bytes it has.

    Raises Unavailable. Never inside a transaction: it may take long.
    """
    return _storage().save(_checked(key), content)


def read(key: str) -> Iterator[bytes]:
    """A file in blocks. Raises NotFound at once, and Unavailable, also on the way."""
    return read_each([key])


def read_each(keys: Iterable[str]) -> Iterator[bytes]:
    """Several files, one behind the other, in blocks; it may be read on when the request is over.

    Raises NotFound for the first at once and for the others on the way, as Unavailable.
    """
    place, checked = _storage(), [_checked(key) for key in keys]
    blocks = chain.from_iterable(place.read(key) for key in checked)
    return chain([next(blocks, b"")], blocks)


def exists(key: str) -> bool:
    """Whether there is such a file. Raises Unavailable."""
    return _storage().exists(_checked(key))


def delete(keys: Iterable[str]) -> None:
    """Take files away; one that isn't there is no error. Raises Unavailable."""
    _storage().delete([_checked(key) for key in keys])


def older(folder: str, than: datetime) -> Iterator[str]:
    """The keys below a folder, such as `documents`, of the files saved earlier than that. Raises Unavailable."""
    return _storage().older(folder, than)


def problem() -> str | None:
    """Why nothing can be kept just now, in words; None when it can. Of S3 the answer may be a minute old."""
    return _storage().problem()


def connect(settings: Settings) -> Storage:
    """The place that the settings name."""
    parts = urlsplit(settings.storage_url)
    if parts.scheme == "s3":
        return Bucket(parts.netloc, parts.path.strip("/"))
    return Folder(Path(unquote(parts.path)) if settings.storage_url else settings.tripdesk_home / "storage")


def _storage() -> Storage:
    found: Storage = current_app.extensions["storage"]
    return found


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or ".." in key or len(key) > _MOST_CHARACTERS:
        raise ValueError(f"{key[:_MOST_CHARACTERS]!r} is no key of a file")
    return key


class Folder:
    """Files below a folder that every process has to see; only the account that runs Tripdesk can read them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._halves = path / ".half"

    def save(self, key: str, content: Iterable[bytes]) -> int:
        """Written beside its place and moved there once it is on the disk."""
        place = self.path / key
        with self._in_words():
            place.parent.mkdir(parents=True, exist_ok=True)
            self._clear_halves()
            handle, name = tempfile.mkstemp(dir=self._halves)
        half, written = Path(name), 0
        try:
            with os.fdopen(handle, "wb") as file:
                for block in content:
                    with self._in_words():
                        written += file.write(block)
                with self._in_words():
                    file.flush()
                    os.fsync(file.fileno())
            with self._in_words():
                half.replace(place)
                _sync(place.parent)
        finally:
            half.unlink(missing_ok=True)
        return written

    def read(self, key: str) -> Iterator[bytes]:
        """The file as it was when the first block was read, also when it is replaced or deleted meanwhile."""
        with self._in_words():
            try:
                file = (self.path / key).open("rb")
            except FileNotFoundError:
                raise NotFound("This file is not there any more.") from None
        with file:
            while block := self._block(file):
                yield block

    def exists(self, key: str) -> bool:
        """A look at the folder."""
        with self._in_words():
            return (self.path / key).is_file()

    def delete(self, keys: list[str]) -> None:
        """Folders stay, as somebody may be about to write into them."""
        with self._in_words():
            for key in keys:
                (self.path / key).unlink(missing_ok=True)

    def older(self, folder: str, than: datetime) -> Iterator[str]:
        """By the time a file was written last."""
        with self._in_words():
            for file in (self.path / folder).rglob("*"):
                if _written_at(file) < than:
                    yield file.relative_to(self.path).as_posix()

    def problem(self) -> str | None:
        """Writes a byte, which also a full disk would refuse."""
        try:
            with self._in_words():
                self._halves.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._halves) as file:
                    file.write(b".")
        except Unavailable as refusal:
            return refusal.detail
        return None

    def _block(self, file: Any) -> bytes:
        with self._in_words():
            block: bytes = file.read(_BLOCK_BYTES)
        return block

    def _clear_halves(self) -> None:
        """What a process that was killed left behind."""
        self._halves.mkdir(exist_ok=True)
        for half in self._halves.iterdir():
            if _written_at(half) < datetime.now(UTC) - _HALVES_KEPT:
                half.unlink(missing_ok=True)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"Files can't be kept in {self.path}: {error.strerror or error}.") from error


def _written_at(file: Path) -> datetime:
    """For ever ahead, where it is no file, or was moved or deleted just now."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return _NEVER
    return datetime.fromtimestamp(found.st_mtime, UTC) if S_ISREG(found.st_mode) else _NEVER


def _sync(folder: Path) -> None:
    """Have the folder's own entries on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Bucket:
    """Objects of an S3 bucket, below a prefix. Who we are and where it is, boto3 finds out: AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, or the role of the machine.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client(
            connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
        )
        # A probe that waits is a probe that failed.
        self._quick = _client(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
        self._probed: tuple[float, str | None] | None = None

    def save(self, key: str, content: Iterable[bytes]) -> int:
        """Sent once it is known to be whole; S3 shows an object when it has all of it."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            written = 0
            for block in content:
                written += file.write(block)
            file.seek(0)
            with self._in_words():
                self._client.put_object(Bucket=self.name, Key=self._prefix + key, Body=file)
        return written

    def read(self, key: str) -> Iterator[bytes]:
        """Streamed."""
        with self._in_words():
            body = self._client.get_object(Bucket=self.name, Key=self._prefix + key)["Body"]
            try:
                yield from body.iter_chunks(_BLOCK_BYTES)
            finally:
                body.close()

    def exists(self, key: str) -> bool:
        """Asks for the object's head."""
        try:
            with self._in_words():
                self._client.head_object(Bucket=self.name, Key=self._prefix + key)
        except NotFound:
            return False
        return True

    def delete(self, keys: list[str]) -> None:
        """Many with each request. Raises Unavailable where S3 keeps one."""
        for first in range(0, len(keys), _MOST_AT_ONCE):
            objects = [{"Key": self._prefix + key} for key in keys[first : first + _MOST_AT_ONCE]]
            with self._in_words():
                answer = self._client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            for refusal in answer.get("Errors", []):
                raise Unavailable(f"A file can't be deleted from {self.name}: {refusal.get('Message')}.")

    def older(self, folder: str, than: datetime) -> Iterator[str]:
        """By the time an object was put there."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._in_words():
            for page in pages.paginate(Bucket=self.name, Prefix=f"{self._prefix}{folder}/"):
                for found in page.get("Contents", []):
                    if found["LastModified"] < than:
                        yield found["Key"].removeprefix(self._prefix)

    def problem(self) -> str | None:
        """Puts an empty object, at most once a minute."""
        if self._probed is None or self._probed[0] < monotonic() - _PROBE_SECONDS:
            try:
                with self._in_words():
                    self._quick.put_object(Bucket=self.name, Key=f"{self._prefix}.writable", Body=b"")
                self._probed = (monotonic(), None)
            except (Unavailable, NotFound) as refusal:
                self._probed = (monotonic(), refusal.detail)
        return self._probed[1]

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404"):
                raise NotFound("This file is not there any more.") from None
            raise Unavailable(f"Files can't be kept in the bucket {self.name}: {error}.") from error
        except BotoCoreError as error:
            raise Unavailable(f"Files can't be kept in the bucket {self.name}: {error}.") from error


def _client(**options: Any) -> Any:
    # Other makers' S3 doesn't always know the newer checksums.
    return boto3.client(
        "s3",
        config=Config(
            request_checksum_calculation="when_required", response_checksum_validation="when_required", **options
        ),
    )

"""Reading somebody else's CSV file: row by row with its line number, past whatever is broken, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from app.errors import Invalid

# One row, with all its lines. Also what Python's csv module takes for one cell.
MAX_ROW_CHARACTERS = 131_072
MAX_ROW_LINES = 1_000
_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 20
# A line of a long text seldom has exactly as many commas as the header, once the header has this many columns.
_TELLING_COLUMNS = 5
# What the `surrogateescape` error handler makes of a byte that is not UTF-8.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_WHOLE_CELL = re.compile(r'(?:"(?:[^"]|"")*"|(?!")[^,]*),')


class Unusable(Invalid):
    """The file or the mapping can't be used as a whole; nothing of it went in."""


@dataclass(frozen=True)
class Row:
    """A row's cells, as many as there are columns. `line` is the physical line that it begins on, counted from 1."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class BrokenRow:
    """A row that can't be taken apart; `column` is where it went wrong, as far as that can be told."""

    line: int
    column: str
    reason: str


class CsvFile:
    """A CSV file with a header, in UTF-8, plain or gzipped. `columns` are the header's names.

    A quote that is never closed costs the row it stands in, not the ones behind it.
    """

    def __init__(self, stream: BinaryIO, *, most_bytes: int | None = None) -> None:
        """`stream` must be seekable. Raises Unusable when this is no such file at all, or holds more than `most_bytes`
        unpacked.
        """
        self._stream, self._size = _unpacked(stream, most_bytes)
        self._given_back: deque[str] = deque()
        self._lines_taken = 0
        self._bytes_read = 0
        self.columns = self._read_header()

    @property
    def share_read(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._bytes_read / self._size

    def rows(self) -> Iterator[Row | BrokenRow]:
        """The rows below the header, in order. Blank lines are passed over."""
        while (row := self._next_row()) is not None:
            if isinstance(row, BrokenRow) or row.cells:
                yield row

    def _read_header(self) -> tuple[str, ...]:
        first = self._take_line()
        if first is None:
            raise Unusable("The file is empty.")
        if "\0" in first or _is_not_utf8(first):
            raise Unusable("The file is not UTF-8 text: save it as CSV in UTF-8.")
        self._give_back([first.removeprefix("\ufeff")])
        try:
            cells = next(csv.reader(self._lines_of_row([]), strict=True))
        except csv.Error:
            raise Unusable("The file has no usable header: a quote in its first line is not closed.") from None
        names = tuple(cell.strip() for cell in cells)
        if not any(names):
            raise Unusable("The file has no header: its first line must name the columns.")
        for name in names:
            if name and names.count(name) > 1:
                raise Unusable(f'The file has two columns named "{name}".')
        return names

    def _next_row(self) -> Row | BrokenRow | None:
        lines: list[str] = []
        line = self._lines_taken + 1
        try:
            cells = next(csv.reader(self._lines_of_row(lines), strict=True), None)
        except csv.Error:
            self._give_back(lines[1:])
            return self._misquoted(line, lines[0])
        if cells is None:
            return None
        if any(self._reads_alone(text) for text in lines[1:]):
            self._give_back(lines[1:])
            return self._misquoted(line, lines[0])
        if cells and len(cells) != len(self.columns):
            return self._miscounted(line, cells)
        for index, cell in enumerate(cells):
            if _is_not_utf8(cell):
                return BrokenRow(line, self._name(index), "is not UTF-8")
        return Row(line, cells)

    def _misquoted(self, line: int, text: str) -> BrokenRow:
        if len(text) > MAX_ROW_CHARACTERS:
            return BrokenRow(line, self.columns[0], f"the row is longer than {MAX_ROW_CHARACTERS:,} characters")
        position = index = 0
        while whole := _WHOLE_CELL.match(text, position):
            position, index = whole.end(), index + 1
        if not text[position:].startswith('"'):
            return BrokenRow(line, self._name(index), "there is a lone carriage return in the row")
        return BrokenRow(line, self._name(index), "a quote that opens here is not closed, or has text behind its end")

    def _miscounted(self, line: int, cells: Sequence[str]) -> BrokenRow:
        index = min(len(cells), len(self.columns))
        return BrokenRow(
            line, self._name(index), f"the row has {len(cells)} cells where the header has {len(self.columns)}"
        )

    def _name(self, index: int) -> str:
        return self.columns[index] if index < len(self.columns) and self.columns[index] else f"number {index + 1}"

    def _reads_alone(self, line: str) -> bool:
        if len(self.columns) < _TELLING_COLUMNS:
            return False
        try:
            return len(next(csv.reader([line], strict=True))) == len(self.columns)
        except csv.Error:
            return False

    def _lines_of_row(self, taken: list[str]) -> Iterator[str]:
        """Lines for as long as the csv reader asks for more because a quote is open, up to the size of one row."""
        characters = 0
        while len(taken) < MAX_ROW_LINES and (line := self._take_line()) is not None:
            characters += len(line)
            if characters > MAX_ROW_CHARACTERS and taken:
                self._give_back([line])
                return
            taken.append(line)
            if characters > MAX_ROW_CHARACTERS:
                raise csv.Error("row too long")
            yield line

    def _take_line(self) -> str | None:
        if self._given_back:
            self._lines_taken += 1
            return self._given_back.popleft()
        # Four bytes a character at most, so that what is cut off here is too long in any case.
        line = self._stream.readline(4 * MAX_ROW_CHARACTERS + 1)
        if not line:
            return None
        rest = line
        while len(rest) > 4 * MAX_ROW_CHARACTERS and not rest.endswith(b"\n"):
            rest = self._stream.readline(4 * MAX_ROW_CHARACTERS + 1)
            self._bytes_read += len(rest)
        self._lines_taken += 1
        self._bytes_read += len(line)
        # Bytes that are not UTF-8 become lone surrogates: only the cell that holds them is wrong.
        return line.decode("utf-8", "surrogateescape")

    def _give_back(self, lines: Sequence[str]) -> None:
        self._given_back.extendleft(reversed(lines))
        self._lines_taken -= len(lines)


def _is_not_utf8(text: str) -> bool:
    return _ESCAPED_BYTE.search(text) is not None


def _unpacked(stream: BinaryIO, most_bytes: int | None) -> tuple[BinaryIO | gzip.GzipFile, int]:
    """The stream to read and its size. A gzip file is read through once: a damaged one is refused as a whole."""
    too_long = f"The file holds more than {(most_bytes or 0) // 1_000_000:,} MB: split it."
    stream.seek(0)
    if stream.read(2) != _GZIP_MAGIC:
        size = stream.seek(0, 2)
        stream.seek(0)
        if most_bytes is not None and size > most_bytes:
            raise Unusable(too_long)
        return stream, size
    stream.seek(0)
    unpacked = gzip.GzipFile(fileobj=stream)
    size = 0
    try:
        while part := unpacked.read(_READ_BYTES):
            size += len(part)
            if most_bytes is not None and size > most_bytes:
                raise Unusable(too_long)
    except (OSError, EOFError, zlib.error) as error:
        raise Unusable(f"The file can't be unpacked, it is damaged or cut short: {error}.") from error
    unpacked.seek(0)
    return unpacked, size

"""The filter language of the stand-in, by Meilisearch's documented grammar
(https://www.meilisearch.com/docs/learn/filtering_and_sorting/filter_expression_reference).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from math import asin, cos, radians, sin, sqrt
from typing import Any

Test = Callable[[dict[str, Any]], bool]

_TOKENS = re.compile(
    r"\s*(?:(?P<quoted>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<sign><=|>=|!=|=|<|>|\(|\)|\[|\]|,)"
    r"|(?P<word>[\w.\-/]+))"
)
_WORDS = {"AND", "OR", "NOT", "IN", "TO", "EXISTS"}


class BadFilter(Exception):
    """The expression is none, or asks for what is not filterable; the text is Meilisearch's."""


def parse(wanted: Any, filterable: Collection[str]) -> Test:
    """The test that a filter makes: a string, or a list of strings and lists: the outer one AND, the inner ones OR."""
    if wanted is None:
        return lambda document: True
    if isinstance(wanted, str):
        return _Parser(wanted, filterable).whole()
    if isinstance(wanted, list):
        tests = [
            _any_of([parse(one, filterable) for one in part]) if isinstance(part, list) else parse(part, filterable)
            for part in wanted
        ]
        return lambda document: all(test(document) for test in tests)
    raise BadFilter(f"Invalid syntax for the filter parameter: `expected String, Array, found: {wanted}`.")


def _any_of(tests: list[Test]) -> Test:
    return lambda document: any(test(document) for test in tests)


class _Parser:
    def __init__(self, text: str, filterable: Collection[str]) -> None:
        self.text = text
        self.filterable = filterable
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKENS.match(text, at)
            if found is None:
                raise BadFilter(f"Found unexpected characters at the end of the filter: `{text[at:]}`.\n{text}")
            self.tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()

    def whole(self) -> Test:
        if not self.tokens:
            return lambda document: True
        test = self.either()
        if self.tokens:
            raise BadFilter(
                f"Found unexpected characters at the end of the filter: `{self.tokens[0][1]}`. "
                "You probably forgot an `OR` or an `AND` rule."
            )
        return test

    def either(self) -> Test:
        tests = [self.both()]
        while self.took("OR"):
            tests.append(self.both())
        return _any_of(tests)

    def both(self) -> Test:
        tests = [self.maybe_not()]
        while self.took("AND"):
            tests.append(self.maybe_not())
        return lambda document: all(test(document) for test in tests)

    def maybe_not(self) -> Test:
        if self.took("NOT"):
            test = self.maybe_not()
            return lambda document: not test(document)
        if self.took("("):
            test = self.either()
            self.need(")")
            return test
        return self.condition()

    def condition(self) -> Test:
        name = self.value()
        if name == "_geoRadius":
            self.of("_geo")
            self.need("(")
            latitude = self.number()
            self.need(",")
            longitude = self.number()
            self.need(",")
            metres = self.number()
            self.need(")")
            return lambda document: distance(document.get("_geo"), latitude, longitude) <= metres
        self.of(name)
        negated = self.took("NOT")
        if self.took("EXISTS"):
            return lambda document: (name in document) != negated
        if self.took("IN"):
            self.need("[")
            values = []
            while not self.took("]"):
                values.append(self.value())
                self.took(",")
            return lambda document: any(_same(has, value) for has in _of(document, name) for value in values) != negated
        sign = self.tokens.pop(0)[1] if self.tokens else ""
        if sign == "=":
            value = self.value()
            return lambda document: any(_same(has, value) for has in _of(document, name))
        if sign == "!=":
            value = self.value()
            return lambda document: not any(_same(has, value) for has in _of(document, name))
        if sign in ("<", "<=", ">", ">="):
            least = self.number()
            compare = {
                "<": lambda has: has < least,
                "<=": lambda has: has <= least,
                ">": lambda has: has > least,
                ">=": lambda has: has >= least,
            }[sign]
            return lambda document: any(compare(has) for has in _of(document, name) if isinstance(has, int | float))
        raise BadFilter(
            "Was expecting an operation `=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `NOT IN`, `TO`, `EXISTS`, `NOT EXISTS`, "
            f"`IS NULL`, `IS NOT NULL`, `IS EMPTY`, `IS NOT EMPTY`, `_geoRadius`, or `_geoBoundingBox` at `{sign}`."
        )

    def of(self, name: str) -> None:
        if name not in self.filterable:
            available = ", ".join(f"`{one}`" for one in sorted(self.filterable))
            ends = f"Available filterable attributes are: {available}." if available else ""
            raise BadFilter(
                f"Attribute `{name}` is not filterable. "
                f"{ends or 'This index does not have configured filterable attributes.'}\n{self.text}"
            )

    def value(self) -> str:
        if not self.tokens or self.tokens[0][0] == "sign" or self.tokens[0][1] in _WORDS:
            raise BadFilter(f"Was expecting a value but instead got nothing.\n{self.text}")
        kind, token = self.tokens.pop(0)
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if kind == "quoted" else token

    def number(self) -> float:
        try:
            return float(self.value())
        except ValueError as error:
            raise BadFilter(f"Expected a number.\n{self.text}") from error

    def took(self, token: str) -> bool:
        if self.tokens and self.tokens[0][0] != "quoted" and self.tokens[0][1] == token:
            self.tokens.pop(0)
            return True
        return False

    def need(self, token: str) -> None:
        if not self.took(token):
            raise BadFilter(f"Expected `{token}`.\n{self.text}")


def _of(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


def _same(has: Any, value: str) -> bool:
    if isinstance(has, bool):
        return str(has).lower() == value.lower()
    if isinstance(has, int | float):
        try:
            return float(value) == has
        except ValueError:
            return False
    # Strings are compared without case.
    return str(has).lower() == value.lower()


def distance(place: dict[str, float] | None, latitude: float, longitude: float) -> float:
    """Metres to a document's `_geo`; endless when it has none."""
    if place is None:
        return float("inf")
    up, across = radians(place["lat"] - latitude), radians(place["lng"] - longitude)
    half = sin(up / 2) ** 2 + cos(radians(latitude)) * cos(radians(place["lat"])) * sin(across / 2) ** 2
    return 2 * 6_371_000 * asin(min(1.0, sqrt(half)))

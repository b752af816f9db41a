"""Request parameters: Stripe's bracketed form encoding taken apart, then each one checked before any work begins."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dev.stripe.errors import ApiError, invalid_parameter

Check = Callable[[str, Any], Any]
Spec = dict[str, Check]


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nested values from `a[b]=1`, `a[]=1` and `a[0]=1`; lists stay maps of position to value until checked."""
    decoded: dict[str, Any] = {}
    for name, value in pairs:
        head, *rest = name.replace("]", "").split("[")
        place, key = decoded, head
        for step in rest:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise invalid_parameter(f"Invalid {head}: it is given both as a value and as a hash.", head)
            place, key = inner, step or str(len(inner))
        place[key] = value
    return decoded


def check(raw: Mapping[str, Any], spec: Spec, required: Iterable[str] = (), within: str = "") -> dict[str, Any]:
    """The parameters with their types; an unknown, missing or malformed one is refused as Stripe refuses it.

    A parameter that Stripe has and this server does not model counts as unknown: better refused than ignored.
    """
    if unknown := [_name(within, name) for name in raw if name not in spec]:
        plural = "s" if len(unknown) > 1 else ""
        raise invalid_parameter(
            f"Received unknown parameter{plural}: {', '.join(unknown)}", unknown[0], "parameter_unknown"
        )
    for name in required:
        if name not in raw:
            full = _name(within, name)
            raise invalid_parameter(f"Missing required param: {full}.", full, "parameter_missing")
    return {name: spec[name](_name(within, name), value) for name, value in raw.items()}


def _name(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid_parameter("Invalid string: it is given as a hash or a list.", name)
    return value


def _filled(name: str, value: Any) -> str:
    if _text(name, value) == "":
        raise invalid_parameter(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty "
            "value.",
            name,
            "parameter_invalid_empty",
        )
    return str(value)


def text(longest: int = 5000) -> Check:
    """A string that an empty value unsets (`None`)."""

    def checked(name: str, value: Any) -> str | None:
        if len(_text(name, value)) > longest:
            raise invalid_parameter(
                f"Invalid string: {value[:20]}...; must be at most {longest} characters",
                name,
                "parameter_invalid_string",
            )
        return value or None

    return checked


def identifier(name: str, value: Any) -> str:
    """A string that may not be empty."""
    return _filled(name, value)


def integer(smallest: int, largest: int | None = None) -> Check:
    """A whole number within bounds."""

    def checked(name: str, value: Any) -> int:
        filled = _filled(name, value)
        if not filled.removeprefix("-").isascii() or not filled.removeprefix("-").isdigit():
            raise invalid_parameter(f"Invalid integer: {filled}", name, "parameter_invalid_integer")
        number = int(filled)
        if number < smallest:
            raise invalid_parameter(
                f"This value must be greater than or equal to {smallest}.", name, "parameter_invalid_integer"
            )
        if largest is not None and number > largest:
            raise invalid_parameter(
                f"This value must be less than or equal to {largest}.", name, "parameter_invalid_integer"
            )
        return number

    return checked


def boolean(name: str, value: Any) -> bool:
    """`true` or `false`."""
    filled = _filled(name, value)
    if filled not in ("true", "false"):
        raise invalid_parameter(f"Invalid boolean: {filled}", name)
    return filled == "true"


def choice(*options: str) -> Check:
    """One of the listed words."""

    def checked(name: str, value: Any) -> str:
        filled = _filled(name, value)
        if filled not in options:
            listed = " or ".join(options) if len(options) < 3 else ", ".join(options[:-1]) + f", or {options[-1]}"
            raise invalid_parameter(f"Invalid {name}: must be one of {listed}", name)
        return filled

    return checked


def texts(name: str, value: Any) -> list[str]:
    """A list of strings."""
    if not isinstance(value, dict):
        raise invalid_parameter("Invalid array", name)
    return [_filled(name, item) for item in value.values()]


def shape(spec: Spec, required: Iterable[str] = ()) -> Check:
    """A nested hash with its own parameters."""

    def checked(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid_parameter("Invalid object", name)
        return check(value, spec, required, within=name)

    return checked


def metadata(name: str, value: Any) -> dict[str, str]:
    """Up to 50 keys of 40 characters with values of 500 (https://docs.stripe.com/api/metadata); `""` unsets all."""
    if value == "":
        return {"": ""}
    if not isinstance(value, dict):
        raise invalid_parameter("Invalid object", name)
    for key, entry in value.items():
        if len(key) > 40:
            raise invalid_parameter(
                f"Metadata keys can have up to 40 characters, but you passed in a key that is {len(key)} characters. "
                f"Invalid key: {key}",
                name,
            )
        if len(_text(f"{name}[{key}]", entry)) > 500:
            raise invalid_parameter(
                "Metadata values can have up to 500 characters, but you passed in a value that is "
                f"{len(entry)} characters. Invalid value: {entry}",
                name,
            )
    return value


def merge_metadata(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """What is stored after an update: an empty value removes its key, `""` for the whole removes all."""
    if new == {"": ""}:
        return {}
    merged = {key: value for key, value in (old | new).items() if value != ""}
    if len(merged) > 50:
        raise ApiError(400, "Metadata can have up to 50 keys.", param="metadata", executed=False)
    return merged


def moments(name: str, value: Any) -> dict[str, int]:
    """A point in time (unix seconds) or a range: `created=1`, `created[gte]=1`, `created[lt]=2`."""
    number = integer(0)
    if isinstance(value, dict):
        return check(value, dict.fromkeys(("gt", "gte", "lt", "lte"), number), within=name)
    return {"gte": number(name, value), "lte": number(name, value)}


def anything(_name: str, value: Any) -> Any:
    """A parameter that Stripe's clients send and that changes nothing here."""
    return value


EXPAND: Spec = {"expand": texts}
LIST: Spec = EXPAND | {
    "limit": integer(1, 100),
    "starting_after": identifier,
    "ending_before": identifier,
    "created": moments,
}

"""The form that says which column of a file is which of our fields: the fields in words, what is chosen, and what
somebody sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import MultiDict

from app.catalog import cancellation_policies
from app.catalog.import_fields import FIELDS, REQUIRED
from app.catalog.import_mapping import CURRENCY
from app.catalog.models import PACKAGE_TYPES, Provider
from app.catalog.policies import USUAL
from app.errors import FieldError, Invalid
from app.imports.columns import guess
from app.imports.models import Import, SavedMapping
from app.imports.service import PROVIDER_FIELDS

# What each field is called and holds, and what it is where the file says nothing about it.
WORDS: dict[str, tuple[str, str, str]] = {
    "external_id": ("Package id", "The file's own id; with the provider's it finds the package again.", ""),
    "provider_external_id": ("Provider id", "The file's own id of who sells it.", ""),
    "provider_name": ("Provider", "Who sells it, up to 300 characters.", ""),
    "type": ("Type", "hotel is sold by the night, tour by the departure.", ""),
    "name": ("Name", "One line, up to 300 characters.", ""),
    "city": ("City", "Up to 200 characters.", ""),
    "country": ("Country", "Its English name or code of two letters.", ""),
    "price": ("Price", "One unit for one night or departure, with a decimal point.", ""),
    "capacity": ("Guests", "How many one unit sleeps or takes, 1 to 1,000.", ""),
    "description": ("Description", "Up to 20,000 characters.", "empty"),
    "place": ("Part of the city", "Up to 200 characters.", "none"),
    "latitude": ("Latitude", "Degrees with a decimal point; needs a longitude.", "none"),
    "longitude": ("Longitude", "Degrees with a decimal point; needs a latitude.", "none"),
    "units": ("Units", "How many are sold a day, 1 to 10,000.", "1"),
    "min_nights": ("Minimum nights", "1 to 3,650.", "1"),
    "amenities": ("Amenities", "Separated by | or ;", "none"),
    "cancellation_policy": ("Cancellation policy", "The code of one of our policies, such as flexible.", USUAL),
    "provider_status": ("State of new providers", "Known providers keep theirs.", "pending"),
    "published": ("On sale", "true or false.", "false: a draft"),
    "available_days": ("Days on offer", "From today on, 0 to 730.", "365"),
}
_CHOICES: dict[str, Sequence[str]] = {
    "type": PACKAGE_TYPES,
    "provider_status": tuple(Provider.MOVES),
    "published": ("true", "false"),
}
_EXAMPLES = {"provider_name": "Host {provider_external_id}", "description": "A place to stay in {place}, {city}."}


@dataclass(frozen=True)
class Chosen:
    """What is chosen or typed in the form: headings and defaults by field, the rest as typed."""

    columns: Mapping[str, str]
    defaults: Mapping[str, str]
    currency: str = CURRENCY
    rate: str = "1"
    keep_as: str = ""
    errors: Sequence[FieldError] = field(default=())


def first_choice(found: Import, kept: SavedMapping | None) -> Chosen:
    """What the form begins with: a choice that was kept, the one made before, or what the headings seem to be."""
    made = kept or (found if found.columns or found.defaults else None)
    if made is None:
        return Chosen(guess(found.headings), {}, rate="")
    columns = {name: heading for name, heading in made.columns.items() if heading in found.headings}
    errors = [
        FieldError(f"columns.{name}", f"the file has no column {heading}")
        for name, heading in made.columns.items()
        if name not in columns
    ]
    return Chosen(columns, made.defaults, made.currency, f"{made.rate.normalize():f}", errors=errors)


def sent(found: Import, form: MultiDict[str, str]) -> Chosen:
    """What somebody sent. Raises Invalid for a column that the file can't have."""
    return Chosen(
        {name: found.headings[_number(value, found)] for name in FIELDS if (value := form.get(f"column-{name}", ""))},
        {name: form.get(f"default-{name}", "") for name in FIELDS},
        form.get("currency", ""),
        form.get("rate", ""),
        form.get("keep_as", "").strip(),
    )


def groups(found: Import, chosen: Chosen) -> list[dict[str, Any]]:
    """The form's fields as the template takes them, those first that every package needs."""
    names = [name for name in WORDS if found.provider_id is None or name not in PROVIDER_FIELDS]
    needed = [name for name in names if FIELDS[name].empty is REQUIRED]
    return [
        {"title": "Every package needs", "fields": [_field(name, found, chosen) for name in needed]},
        {"title": "May be left out", "fields": [_field(name, found, chosen) for name in names if name not in needed]},
    ]


def errors_of(chosen: Chosen, *names: str) -> dict[str, str]:
    """The first thing that is wrong with each of these, as a sentence."""
    return {error.field: _sentence(error.message) for error in reversed(chosen.errors) if error.field in names}


def errors_elsewhere(found: Import, chosen: Chosen) -> list[str]:
    """What is wrong with fields that the form doesn't show, as the import's own provider says what they are."""
    hidden = PROVIDER_FIELDS if found.provider_id is not None else frozenset()
    return [
        f"{WORDS[name][0]}: {_sentence(error.message)}"
        for error in chosen.errors
        if (name := error.field.partition(".")[2]) in hidden
    ]


def summary(found: Import) -> list[tuple[str, str]]:
    """The choice that an import was made with: each field, and where its values come from."""
    lines = []
    for name, (label, _, _) in WORDS.items():
        column, default = found.columns.get(name), found.defaults.get(name)
        parts = [f"column {column}"] if column else []
        parts += [f"“{default}”" + (" where that is empty" if column else "")] if default else []
        if parts:
            lines.append((label, ", ".join(parts)))
    return lines


def _field(name: str, found: Import, chosen: Chosen) -> dict[str, Any]:
    label, meaning, left_out = WORDS[name]
    heading = chosen.columns.get(name)
    index = found.headings.index(heading) if heading in found.headings else None
    column_error, default_error = (
        next((_sentence(error.message) for error in chosen.errors if error.field == f"{table}.{name}"), None)
        for table in ("columns", "defaults")
    )
    return {
        "name": name,
        "label": label,
        "meaning": meaning,
        "left_out": left_out,
        "column": index,
        "samples": samples_of(found, index) if index is not None else "",
        "column_error": column_error,
        "default": chosen.defaults.get(name, ""),
        "default_error": default_error,
        "choices": cancellation_policies.on_offer() if name == "cancellation_policy" else _CHOICES.get(name, ()),
        "example": _EXAMPLES.get(name, ""),
    }


def samples_of(found: Import, index: int) -> str:
    """What a column holds in the file's first rows."""
    return " · ".join(cell for row in found.samples if (cell := row[index])) or "empty in the first rows"


def _number(value: str, found: Import) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 6 and int(value) < len(found.headings)):
        raise Invalid("The file has no such column. Load the page again.")
    return int(value)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?")) else ".")

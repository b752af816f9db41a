"""What a search document is made of: one SELECT over the live rows, to be written, or compared with what was."""

from __future__ import annotations

from app.reviews.ratings import SHOWN

COLUMNS = (
    *("listed", "type", "provider_id", "provider", "name", "description", "place", "city", "country"),
    *("price_minor", "currency", "capacity", "amenities", "rating", "reviews", "latitude", "longitude", "added_at"),
    *("title", "words", "place_keys"),
)
# Of a longer place the rest is not what anybody types, and an index takes no longer ones.
_LONGEST_KEY = 200
# A description begins with what matters, and the words of many say nothing about any. Some have HTML in them.
_DESCRIPTION_CHARACTERS, _DESCRIPTION_WORDS = 1_200, 60


def _weighed(words: str, weight: str) -> str:
    return f"setweight(to_tsvector('tripdesk', search_fold({words})), '{weight}')"


def _key(column: str) -> str:
    return f"nullif(left(search_fold({column}), {_LONGEST_KEY}), '')"


_BEGINNING = (
    "array_to_string((string_to_array(search_fold(regexp_replace("
    f"left(description, {_DESCRIPTION_CHARACTERS}), '<[^>]*>', ' ', 'g')), ' '))[1:{_DESCRIPTION_WORDS}], ' ')"
)


def live(column: str) -> str:
    """What the package of `search_documents d` has in this column now: the document is older at most where a change of
    it waits, as the transaction that takes a change writes the document.
    """
    # By their key, as a search has no scan of a whole table.
    waits = "d.package_id IN (SELECT package_id FROM package_changes WHERE id > 0)"
    now = f"(SELECT {column} FROM packages WHERE id = d.package_id)"  # noqa: S608  # nosec B608 - our own names
    return f"CASE WHEN {waits} THEN {now} ELSE d.{column} END"


# Which of `search_documents d` may be sold now, by the rows themselves. Who may not are fewer than who may, and read
# from indexes alone.
ON_SALE = f"""
d.listed AND d.package_id NOT IN (SELECT id FROM packages WHERE status <> 'PUBLISHED')
AND {live("provider_id")} NOT IN (SELECT id FROM providers WHERE status <> 'VERIFIED')
"""  # noqa: S608  # nosec B608 - our own constants

# Each once, in lower case, with commas written alike.
_AMENITIES = r"""
ARRAY(SELECT name FROM (SELECT regexp_replace(lower(btrim(name)), '\s*,\s*', ', ', 'g') AS name, number
                        FROM unnest(p.amenities) WITH ORDINALITY AS given (name, number)) AS folded
      GROUP BY name ORDER BY min(number))
"""

# The documents of the packages :ids as the rows are now, whether on sale or not.
FRESH = f"""
SELECT package_id, listed, type, provider_id, provider, name, description, place, city, country, price_minor, currency,
       capacity, amenities, CAST(round(100 * starred / nullif(reviews, 0)) / 100 AS real) AS rating,
       CAST(reviews AS integer) AS reviews, latitude, longitude, added_at, title,
       title || {_weighed("provider || ' ' || array_to_string(amenities, ' ')", "C")}
             || {_weighed(_BEGINNING, "D")} AS words,
       array_remove(ARRAY[{_key("city")}, {_key("place")}, {_key("country")}], NULL) AS place_keys
FROM (
    SELECT p.id AS package_id, p.status = 'PUBLISHED' AND r.status = 'VERIFIED' AS listed, p.type, p.provider_id,
           r.name AS provider, p.name, p.description, p.place, p.city, p.country, p.price_minor, p.currency, p.capacity,
           {_AMENITIES} AS amenities, p.latitude, p.longitude, p.created_at AS added_at,
           {_weighed("p.name", "A")} || {_weighed("concat_ws(' ', p.place, p.city, p.country)", "B")} AS title{SHOWN}
    FROM packages p JOIN providers r ON r.id = p.provider_id WHERE p.id = ANY(CAST(:ids AS bigint[]))
) AS live
CROSS JOIN LATERAL (
    SELECT coalesce(sum(stars[n][2]), 0) AS reviews, CAST(sum(stars[n][1] * stars[n][2]) AS double precision) AS starred
    FROM generate_subscripts(stars, 1) AS n
) AS shown
"""  # noqa: S608  # nosec B608 - our own constants

_DIFFERS = " OR ".join(f"kept.{column} IS DISTINCT FROM fresh.{column}" for column in COLUMNS)
_KEPT = "SELECT FROM search_documents AS kept WHERE kept.package_id = fresh.package_id"
_SET = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS)

# Writes those that have changed. What is off sale and was never on it gets no document; what stays off sale is left as
# it is. Says of each whether it was added, and whether it is listed.
WRITE = f"""
WITH fresh AS MATERIALIZED ({FRESH})
INSERT INTO search_documents AS kept (package_id, {", ".join(COLUMNS)})
SELECT package_id, {", ".join(COLUMNS)} FROM fresh
WHERE CASE WHEN listed
      THEN NOT EXISTS ({_KEPT} AND NOT ({_DIFFERS}))
      ELSE EXISTS ({_KEPT} AND kept.listed) END
ORDER BY package_id
ON CONFLICT (package_id) DO UPDATE
    SET {_SET}, version = excluded.version, indexed_at = excluded.indexed_at
RETURNING kept.package_id, kept.listed, kept.xmax = 0 AS added
"""  # noqa: S608  # nosec B608 - our own constants

# How the documents of the packages :ids differ from what would be written now.
COMPARE = f"""
WITH fresh AS MATERIALIZED ({FRESH})
SELECT count(*) FILTER (WHERE fresh.listed) AS on_sale,
       count(*) FILTER (WHERE kept.listed) AS listed,
       count(*) FILTER (WHERE fresh.listed AND kept.listed IS NOT TRUE) AS missing,
       count(*) FILTER (WHERE NOT fresh.listed AND kept.listed) AS left_over,
       count(*) FILTER (WHERE fresh.listed AND kept.listed AND ({_DIFFERS})) AS outdated
FROM fresh LEFT JOIN search_documents AS kept USING (package_id)
"""  # noqa: S608  # nosec B608 - our own constants

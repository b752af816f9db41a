"""How often each star was given to a package: moved on by what each decision changes, and read for the public."""

from __future__ import annotations

from sqlalchemy import FromClause, Update, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from app.db import read
from app.reviews.models import RatingCount

STARS = (1, 2, 3, 4, 5)


def add(approved: FromClause) -> Insert:
    """The statement that counts reviews just approved; of each it takes `package_id` and `rating`.

    Rows are locked in order of package and rating, here and in `subtract`, so that two of these can't wait for each
    other in a ring.
    """
    key = (approved.c.package_id, approved.c.rating)
    more = insert(RatingCount).from_select(
        ["package_id", "rating", "reviews"], select(*key, func.count()).group_by(*key).order_by(*key)
    )
    return more.on_conflict_do_update(
        index_elements=["package_id", "rating"], set_={"reviews": RatingCount.reviews + more.excluded.reviews}
    )


def subtract(taken_back: FromClause) -> Update:
    """The statement that counts reviews no more that were approved until now."""
    key = (taken_back.c.package_id, taken_back.c.rating)
    fewer = select(*key, func.count().label("reviews")).group_by(*key).cte("fewer")
    counts = (
        select(RatingCount.package_id, RatingCount.rating, fewer.c.reviews)
        .join(fewer, (RatingCount.package_id == fewer.c.package_id) & (RatingCount.rating == fewer.c.rating))
        .order_by(RatingCount.package_id, RatingCount.rating)
        .with_for_update(of=RatingCount)
        .cte("counts")
    )
    return (
        update(RatingCount)
        .where(RatingCount.package_id == counts.c.package_id, RatingCount.rating == counts.c.rating)
        .values(reviews=RatingCount.reviews - counts.c.reviews)
        .execution_options(synchronize_session=False)
    )


# A column `stars` for a read of packages (`p`): what `from_column` takes. Beside the other columns it costs no round
# trip of its own, which is most of what it takes. What still can be undone was counted, but is not shown.
SHOWN = """,
       ARRAY(
           SELECT ARRAY[c.rating, c.reviews - (
               SELECT count(*) FROM reviews v WHERE v.package_id = c.package_id AND v.rating = c.rating
               AND v.status = 'APPROVED' AND v.undo_until IS NOT NULL)]
           FROM rating_counts c WHERE c.package_id = p.id) AS stars"""


def shown(package_id: int) -> dict[int, int]:
    """How many reviews with each number of stars the public is shown: those whose approval can't be undone any more."""
    row = read(f"SELECT p.id{SHOWN} FROM packages p WHERE p.id = %(id)s", {"id": package_id})[0]  # noqa: S608  # nosec B608 - our own constant
    return from_column(row.stars)


def from_column(stars: list[list[int]]) -> dict[int, int]:
    """How many reviews with each number of stars, all of which it names, as `SHOWN` reads them."""
    return dict.fromkeys(STARS, 0) | dict(stars)  # type: ignore[arg-type]  # pairs


def average(stars: dict[int, int]) -> float | None:
    """The mean of so many reviews with each number of stars, to two decimals; None of none."""
    total = sum(stars.values())
    # As documents of search have it (`document.FRESH`), to the last of halves.
    return round(100 * sum(rating * reviews for rating, reviews in stars.items()) / total) / 100 if total else None

"""The floor of a list: SQL written by hand that goes on from a key, rendered by the same template; nobody signs in."""

from __future__ import annotations

from flask import render_template, request

from app import create_app
from app.console.reviews import ReviewsView
from app.db import read
from bench.market import PAGE_SIZE

_PAGE = """
SELECT r.id, r.title, r.content, r.rating, r.created_at, p.name AS package
FROM reviews r JOIN packages p ON p.id = r.package_id JOIN users u ON u.id = r.traveller_id
WHERE r.status = 'APPROVED' AND r.id < %(before)s ORDER BY r.id DESC LIMIT %(limit)s
"""

app = create_app()


@app.get("/console/by-hand")
def by_hand() -> str:
    before = int(request.args.get("after", 2**62))
    *rows, beyond = read(_PAGE, {"before": before, "limit": PAGE_SIZE + 1})
    return render_template(
        "console/queue/list.html",
        title=ReviewsView.title,
        columns=ReviewsView.columns,
        lines=[
            {
                "id": row.id,
                "href": f"/console/reviews/{row.id}/",
                "heading": row.title,
                "cells": row._asdict(),
                "offered": (),
            }
            for row in rows
        ],
        states=(),
        bulk=(),
        filters=(),
        count_label="",
        live={"queue": "", "page": "", "ids": (), "mark": ""},
        more_href=f"?after={rows[-1].id}" if beyond else None,
    )

"""What the lists are measured against: Flask-Admin as it comes, on the same tables, served as the app is.

The views are what its documentation shows; `column_select_related_list` saves it a query a row.
"""

from __future__ import annotations

import os

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView

from app.db import engine_url
from app.extensions import db
from app.models import Review  # every table with it, as relationships need them
from bench.market import PAGE_SIZE


class Stock(ModelView):  # type: ignore[misc]  # Flask-Admin is not typed
    """Reviews with who wrote them and about what."""

    can_create = can_edit = can_delete = False
    column_list = ("id", "title", "content", "rating", "status", "traveller.email", "package.name", "created_at")
    column_select_related_list = (Review.traveller, Review.package)
    column_searchable_list = ("title", "content")
    column_filters = ("status",)
    column_default_sort = ("id", True)
    page_size = PAGE_SIZE


class StockWithoutCount(Stock):
    """The same without the number of pages, which it counts every row for."""

    simple_list_pager = True


app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.urandom(32),
    SQLALCHEMY_DATABASE_URI=engine_url(os.environ["DATABASE_URL"]),
)
db.init_app(app)
admin = Admin(app, url="/console")
admin.add_view(Stock(Review, db, name="Reviews", endpoint="stock"))
admin.add_view(StockWithoutCount(Review, db, name="Reviews", endpoint="simple"))

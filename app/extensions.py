"""The Flask extensions, made once here and bound to the app in `create_app`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy import DateTime, Index, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, registry


class Base(DeclarativeBase):
    """What every table shares: named constraints, so that migrations can speak of them, and the types we use."""

    registry: ClassVar[Any] = registry(
        type_annotation_map={
            str: Text,
            datetime: DateTime(timezone=True),
            dict[str, Any]: JSONB(none_as_null=True),
            list[dict[str, Any]]: JSONB,
        },
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
    )


def words_index(table: str, column: str) -> Index:
    """An index for finding a row by any part of a text column, by the groups of three letters that it has."""
    name = f"ix_{table}_{column}_words"
    return Index(name, column, postgresql_using="gin", postgresql_ops={column: "gin_trgm_ops"})


# Rows stay readable after the commit: an answer is built from what was just written, without reading it again.
db = SQLAlchemy(model_class=Base, disable_autonaming=True, session_options={"expire_on_commit": False})
migrate = Migrate(db=db, directory="migrations")
login_manager = LoginManager()
csrf = CSRFProtect()

if TYPE_CHECKING:

    class Model(Base):
        """Flask-SQLAlchemy builds the real base class at run time; to the type checker it is this."""

        __abstract__ = True
        __table_args__: Any
else:
    Model = db.Model

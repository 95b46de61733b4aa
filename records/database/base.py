"""What all tables have in common: the names of constraints, the types of columns, checks, ids.

The classes of the tables are in the modules beside this one, by subject.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    DDL,
    REAL,
    CheckConstraint,
    DateTime,
    MetaData,
    Text,
    event,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from records.database.search_forms import SEARCH_FUNCTIONS

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def listed(values: Iterable[StrEnum]) -> str:
    """The values as SQL lists them: 'A', 'B'."""
    return ", ".join(f"'{value.value}'" for value in values)


class Base(DeclarativeBase):
    """All tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {
        str: Text,
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[float]: ARRAY(REAL),
    }


for _function in SEARCH_FUNCTIONS:
    event.listen(Base.metadata, "before_create", DDL(_function))  # type: ignore[no-untyped-call]


def vocabulary_check(column: str, vocabulary: type[StrEnum]) -> CheckConstraint:
    """A CHECK that the column holds a value of the vocabulary."""
    return CheckConstraint(f"{column} IN ({listed(vocabulary)})", name=f"{column}_known")


def id_column() -> Mapped[uuid.UUID]:
    """A column for our own id, which messages, logs and paths may name: no patient is in it.

    It grows with time where the server can do that (`migrations.new_id`).
    """
    return mapped_column(primary_key=True, server_default=func.uuidv7())

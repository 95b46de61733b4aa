"""What the lists of REST and of the pages have in common: marks, lengths, query strings."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel

from api.forms import NONE_IF_EMPTY

PageMark = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
"""Where a page of a list by REST begins; None is the first page."""

PageLimit = Annotated[int, Query(ge=1, le=200)]
"""How many lines a page of a list by REST has, at most."""


class ListQuery(BaseModel):
    """Which part of a list a page shows. after: the mark at which it begins."""

    after: Annotated[str | None, NONE_IF_EMPTY] = None

    def query_string(self, **changes: Any) -> str:
        """The query string of this query with some values changed; empty ones are left out."""
        values: dict[str, Any] = self.model_dump(exclude={"after"})
        values |= {"after": self.after} | changes
        return urlencode({name: value for name, value in values.items() if value})

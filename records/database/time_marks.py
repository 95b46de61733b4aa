"""Marks of pages of a list that has the newest rows first: after which row a page begins."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from dataclasses import dataclass

from records.errors import NotAllowed


@dataclass(frozen=True, slots=True)
class TimeMark:
    """The last row before a page: the time by which the list is ordered, and its id."""

    at: dt.datetime
    id: uuid.UUID

    def __str__(self) -> str:
        """The mark as addresses carry it."""
        return base64.urlsafe_b64encode(f"{self.at.isoformat()} {self.id}".encode()).decode()

    @classmethod
    def parse(cls, mark: str) -> TimeMark:
        """Read a mark that an address carried.

        Raises:
            NotAllowed: it is none.
        """
        try:
            at, id_ = base64.urlsafe_b64decode(mark.encode()).decode().split(" ")
            time = dt.datetime.fromisoformat(at)
            if time.tzinfo is None:
                raise ValueError
            return cls(time, uuid.UUID(id_))
        except (ValueError, binascii.Error):
            raise NotAllowed("`after` is not the mark of a page") from None

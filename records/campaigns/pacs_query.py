"""What a campaign asks a PACS for: studies of a span of dates, with one of some modalities."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records.errors import NotAllowed

FILM_MODALITIES = ("CR", "DX")

_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")  # a code string, PS3.5 6.2


@dataclass(frozen=True, slots=True)
class PacsQuery:
    """The studies of a campaign of kind QUERY.

    Attributes:
        first: the first study date.
        last: the last one.
        modalities: one of them is in the study (0008,0061); empty is any.
    """

    first: dt.date
    last: dt.date
    modalities: tuple[str, ...] = FILM_MODALITIES

    @classmethod
    def of(cls, first: str, last: str, modalities: Sequence[str] = FILM_MODALITIES) -> PacsQuery:
        """Read what a person wrote.

        Args:
            first: the first study date, as 2019-01-31.
            last: the last one.
            modalities: as CR, DX; empty is any.

        Raises:
            NotAllowed: a date is none, they are in the wrong sequence, or a modality is none.
        """
        dates = []
        for name, value in (("first", first), ("last", last)):
            try:
                dates.append(dt.date.fromisoformat(value.strip()))
            except ValueError:
                raise NotAllowed(
                    f"the {name} study date {value!r} is no date: write it as 2019-01-31"
                ) from None
        if dates[1] < dates[0]:
            raise NotAllowed(f"the last study date {last} is before the first one {first}")
        names = tuple(dict.fromkeys(name.strip().upper() for name in modalities if name.strip()))
        for name in names:
            if not _MODALITY.fullmatch(name):
                raise NotAllowed(f"{name!r} is no modality: write it as CR or DX")
        return cls(dates[0], dates[1], names)

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> PacsQuery:
        """What `to_source` made.

        Raises:
            NotAllowed: it is not whole.
        """
        try:
            first, last = str(source["first_date"]), str(source["last_date"])
            modalities = [str(name) for name in source.get("modalities", FILM_MODALITIES)]
        except (KeyError, TypeError):
            raise NotAllowed("the campaign's source names no dates") from None
        return cls.of(first, last, modalities)

    def to_source(self) -> dict[str, Any]:
        """As a campaign keeps it (`Campaign.source`)."""
        return {
            "first_date": self.first.isoformat(),
            "last_date": self.last.isoformat(),
            "modalities": list(self.modalities),
        }

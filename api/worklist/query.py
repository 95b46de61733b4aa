"""Which part of the worklist an address shows: filters, search, order, page."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session

from api.forms import NONE_IF_EMPTY
from api.schemas import ONE_LINE, SearchText
from api.times import Day, Time
from records.errors import NotFound
from records.states import HoldReason, Priority, VisibleState
from records.workflow import sites
from records.workflow.site_scope import shows
from records.workflow.worklist_filters import AgeGroup, ListOrder, ReviewStage, WorklistFilter

PriorityName = Literal["STAT", "URGENT", "ROUTINE", "BACKLOG"]
Mark = Annotated[Annotated[str, StringConstraints(max_length=200)] | None, NONE_IF_EMPTY]
_Short = Annotated[str, StringConstraints(max_length=64, pattern=ONE_LINE)]


@dataclass(frozen=True, slots=True)
class Selection:
    """What `records.workflow.worklist` is asked for: state, search, filter and order."""

    state: VisibleState | None
    search: str
    chosen: WorklistFilter
    order: ListOrder

    def arguments(self) -> dict[str, Any]:
        """The arguments of `read_page` and `find_neighbour`."""
        return {
            "state": self.state,
            "search": self.search,
            "chosen": self.chosen,
            "order": self.order,
        }


class ListFilter(BaseModel):
    """Which studies of the worklist are shown, and in which order."""

    state: Annotated[
        VisibleState | None, NONE_IF_EMPTY, Field(description="Only studies in this state.")
    ] = None
    words: Annotated[
        SearchText,
        Field(
            description="A patient id, accession number or study UID; the beginning of an id, a "
            "number or a name; or whole words of these, in any order."
        ),
    ] = ""
    priority: Annotated[
        PriorityName | None, NONE_IF_EMPTY, Field(description="Only studies of this priority.")
    ] = None
    site: Annotated[_Short, Field(description="The code of a site: only its studies.")] = ""
    modality: Annotated[
        _Short, Field(description="Only studies with a series of this modality, as DX.")
    ] = ""
    procedure: Annotated[
        _Short, Field(description="Only studies with these characters in their description.")
    ] = ""
    sex: Annotated[
        Literal["M", "F", "-"] | None,
        NONE_IF_EMPTY,
        Field(description="As sent; `-` is none, or another than M and F."),
    ] = None
    age: Annotated[
        AgeGroup | None,
        NONE_IF_EMPTY,
        Field(
            description="The patient's at the date of the study: CHILD is 0 to 17 years, ADULT 18 "
            "to 64, OLD 65 and more, UNKNOWN where a date is missing."
        ),
    ] = None
    hold_reason: Annotated[
        HoldReason | None,
        NONE_IF_EMPTY,
        Field(description="Only studies with an open hold for this reason."),
    ] = None
    review: Annotated[
        ReviewStage | None,
        NONE_IF_EMPTY,
        Field(
            description="How far readers are: OPEN, EDITED (somebody writes), SIGNED (here or "
            "elsewhere)."
        ),
    ] = None
    prior: Annotated[
        Literal["yes", "no"] | None,
        NONE_IF_EMPTY,
        Field(description="Whether the model got a prior report with the study."),
    ] = None
    order: Annotated[
        ListOrder,
        Field(
            description="PRIORITY: studies of the last hours by priority, then all others, the "
            "newest first. NEWEST and OLDEST: by arrival alone."
        ),
    ] = ListOrder.PRIORITY

    def select(self, session: Session) -> Selection:
        """What the records are asked for.

        Raises:
            NotFound: no such site, or one that is not shown.
        """
        site_id = None
        if self.site:
            site = sites.get(session, self.site)
            if not shows(site.id):
                raise NotFound(f"you see no site {self.site!r}")
            site_id = site.id
        chosen = WorklistFilter(
            priority=None if self.priority is None else Priority[self.priority],
            site_id=site_id,
            modality=self.modality.strip().upper(),
            procedure=self.procedure.strip(),
            sex=self.sex or "",
            age=self.age,
            hold_reason=self.hold_reason,
            review=self.review,
            has_prior=None if self.prior is None else self.prior == "yes",
        )
        return Selection(self.state, self.words, chosen, self.order)


class WorklistQuery(ListFilter):
    """What the address of the worklist's page says.

    received_from, received_to: days of arrival, on this machine's clock; both are shown. after,
    before: where the page begins or ends. all: show all studies, whatever the reader's default
    view is. seen: the digest of what the browser already shows.
    """

    received_from: Annotated[Day | None, NONE_IF_EMPTY] = None
    received_to: Annotated[Day | None, NONE_IF_EMPTY] = None
    after: Mark = None
    before: Mark = None
    all: Annotated[Literal["1"] | None, NONE_IF_EMPTY] = None
    seen: Annotated[str, StringConstraints(max_length=64)] = ""

    def select(self, session: Session) -> Selection:
        """As `ListFilter.select`, with the days of arrival."""
        selection = super().select(session)
        since = until = None
        if self.received_from is not None:
            since = _midnight(self.received_from)
        if self.received_to is not None and self.received_to < dt.date.max:
            until = _midnight(self.received_to + dt.timedelta(days=1))
        chosen = replace(selection.chosen, since=since, until=until)
        return replace(selection, chosen=chosen)

    def values(self) -> dict[str, str]:
        """What was chosen, by parameter, without the page."""
        chosen = self.model_dump(mode="json", exclude={"after", "before", "all", "seen"})
        chosen["order"] = "" if self.order is ListOrder.PRIORITY else self.order.value
        return {name: str(value) for name, value in chosen.items() if value}

    def query_string(self, **changes: str | None) -> str:
        """The query string of this query with some values changed; empty ones are left out."""
        values = self.values() | {"after": self.after, "before": self.before} | changes
        given = {name: value for name, value in values.items() if value}
        return urlencode(given or {"all": "1"})

    @property
    def listed(self) -> str:
        """The query string of the list without the page: what a study's address carries."""
        return self.query_string(after=None, before=None)

    @property
    def bare(self) -> str:
        """The query string of state and search alone."""
        given = {"state": self.state, "words": self.words}
        return urlencode({name: value for name, value in given.items() if value} or {"all": "1"})

    @property
    def filters(self) -> dict[str, str]:
        """What is chosen besides state, search and order."""
        apart = ("state", "words", "order")
        return {name: value for name, value in self.values().items() if name not in apart}

    @classmethod
    def of_list(cls, query: str) -> WorklistQuery:
        """The query of an address's `list`; all studies where it cannot be read."""
        try:
            values = dict(parse_qsl(query, max_num_fields=30))
            known = {name: value for name, value in values.items() if name in cls.model_fields}
            return cls.model_validate(known | {"after": None, "before": None, "seen": ""})
        except (ValueError, ValidationError):
            return cls()


class StudyQuery(ListFilter):
    """What REST says of the worklist."""

    since: Annotated[
        Time | None,
        Field(description="Only studies that arrived since then; UTC where no zone is given."),
    ] = None
    until: Annotated[
        Time | None,
        Field(description="Only studies that arrived before then; UTC where no zone is given."),
    ] = None
    after: Annotated[Mark, Field(description="`next` of the page before.")] = None
    before: Annotated[Mark, Field(description="`previous` of the page after.")] = None
    limit: Annotated[int, Field(ge=1, le=200, description="Studies on a page, at most.")] = 50

    def select(self, session: Session) -> Selection:
        """As `ListFilter.select`, with the times of arrival."""
        selection = super().select(session)
        since, until = (
            at and (at if at.tzinfo else at.replace(tzinfo=dt.UTC))
            for at in (self.since, self.until)
        )
        return replace(selection, chosen=replace(selection.chosen, since=since, until=until))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.min).astimezone()

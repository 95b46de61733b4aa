"""What the checks of a report's text ask its reader, with the facts that the records have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from model.consistency import Flag, FlagKind, ReportFacts, Side, check_report
from records.database.draft_tables import Draft
from records.database.tables import Study
from records.reports.earlier_studies import list_earlier_studies

KIND_WORDS = {
    FlagKind.SIDE: "Side",
    FlagKind.CONTRADICTION: "Contradiction",
    FlagKind.NO_PRIOR: "No prior",
    FlagKind.MEASUREMENT: "Measurement",
    FlagKind.SEX: "Sex",
    FlagKind.AGE: "Age",
    FlagKind.SILENT: "Silent",
    FlagKind.BLANK: "Blank",
}
"""What a kind is called on the page."""

_SIDES = {"L": Side.LEFT, "R": Side.RIGHT}
_DAYS_A_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class TextCheck:
    """A place at which a reader should look.

    Attributes:
        section: "findings" or "impression"; "" where it is about the whole text.
        start: where the sentence begins, in characters of the section.
        end: where it ends.
        sentence: the sentence; "" where it is about the whole text.
        kind: what it is about.
        message: one sentence for the reader.
    """

    section: str
    start: int
    end: int
    sentence: str
    kind: FlagKind
    message: str

    @property
    def title(self) -> str:
        """What its kind is called."""
        return KIND_WORDS[self.kind]


def check_text(
    session: Session, draft: Draft, findings: str, impression: str, *, is_hidden: bool = False
) -> list[TextCheck]:
    """Check a text.

    Args:
        session: the caller's transaction.
        draft: the draft.
        findings: the section as it stands.
        impression: the section as it stands.
        is_hidden: whether nothing of the draft may be told.
    """
    study = session.get_one(Study, draft.study_id)
    prior = str((draft.prior_report or {}).get("text", ""))
    facts = ReportFacts(
        findings,
        impression,
        indication=draft.indication if draft.indication_source != "none" else "",
        draft="" if is_hidden else f"{draft.findings}\n{draft.impression}",
        prior_report=prior,
        has_prior=bool(prior) or bool(list_earlier_studies(session, study.id, 1)),
        film_side=_side_of(draft.views),
        sex=study.patient_sex.strip().upper(),
        age_years=_age(study.patient_birth_date, study.study_date),
    )
    return [_to_check(facts, flag) for flag in check_report(facts)]


def _to_check(facts: ReportFacts, flag: Flag) -> TextCheck:
    sentence = facts.sections[flag.section][flag.start : flag.end] if flag.section else ""
    return TextCheck(flag.section, flag.start, flag.end, sentence, flag.kind, flag.message)


def _side_of(views: list[dict[str, Any]]) -> Side | None:
    """The side that all frontal films name; a lateral one names the side at the detector."""
    sides = {_side(view) for view in views if view.get("position") == "frontal"}
    return sides.pop() if len(sides) == 1 else None


def _side(view: Mapping[str, Any]) -> Side | None:
    return _SIDES.get(view.get("laterality", ""))


def _age(birth_date: str, study_date: str) -> float | None:
    """Years at the examination, by dates as DICOM writes them; None where one is no date."""
    try:
        born, examined = (dt.date.fromisoformat(text.strip()) for text in (birth_date, study_date))
    except ValueError:
        return None
    years = (examined - born).days / _DAYS_A_YEAR
    return years if years >= 0 else None

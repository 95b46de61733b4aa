"""What a film is (chest or not, frontal or lateral), and which films of a study are drafted from.

Knows headers only: no pixels, no files, no database. The evidence is a table in model.dicom.evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal, Protocol

from model.case import MAX_VIEWS
from model.dicom.evidence import (
    BODY,
    FRONTAL,
    LATERAL,
    NO,
    PROJECTION,
    UNKNOWN,
    YES,
    Header,
    Judged,
    judge,
    texts,
)


class Reason(StrEnum):
    """Why a study or a film is not drafted from, or is not drafted without a word.

    The values are stable: they are kept with rows and shown in APIs. SENTENCES has the words.
    """

    # of a film, or of a study none of whose films came further; in the order of asking
    NOT_AN_IMAGE = "not_an_image"
    NO_PIXELS = "no_pixels"
    UNREADABLE = "unreadable"
    MULTI_FRAME = "multi_frame"
    REJECTED = "rejected"
    MODALITY = "modality"
    BODY_PART = "body_part"
    NOT_CHEST = "not_chest"
    UNKNOWN_BODY_PART = "unknown_body_part"
    TOO_YOUNG = "too_young"
    UNKNOWN_AGE = "unknown_age"
    VIEW_NOT_WANTED = "view_not_wanted"
    UNKNOWN_VIEW = "unknown_view"
    FOR_PROCESSING = "for_processing"
    MORE_THAN_NEEDED = "more_than_needed"
    # of a study
    NO_FILMS = "no_films"
    NEEDED_VIEW_MISSING = "needed_view_missing"


SENTENCES: dict[Reason, str] = {
    Reason.NOT_AN_IMAGE: "It is not an image (a report, a key object note, a document).",
    Reason.NO_PIXELS: "It is a header without pixels.",
    Reason.UNREADABLE: "Its pixels could not be read.",
    Reason.MULTI_FRAME: "It has several frames; a chest film has one.",
    Reason.REJECTED: "It is marked as rejected or as a quality control image.",
    Reason.MODALITY: "Its modality is not one that this model reads.",
    Reason.BODY_PART: "This model is not for the chest, and only chest films are known here.",
    Reason.NOT_CHEST: "It is not a chest film.",
    Reason.UNKNOWN_BODY_PART: "Nothing says for certain that it is a chest film.",
    Reason.TOO_YOUNG: "The patient is younger than this model's least age.",
    Reason.UNKNOWN_AGE: "The patient's age is not known, and this model has a least age.",
    Reason.VIEW_NOT_WANTED: "Its view is not one that this model reads.",
    Reason.UNKNOWN_VIEW: "Nothing says for certain whether it is frontal or lateral.",
    Reason.FOR_PROCESSING: "It is raw (FOR PROCESSING), and the same film came FOR PRESENTATION.",
    Reason.MORE_THAN_NEEDED: "The model reads only so many films, and others were preferred.",
    Reason.NO_FILMS: "The study has no films.",
    Reason.NEEDED_VIEW_MISSING: "The study lacks a view that this model needs.",
}
"""Each reason in one sentence for a person; "it" is the film."""

NOTES: dict[Reason, str] = {
    Reason.UNKNOWN_BODY_PART: "Body part not certain for every film.",
    Reason.UNKNOWN_VIEW: "View position unknown.",
    Reason.UNKNOWN_AGE: "Patient's age unknown.",
    Reason.FOR_PROCESSING: "Drafted from a raw film (FOR PROCESSING).",
    Reason.NO_PIXELS: "A film of the study came without its pixels.",
    Reason.UNREADABLE: "A film of the study could not be read.",
    Reason.MORE_THAN_NEEDED: "The study has more films than were read.",
}
"""What a reader of the draft is told, where something was open and the study was drafted."""

_TOLD = {
    Reason.NO_PIXELS,
    Reason.UNREADABLE,
    Reason.MORE_THAN_NEEDED,
    Reason.UNKNOWN_BODY_PART,
}
"""Reasons for leaving a film out that a reader of the draft should know."""


@dataclass(frozen=True, slots=True)
class Film:
    """One film by its header.

    source: the caller's own id. chest: "yes", "no", "unknown"; position: "frontal", "lateral",
    "unknown". age: the patient's, in years, or None. intent: (0008,0068) in capitals, or "".
    taken: date and time as one sortable text, or "". fault: a reason found elsewhere that rules
    the film out (its pixels are not there, or could not be read), or None.
    """

    source: str
    sop_class: str
    modality: str
    chest: Judged
    position: Judged
    age: float | None = None
    intent: str = ""
    derived: bool = False
    secondary: bool = False
    frames: int = 1
    rows: int = 0
    columns: int = 0
    taken: str = ""
    number: int = 0
    burned_in: bool = False
    rejected: bool = False
    instance: str = ""
    fault: Reason | None = None


Answer = Literal["draft", "hold", "skip"]


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What a site does with what headers leave open: "draft" (with a note), "hold" or "skip"."""

    unknown_chest: Answer = "hold"
    unknown_view: Answer = "draft"
    unknown_age: Answer = "draft"


class IntendedUse(Protocol):
    """What of a bundle's intended use is asked here (model.manifest.IntendedUse has it)."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """(0008,0060) of films that the model reads."""

    @property
    def body_parts(self) -> tuple[str, ...]:
        """Only CHEST is known here."""

    @property
    def views(self) -> tuple[str, ...]:
        """Positions that may be among the views."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Positions of which a study must have one."""

    @property
    def least_age(self) -> int:
        """In years; 0 asks nothing."""

    @property
    def max_views(self) -> int:
        """At most so many views."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A film that is not among the views, and why."""

    film: Film
    reason: Reason

    @property
    def sentence(self) -> str:
        """The reason for a person."""
        return SENTENCES[self.reason]


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a study.

    outcome: "draft" (views has one to three films, in the order for the model), "hold" (a person
    decides; views are those that would be drafted from) or "skip" (views is empty).
    reason, sentence: of a hold or skip. notes: what a reader of the draft should know.
    """

    outcome: Answer
    views: tuple[Film, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    reason: Reason | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()


def film_of(header: Header, source: str = "", fault: Reason | None = None) -> Film:
    """The film that a header describes. A Dataset from `model.dicom.pixels.read_header`, or a mapping."""
    image_type = _first(header, "ImageType").upper().split("\\")
    return Film(
        source=source,
        sop_class=_first(header, "SOPClassUID"),
        modality=_first(header, "Modality").upper(),
        chest=judge(BODY, header),
        position=judge(PROJECTION, header),
        age=age_in_years(header),
        intent=_first(header, "PresentationIntentType").upper(),
        derived=image_type[0] == "DERIVED",
        secondary="SECONDARY" in image_type[1:2],
        frames=_whole(header, "NumberOfFrames", 1),
        rows=_whole(header, "Rows", 0),
        columns=_whole(header, "Columns", 0),
        taken=_taken(header),
        number=_whole(header, "InstanceNumber", 0),
        burned_in=_first(header, "BurnedInAnnotation").upper() == "YES",
        rejected=_first(header, "QualityControlImage").upper() == "YES",
        instance=_first(header, "SOPInstanceUID"),
        fault=fault,
    )


def age_in_years(header: Header) -> float | None:
    """From (0010,1010) Patient's Age, else from birth date and study date; None where neither."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", _first(header, "PatientAge").strip().upper())
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
    born, seen = (_day(header, key) for key in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / 365.25


def choose_views(
    films: Iterable[Film], use: IntendedUse, settings: ViewSettings | None = None
) -> Choice:
    """Which films of one study the model reads, and why not the others.

    The best frontal comes first, then the best lateral, then the best of the rest, at most
    `use.max_views` and never over MAX_VIEWS. The same films give the same choice in whatever
    order they come. Where the pixels of a chosen film turn out unreadable, call again with that
    film's `fault` set.
    """
    settings = settings or ViewSettings()
    films = sorted(films, key=lambda film: (film.instance, film.source))
    left_out = [LeftOut(f, reason) for f in films if (reason := _ruled_out(f, use, settings))]
    out = {id(left.film) for left in left_out}
    usable = [f for f in films if id(f) not in out]

    raw_twins = [f for f in usable if _is_raw(f) and any(_is_twin(f, other) for other in usable)]
    left_out += [LeftOut(f, Reason.FOR_PROCESSING) for f in raw_twins]
    usable = [f for f in usable if f not in raw_twins]

    if any(f.chest.answer == YES for f in usable) and settings.unknown_chest != "draft":
        doubtful = [f for f in usable if f.chest.answer == UNKNOWN]
        left_out += [LeftOut(f, Reason.UNKNOWN_BODY_PART) for f in doubtful]
        usable = [f for f in usable if f not in doubtful]

    if not usable:
        return _nothing_usable(left_out)
    views = _best(usable, min(use.max_views, MAX_VIEWS))
    left_out += [LeftOut(f, Reason.MORE_THAN_NEEDED) for f in usable if f not in views]

    positions = {f.position.answer for f in usable}
    if use.needs and not positions & {*use.needs, UNKNOWN}:
        reason = Reason.NEEDED_VIEW_MISSING
        return Choice("skip", (), tuple(left_out), reason, SENTENCES[reason])

    open_questions = [
        (Reason.UNKNOWN_BODY_PART, settings.unknown_chest, _any(views, "chest")),
        (Reason.UNKNOWN_AGE, settings.unknown_age, use.least_age > 0 and _age(views) is None),
        (Reason.UNKNOWN_VIEW, settings.unknown_view, _any(views, "position")),
    ]
    for wanted in ("skip", "hold"):
        for reason, answer, is_open in open_questions:
            if is_open and answer == wanted:
                kept = views if wanted == "hold" else ()
                return Choice(answer, kept, tuple(left_out), reason, SENTENCES[reason])
    notes = [NOTES[reason] for reason, _, is_open in open_questions if is_open]
    if any(_is_raw(f) for f in views):
        notes.append(NOTES[Reason.FOR_PROCESSING])
    told = dict.fromkeys(left.reason for left in left_out if left.reason in _TOLD)
    return Choice("draft", views, tuple(left_out), None, "", (*notes, *(NOTES[r] for r in told)))


def _ruled_out(film: Film, use: IntendedUse, settings: ViewSettings) -> Reason | None:
    """The first reason in the film's own header for which it cannot be among the views."""
    position = film.position.answer
    rules: tuple[tuple[Reason, bool], ...] = (
        (Reason.NOT_AN_IMAGE, not film.rows or not film.columns),
        (Reason.MODALITY, film.modality not in use.modalities),
        (Reason.MULTI_FRAME, film.frames > 1),
        (Reason.REJECTED, film.rejected),
        (Reason.BODY_PART, "CHEST" not in use.body_parts),
        (Reason.NOT_CHEST, film.chest.answer == NO),
        (
            Reason.UNKNOWN_BODY_PART,
            film.chest.answer == UNKNOWN and settings.unknown_chest == "skip",
        ),
        (Reason.TOO_YOUNG, film.age is not None and film.age < use.least_age),
        (Reason.VIEW_NOT_WANTED, position != UNKNOWN and position not in use.views),
        (Reason.UNKNOWN_VIEW, position == UNKNOWN and settings.unknown_view == "skip"),
    )
    return film.fault or next((reason for reason, holds in rules if holds), None)


def _nothing_usable(left_out: list[LeftOut]) -> Choice:
    """A skip, with the reason of the film that came nearest; a hold where pixels are damaged."""
    if not left_out:
        return Choice("skip", reason=Reason.NO_FILMS, sentence=SENTENCES[Reason.NO_FILMS])
    reasons = [left.reason for left in left_out]
    nearest = max(reasons, key=list(Reason).index)
    outcome: Answer = "skip"
    if Reason.UNREADABLE in reasons:
        nearest, outcome = Reason.UNREADABLE, "hold"
    words = " ".join(
        f"{reasons.count(reason)} of {len(reasons)}: {SENTENCES[reason]}"
        for reason in dict.fromkeys(reasons)
    )
    return Choice(outcome, (), tuple(left_out), nearest, f"No film to draft from. {words}")


def _best(films: Sequence[Film], at_most: int) -> tuple[Film, ...]:
    """The views, best frontal first. Leanings only settle an order; they name nothing."""
    # Of two like films the later: a film is taken again when the first was not good enough.
    ranked = sorted(films, key=lambda f: (f.taken, f.number), reverse=True)
    ranked.sort(key=lambda f: (_is_raw(f), f.secondary))
    views: list[Film] = []
    for wanted, other in ((FRONTAL, LATERAL), (LATERAL, FRONTAL)):
        rank = {(wanted, wanted): 0, (UNKNOWN, wanted): 1, (UNKNOWN, ""): 2}
        fitting = [f for f in ranked if f not in views and f.position.answer != other]
        fitting = [f for f in fitting if (f.position.answer, f.position.lean) in rank]
        fitting.sort(key=lambda f: rank[f.position.answer, f.position.lean])
        views += fitting[:1]
    order = (FRONTAL, UNKNOWN, LATERAL)
    rest = [f for f in ranked if f not in views]
    rest.sort(key=lambda f: order.index(f.position.answer))
    return tuple((views + rest)[:at_most])


def _is_raw(film: Film) -> bool:
    return film.intent == "FOR PROCESSING"


def _is_twin(raw: Film, other: Film) -> bool:
    """Whether `other` is the displayable film of the same exposure, or of the same projection."""
    same_exposure = bool(raw.taken) and raw.taken == other.taken
    return not _is_raw(other) and (same_exposure or raw.position.answer == other.position.answer)


def _any(views: Iterable[Film], question: Literal["chest", "position"]) -> bool:
    return any(getattr(f, question).answer == UNKNOWN for f in views)


def _age(views: Iterable[Film]) -> float | None:
    return min((f.age for f in views if f.age is not None), default=None)


def _first(header: Header, place: str) -> str:
    return next(texts(header, place), "")


def _whole(header: Header, place: str, otherwise: int) -> int:
    try:
        return int(float(_first(header, place)))
    except (ValueError, OverflowError):
        return otherwise


def _day(header: Header, place: str) -> date | None:
    text = _first(header, place)
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _taken(header: Header) -> str:
    """Acquisition, else content, else series date and time: YYYYMMDDHHMMSS.ffffff as sent."""
    whole = _first(header, "AcquisitionDateTime")
    if whole:
        return whole
    for kind in ("Acquisition", "Content", "Series", "Study"):
        if day := _first(header, f"{kind}Date"):
            return day + _first(header, f"{kind}Time")
    return ""

"""What an image is (chest or not, frontal or lateral), and which images of a study the model reads.

It works on headers only; `model.dicom.evidence` holds the rules that classify a header.
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
    BODY_PART_RULES,
    FRONTAL,
    LATERAL,
    NO,
    PROJECTION_RULES,
    UNKNOWN,
    YES,
    Classification,
    Header,
    classify,
    read_texts,
)


class Reason(StrEnum):
    """Why an image is left out, or a study is skipped, held or drafted with a note.

    The values are stable: they are stored with rows and shown by the API. SENTENCES has the text.
    """

    # Of an image, or of a study without a usable image. The order counts: an image with a later
    # reason was nearer to being usable.
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
    EMPTY = "empty"
    FOR_PROCESSING = "for_processing"
    MORE_THAN_NEEDED = "more_than_needed"
    # Of a study.
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
    Reason.EMPTY: "It shows nothing: it is black, white or of one grey in every window.",
    Reason.FOR_PROCESSING: "It is raw (FOR PROCESSING), and the same film came FOR PRESENTATION.",
    Reason.MORE_THAN_NEEDED: "The model reads only so many films, and others were preferred.",
    Reason.NO_FILMS: "The study has no films.",
    Reason.NEEDED_VIEW_MISSING: "The study lacks a view that this model needs.",
}
"""Each reason in one sentence for a person; "it" is the film, that is the image."""

NOTES: dict[Reason, str] = {
    Reason.UNKNOWN_BODY_PART: "Body part not certain for every film.",
    Reason.UNKNOWN_VIEW: "View position unknown.",
    Reason.UNKNOWN_AGE: "Patient's age unknown.",
    Reason.FOR_PROCESSING: "Drafted from a raw film (FOR PROCESSING).",
    Reason.NO_PIXELS: "A film of the study came without its pixels.",
    Reason.UNREADABLE: "A film of the study could not be read.",
    Reason.EMPTY: "A film of the study shows nothing.",
    Reason.MORE_THAN_NEEDED: "The study has more films than were read.",
}
"""A note for the reader of the draft, where something was open and the study was drafted."""

_NOTED = {
    Reason.NO_PIXELS,
    Reason.UNREADABLE,
    Reason.EMPTY,
    Reason.MORE_THAN_NEEDED,
    Reason.UNKNOWN_BODY_PART,
}
"""Reasons for leaving an image out that the reader of the draft should know."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance, by its header.

    Attributes:
        source: The caller's own id.
        sop_class: The SOP class UID.
        modality: (0008,0060), in capitals.
        chest: "yes", "no" or "unknown".
        position: "frontal", "lateral" or "unknown".
        age: The patient's age in years, or None.
        intent: Presentation intent type (0008,0068), in capitals, or "".
        derived: Whether the image type begins with DERIVED.
        secondary: Whether the image type's second value is SECONDARY.
        frames: The number of frames.
        rows: The height in pixels; 0 where there is no image.
        columns: The width in pixels; 0 where there is no image.
        acquired: Date and time of the acquisition as one text that sorts, or "".
        number: The instance number.
        burned_in: Whether (0028,0301) says that the pixels contain an annotation.
        rejected: Whether it is a quality control image (0028,0300).
        sop_instance_uid: The SOP instance UID.
        fault: A reason from elsewhere that rules the image out (its pixels are missing, cannot be
            read or show nothing), or None.
    """

    source: str
    sop_class: str
    modality: str
    chest: Classification
    position: Classification
    age: float | None = None
    intent: str = ""
    derived: bool = False
    secondary: bool = False
    frames: int = 1
    rows: int = 0
    columns: int = 0
    acquired: str = ""
    number: int = 0
    burned_in: bool = False
    rejected: bool = False
    sop_instance_uid: str = ""
    fault: Reason | None = None


Outcome = Literal["draft", "hold", "skip"]


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What a site does with what headers leave open: "draft" (with a note), "hold" or "skip"."""

    unknown_chest: Outcome = "hold"
    unknown_view: Outcome = "draft"
    unknown_age: Outcome = "draft"


class IntendedUse(Protocol):
    """The part of a bundle's intended use that is needed here (model.manifest.IntendedUse)."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities (0008,0060) that the model reads."""

    @property
    def body_parts(self) -> tuple[str, ...]:
        """The body parts that the model reads; only CHEST is known here."""

    @property
    def views(self) -> tuple[str, ...]:
        """The positions that may be among the views."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The positions of which a study must have one."""

    @property
    def least_age(self) -> int:
        """The least age of a patient in years; with 0 the age is not needed."""

    @property
    def max_views(self) -> int:
        """The largest number of views."""


@dataclass(frozen=True, slots=True)
class ExcludedInstance:
    """An instance that is not among the views, and the reason."""

    instance: Instance
    reason: Reason

    @property
    def sentence(self) -> str:
        """The reason for a person."""
        return SENTENCES[self.reason]


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """What becomes of a study.

    Attributes:
        outcome: "draft", "hold" or "skip".
        views: The instances to read, in order; empty where the study is skipped.
        excluded: All other instances.
        reason: The reason of a hold or skip.
        sentence: The reason for a person.
        notes: What a reader of the draft should know.
    """

    outcome: Outcome
    views: tuple[Instance, ...] = ()
    excluded: tuple[ExcludedInstance, ...] = ()
    reason: Reason | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()


def parse_instance(header: Header, source: str = "", fault: Reason | None = None) -> Instance:
    """Return the instance that a header describes.

    Args:
        header: A Dataset from `model.dicom.pixels.read_header`, or a mapping.
        source: The caller's own id.
        fault: As `Instance.fault`.
    """
    image_type = _first_text(header, "ImageType").upper().split("\\")
    return Instance(
        source=source,
        sop_class=_first_text(header, "SOPClassUID"),
        modality=_first_text(header, "Modality").upper(),
        chest=classify(BODY_PART_RULES, header),
        position=classify(PROJECTION_RULES, header),
        age=age_in_years(header),
        intent=_first_text(header, "PresentationIntentType").upper(),
        derived=image_type[0] == "DERIVED",
        secondary="SECONDARY" in image_type[1:2],
        frames=_integer(header, "NumberOfFrames", 1),
        rows=_integer(header, "Rows", 0),
        columns=_integer(header, "Columns", 0),
        acquired=_acquired(header),
        number=_integer(header, "InstanceNumber", 0),
        burned_in=_first_text(header, "BurnedInAnnotation").upper() == "YES",
        rejected=_first_text(header, "QualityControlImage").upper() == "YES",
        sop_instance_uid=_first_text(header, "SOPInstanceUID"),
        fault=fault,
    )


def age_in_years(header: Header) -> float | None:
    """Return the patient's age, from (0010,1010) or else from the dates of birth and study.

    Returns:
        None where the header gives neither.
    """
    match = re.fullmatch(r"(\d{1,3})([DWMY])", _first_text(header, "PatientAge").strip().upper())
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
    birth, study = (_date(header, keyword) for keyword in ("PatientBirthDate", "StudyDate"))
    if birth is None or study is None or study < birth:
        return None
    return (study - birth).days / 365.25


def choose_views(
    instances: Iterable[Instance], use: IntendedUse, settings: ViewSettings | None = None
) -> ViewChoice:
    """Choose which instances of one study the model reads, with a reason for each of the others.

    The best frontal comes first, then the best lateral, then the best of the rest, at most
    `use.max_views` and never more than MAX_VIEWS. The order of `instances` makes no difference.
    Where the pixels of a chosen instance turn out to be unreadable, call again with that
    instance's `fault` set.
    """
    settings = settings or ViewSettings()
    instances = sorted(instances, key=lambda i: (i.sop_instance_uid, i.source))
    excluded = [
        ExcludedInstance(i, reason) for i in instances if (reason := _exclusion(i, use, settings))
    ]
    excluded_ids = {id(e.instance) for e in excluded}
    usable = [i for i in instances if id(i) not in excluded_ids]

    raw_twins = [i for i in usable if _is_raw(i) and any(_is_twin(i, other) for other in usable)]
    excluded += [ExcludedInstance(i, Reason.FOR_PROCESSING) for i in raw_twins]
    usable = [i for i in usable if i not in raw_twins]

    if any(i.chest.answer == YES for i in usable) and settings.unknown_chest != "draft":
        uncertain = [i for i in usable if i.chest.answer == UNKNOWN]
        excluded += [ExcludedInstance(i, Reason.UNKNOWN_BODY_PART) for i in uncertain]
        usable = [i for i in usable if i not in uncertain]

    if not usable:
        return _choice_without_views(excluded)
    views = _rank_views(usable, min(use.max_views, MAX_VIEWS))
    excluded += [ExcludedInstance(i, Reason.MORE_THAN_NEEDED) for i in usable if i not in views]

    positions = {i.position.answer for i in usable}
    if use.needs and not positions & {*use.needs, UNKNOWN}:
        reason = Reason.NEEDED_VIEW_MISSING
        return ViewChoice("skip", (), tuple(excluded), reason, SENTENCES[reason])

    age_unknown = use.least_age > 0 and all(i.age is None for i in views)
    open_questions = [
        (Reason.UNKNOWN_BODY_PART, settings.unknown_chest, _any_unknown(views, "chest")),
        (Reason.UNKNOWN_AGE, settings.unknown_age, age_unknown),
        (Reason.UNKNOWN_VIEW, settings.unknown_view, _any_unknown(views, "position")),
    ]
    for outcome in ("skip", "hold"):
        for reason, setting, is_open in open_questions:
            if is_open and setting == outcome:
                chosen_views = views if outcome == "hold" else ()
                return ViewChoice(setting, chosen_views, tuple(excluded), reason, SENTENCES[reason])
    notes = [NOTES[reason] for reason, _, is_open in open_questions if is_open]
    if any(_is_raw(i) for i in views):
        notes.append(NOTES[Reason.FOR_PROCESSING])
    notes += [NOTES[r] for r in dict.fromkeys(e.reason for e in excluded) if r in _NOTED]
    return ViewChoice("draft", views, tuple(excluded), None, "", tuple(notes))


def _exclusion(instance: Instance, use: IntendedUse, settings: ViewSettings) -> Reason | None:
    """Return the first reason in the instance's own header that keeps it from being a view."""
    position = instance.position.answer
    chest = instance.chest.answer
    checks: tuple[tuple[Reason, bool], ...] = (
        (Reason.NOT_AN_IMAGE, not instance.rows or not instance.columns),
        (Reason.MODALITY, instance.modality not in use.modalities),
        (Reason.MULTI_FRAME, instance.frames > 1),
        (Reason.REJECTED, instance.rejected),
        (Reason.BODY_PART, "CHEST" not in use.body_parts),
        (Reason.NOT_CHEST, chest == NO),
        (Reason.UNKNOWN_BODY_PART, chest == UNKNOWN and settings.unknown_chest == "skip"),
        (Reason.TOO_YOUNG, instance.age is not None and instance.age < use.least_age),
        (Reason.VIEW_NOT_WANTED, position != UNKNOWN and position not in use.views),
        (Reason.UNKNOWN_VIEW, position == UNKNOWN and settings.unknown_view == "skip"),
    )
    return instance.fault or next((reason for reason, applies in checks if applies), None)


def _choice_without_views(excluded: list[ExcludedInstance]) -> ViewChoice:
    """Return a skip with the reason of the nearest instance, or a hold for damaged pixels."""
    if not excluded:
        return ViewChoice("skip", reason=Reason.NO_FILMS, sentence=SENTENCES[Reason.NO_FILMS])
    reasons = [e.reason for e in excluded]
    nearest = max(reasons, key=list(Reason).index)
    outcome: Outcome = "skip"
    if Reason.UNREADABLE in reasons:
        nearest, outcome = Reason.UNREADABLE, "hold"
    counts = " ".join(
        f"{reasons.count(reason)} of {len(reasons)}: {SENTENCES[reason]}"
        for reason in dict.fromkeys(reasons)
    )
    return ViewChoice(outcome, (), tuple(excluded), nearest, f"No film to draft from. {counts}")


def _rank_views(instances: Sequence[Instance], limit: int) -> tuple[Instance, ...]:
    """Return the views, the best frontal first. Leanings only settle the order."""
    # The later of two similar images: an exposure is repeated when the first was not good enough.
    ranked = sorted(instances, key=lambda i: (i.acquired, i.number), reverse=True)
    ranked.sort(key=lambda i: (_is_raw(i), i.secondary))
    views: list[Instance] = []
    for wanted, other in ((FRONTAL, LATERAL), (LATERAL, FRONTAL)):
        rank = {(wanted, wanted): 0, (UNKNOWN, wanted): 1, (UNKNOWN, ""): 2}
        fitting = [i for i in ranked if i not in views and i.position.answer != other]
        fitting = [i for i in fitting if (i.position.answer, i.position.leaning) in rank]
        fitting.sort(key=lambda i: rank[i.position.answer, i.position.leaning])
        views += fitting[:1]
    order = (FRONTAL, UNKNOWN, LATERAL)
    rest = [i for i in ranked if i not in views]
    rest.sort(key=lambda i: order.index(i.position.answer))
    return tuple((views + rest)[:limit])


def _is_raw(instance: Instance) -> bool:
    return instance.intent == "FOR PROCESSING"


def _is_twin(raw: Instance, other: Instance) -> bool:
    """Return whether `other` is the displayable image of the same exposure or projection."""
    same_exposure = bool(raw.acquired) and raw.acquired == other.acquired
    return not _is_raw(other) and (same_exposure or raw.position.answer == other.position.answer)


def _any_unknown(views: Iterable[Instance], question: Literal["chest", "position"]) -> bool:
    return any(getattr(i, question).answer == UNKNOWN for i in views)


def _first_text(header: Header, keyword: str) -> str:
    return next(read_texts(header, keyword), "")


def _integer(header: Header, keyword: str, default: int) -> int:
    try:
        return int(float(_first_text(header, keyword)))
    except (ValueError, OverflowError):
        return default


def _date(header: Header, keyword: str) -> date | None:
    text = _first_text(header, keyword)
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _acquired(header: Header) -> str:
    """Return acquisition, else content, series or study date and time: YYYYMMDDHHMMSS.ffffff."""
    date_time = _first_text(header, "AcquisitionDateTime")
    if date_time:
        return date_time
    for kind in ("Acquisition", "Content", "Series", "Study"):
        if day := _first_text(header, f"{kind}Date"):
            return day + _first_text(header, f"{kind}Time")
    return ""

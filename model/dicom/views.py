"""Which images of a study the model reads, and in which order.

It works on headers only: `model.dicom.instances` holds what a header says of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from model.case import MAX_VIEWS
from model.dicom.ages import Age, combine_ages
from model.dicom.evidence import FRONTAL, LATERAL, NO, UNKNOWN, YES, Classification
from model.dicom.exposures import find_copies
from model.dicom.instances import Instance, Rendering
from model.dicom.projection import weigh_films
from model.dicom.reasons import NOTED, NOTES, SECONDARY_CAPTURE_NOTE, SENTENCES, Reason
from model.dicom.species import ANIMAL, HUMAN

_SECONDARY_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"

_RENDERING_NOTES = {
    Rendering.SOFT_TISSUE: Reason.SOFT_TISSUE_IMAGE,
    Rendering.ENHANCED: Reason.ENHANCED_COPY,
}
"""The note on a draft from an image of such a rendering."""

Outcome = Literal["draft", "hold", "skip"]


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What a site does with what headers leave open: "draft" (with a note), "hold" or "skip".

    `unknown_age` is for headers that say nothing of an age, `doubtful_age` for those that
    contradict themselves or each other.
    """

    unknown_chest: Outcome = "hold"
    unknown_view: Outcome = "draft"
    unknown_age: Outcome = "draft"
    doubtful_age: Outcome = "hold"
    unknown_species: Outcome = "hold"


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
    # All images of a study are of one patient, whichever of them says what the patient is.
    patient = _Patient(combine_ages(i.age for i in instances), _species(instances))
    excluded = [
        ExcludedInstance(i, reason)
        for i in instances
        if (reason := _exclusion(i, patient, use, settings))
    ]
    excluded_ids = {id(e.instance) for e in excluded}
    usable = [i for i in instances if id(i) not in excluded_ids]

    raw_twins = [i for i in usable if _is_raw(i) and any(_is_twin(i, other) for other in usable)]
    excluded += [ExcludedInstance(i, Reason.FOR_PROCESSING) for i in raw_twins]
    usable = [i for i in usable if i not in raw_twins]

    copies = find_copies(usable)
    excluded += [ExcludedInstance(i, reason) for i, reason in copies]
    copy_ids = {id(i) for i, _ in copies}
    usable = [i for i in usable if id(i) not in copy_ids]

    usable = _weigh_together(usable)
    unwanted = [(i, r) for i in usable if (r := _position_exclusion(i, use, settings))]
    excluded += [ExcludedInstance(i, reason) for i, reason in unwanted]
    usable = [i for i in usable if _position_exclusion(i, use, settings) is None]

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

    age_unknown = use.least_age > 0 and not patient.age.claims
    age_doubtful = use.least_age > 0 and patient.age.is_doubtful(use.least_age)
    open_questions = [
        (Reason.UNKNOWN_SPECIES, settings.unknown_species, patient.species.answer == UNKNOWN),
        (Reason.UNKNOWN_BODY_PART, settings.unknown_chest, _any_unknown(views, "chest")),
        (Reason.DOUBTFUL_AGE, settings.doubtful_age, age_doubtful),
        (Reason.UNKNOWN_AGE, settings.unknown_age, age_unknown),
        (Reason.UNKNOWN_VIEW, settings.unknown_view, _any_unknown(views, "position")),
    ]
    for outcome in ("skip", "hold"):
        for reason, setting, is_open in open_questions:
            if is_open and setting == outcome:
                chosen_views = views if outcome == "hold" else ()
                sentence = f"{SENTENCES[reason]}{patient.explain(reason)}"
                return ViewChoice(setting, chosen_views, tuple(excluded), reason, sentence)
    notes = [NOTES[reason] for reason, _, is_open in open_questions if is_open]
    if any(_is_raw(i) for i in views):
        notes.append(NOTES[Reason.FOR_PROCESSING])
    if any(i.sop_class == _SECONDARY_CAPTURE_CLASS for i in views):
        notes.append(SECONDARY_CAPTURE_NOTE)
    for rendering, reason in _RENDERING_NOTES.items():
        if any(i.rendering is rendering for i in views):
            notes.append(NOTES[reason])
    notes += [NOTES[r] for r in dict.fromkeys(e.reason for e in excluded) if r in NOTED]
    return ViewChoice("draft", views, tuple(excluded), None, "", tuple(notes))


@dataclass(frozen=True, slots=True)
class _Patient:
    """What all images of a study say about their patient."""

    age: Age
    species: Classification

    def explain(self, reason: Reason) -> str:
        """Return what the headers say where a question about the patient is open, else ""."""
        if reason is Reason.DOUBTFUL_AGE:
            claims = self.age.describe()
            return f" {claims[0].upper()}{claims[1:]}"
        if reason is Reason.UNKNOWN_SPECIES:
            return f" {'; '.join(dict.fromkeys(str(e) for e in self.species.evidence))}."
        return ""


def _species(instances: Sequence[Instance]) -> Classification:
    """Return whether the patient is a human or an animal, by all images together."""
    evidence = tuple(e for i in instances for e in i.species.evidence)
    answers = {i.species.answer for i in instances if i.species.evidence}
    if ANIMAL in answers and HUMAN in answers:
        return Classification(UNKNOWN, evidence)
    return Classification(next((a for a in (ANIMAL, UNKNOWN) if a in answers), HUMAN), evidence)


def _exclusion(
    instance: Instance, patient: _Patient, use: IntendedUse, settings: ViewSettings
) -> Reason | None:
    """Return the first reason in the instance's own header that keeps it from being a view."""
    chest = instance.chest.answer
    checks: tuple[tuple[Reason, bool], ...] = (
        (Reason.NOT_AN_IMAGE, not instance.rows or not instance.columns),
        (Reason.MODALITY, instance.modality not in use.modalities),
        (Reason.MULTI_FRAME, instance.frames > 1),
        (Reason.REJECTED, instance.rejected),
        (Reason.BODY_PART, "CHEST" not in use.body_parts),
        (Reason.NOT_CHEST, chest == NO),
        (Reason.UNKNOWN_BODY_PART, chest == UNKNOWN and settings.unknown_chest == "skip"),
        (Reason.NOT_HUMAN, patient.species.answer == ANIMAL),
        (Reason.TOO_YOUNG, patient.age.is_below(use.least_age)),
    )
    return instance.fault or next((reason for reason, applies in checks if applies), None)


def _weigh_together(films: Sequence[Instance]) -> list[Instance]:
    """Return the films with the positions that all of them say together."""
    headers = [i.film for i in films]
    if None in headers:
        return list(films)
    positions = weigh_films([film for film in headers if film is not None])
    return [replace(i, position=position) for i, position in zip(films, positions, strict=True)]


def _position_exclusion(
    instance: Instance, use: IntendedUse, settings: ViewSettings
) -> Reason | None:
    """Return the reason in the instance's position that keeps it from being a view."""
    position = instance.position.answer
    if position == UNKNOWN:
        return Reason.UNKNOWN_VIEW if settings.unknown_view == "skip" else None
    return None if position in use.views else Reason.VIEW_NOT_WANTED


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
    ranked.sort(key=lambda i: (_is_raw(i), i.rendering is not Rendering.STANDARD, i.secondary))
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

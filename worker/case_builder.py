"""A study's files become what the model reads, or a reason why not. Knows no rows and no torch.

Which films, in which order, is `model.dicom.views`' word; how a film becomes pixels is `model.dicom.pixels`'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom

from model.case import Case, Priors, View
from model.dicom.evidence import UNKNOWN, Classification
from model.dicom.indication import find_indication, find_procedure
from model.dicom.pixels import read_header, view_pixels
from model.dicom.views import (
    NOTES,
    SENTENCES,
    Instance,
    Reason,
    ViewChoice,
    ViewSettings,
    choose_views,
    parse_instance,
)
from model.errors import NoPixels, PixelError
from model.manifest import Manifest
from records.errors import PartError
from records.settings import Settings
from records.states import HoldReason

QUESTIONS: dict[Reason, HoldReason] = {
    Reason.UNKNOWN_BODY_PART: HoldReason.CHEST_UNKNOWN,
    Reason.UNKNOWN_VIEW: HoldReason.VIEW_UNKNOWN,
    Reason.UNKNOWN_AGE: HoldReason.AGE_UNKNOWN,
}
"""What a person is asked where the headers leave something open."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A film on disk: its UIDs, its file, and the SHA-256 of its bytes."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The study can be drafted: what the model reads, the digest of all it came from, its story."""

    case: Case
    digest: str
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotFor:
    """The study is not for this model. reason: a stable word; sentence: for a person."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Asking:
    """A person must decide before the study is drafted."""

    question: HoldReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Films that are needed cannot be read, however often one tries."""

    sentence: str


class FileGone(Exception):
    """A film that the records know is not in the data folder. Restore it from a backup."""


@dataclass(slots=True)
class _Reading:
    """The films of one study while they are read."""

    size: int
    resize: str
    files: dict[str, Kept]
    faults: dict[str, PixelError] = field(default_factory=dict)  # by SOP instance UID
    views: dict[str, View] = field(default_factory=dict)

    def header(self, kept: Kept) -> tuple[Instance, pydicom.Dataset | None]:
        """The film by its header; one that has a fault where the header cannot be read."""
        _look_at_file(kept.path)
        try:
            header = read_header(kept.path)
        except PixelError as error:
            self._fault(kept.sop_instance_uid, error)
            unknown = Classification(UNKNOWN)
            film = Instance(
                source=kept.sop_instance_uid,
                sop_class=kept.sop_class_uid,
                modality="",
                chest=unknown,
                position=unknown,
                sop_instance_uid=kept.sop_instance_uid,
                fault=Reason.UNREADABLE,
            )
            return film, None
        return parse_instance(header, kept.sop_instance_uid), header

    def all_read(self, chosen: Sequence[Instance]) -> bool:
        """Read the chosen films' pixels; False where one cannot be read, which is then a fault."""
        for film in chosen:
            if film.source in self.views:
                continue
            try:
                pixels = view_pixels(self.files[film.source].path, self.size, self.resize)
            except PixelError as error:
                self._fault(film.source, error)
                return False
            self.views[film.source] = View(pixels, film.position.answer, film.source)
        return True

    def _fault(self, source: str, error: PixelError) -> None:
        disk = error.__cause__
        if isinstance(disk, OSError) and disk.errno:
            # The disk's error, not the film's: pydicom and Pillow give theirs no number.
            raise PartError(f"the data folder cannot be read ({disk.strerror})") from None
        self.faults[source] = error

    def fault_of(self, source: str) -> Reason | None:
        """Why the film cannot be read; None where nothing is known against it."""
        error = self.faults.get(source)
        if error is None:
            return None
        return Reason.NO_PIXELS if isinstance(error, NoPixels) else Reason.UNREADABLE

    @property
    def damaged(self) -> list[str]:
        """What is wrong with films that are damaged, each sentence once."""
        found = (str(e) for e in self.faults.values() if not isinstance(e, NoPixels))
        return list(dict.fromkeys(found))


def make_ready(
    kept: Sequence[Kept],
    others: Sequence[dict[str, str]],
    manifest: Manifest,
    answered: set[HoldReason],
    knobs: Settings,
) -> Ready | NotFor | Asking | Unreadable:
    """What becomes of a study with these films.

    others: objects of the study that are no films to draft from, as `left_out` tells them.
    answered: the questions to which a person said PROCEED; they are not asked again.

    Raises:
        FileGone: a film's file is not there.
        PartError: the disk failed; the study is not to blame.
    """
    shape = manifest.preprocessing
    reading = _Reading(shape.size, shape.resize, {k.sop_instance_uid: k for k in kept})
    looked = [reading.header(one) for one in kept]
    headers = [header for _, header in looked if header is not None]
    asked = _view_settings(knobs, answered)
    while True:
        films = [replace(film, fault=reading.fault_of(film.source)) for film, _ in looked]
        choice = choose_views(films, manifest.intended_use, asked)
        if choice.outcome != "draft" or reading.all_read(choice.views):
            break
    left_out = _left_out(choice, reading.faults) + list(others)
    if choice.outcome == "draft":
        return _ready(choice, reading, left_out, headers, manifest, answered, knobs)
    if choice.outcome == "hold" and choice.reason in QUESTIONS:
        return Asking(QUESTIONS[choice.reason], choice.sentence)
    if reading.damaged:
        # What could not be read may be just what the model needs: this is no study "not for it".
        return Unreadable(" ".join([choice.sentence, *reading.damaged]))
    told = [choice.sentence, *dict.fromkeys(other["sentence"] for other in others)]
    if reading.faults and choice.reason is not Reason.NO_PIXELS:
        told.append(NOTES[Reason.NO_PIXELS])
    return NotFor(str(choice.reason), " ".join(told))


def _ready(
    choice: ViewChoice,
    reading: _Reading,
    left_out: list[dict[str, str]],
    headers: Sequence[pydicom.Dataset],
    manifest: Manifest,
    answered: set[HoldReason],
    knobs: Settings,
) -> Ready:
    found = find_indication(headers, knobs.indication_sources or None)
    named = find_procedure(headers)
    priors = Priors(indication=found.text, procedure=named.text)
    views = [reading.views[film.source] for film in choice.views]
    digest = hashlib.sha256(
        json.dumps(
            {
                "instances": sorted(one.sha256 for one in reading.files.values()),
                "views": [
                    (reading.files[film.source].sha256, film.position.answer)
                    for film in choice.views
                ],
                "priors": asdict(priors),
                "preprocessing": manifest.preprocessing_digest,
                "answered": sorted(answered),
            }
        ).encode()
    ).hexdigest()
    notes = list(choice.notes)
    if found.label:
        notes.append(f"The indication is taken from the {found.label}.")
    if found.cut:
        notes.append("The indication may be cut short: it fills its field.")
    provenance = {
        "views": [
            {
                "sop_instance_uid": film.source,
                "position": film.position.answer,
                "why": "; ".join(str(evidence) for evidence in film.position.evidence),
            }
            for film in choice.views
        ],
        "left_out": left_out,
        "notes": notes,
        "indication": found.text,
        "indication_source": found.source,
        "procedure": named.text,
    }
    # The key is the digest: two requests of the same inputs share one file, and drafting can tell
    # that a file is the one its request asked for.
    return Ready(Case(digest, tuple(views), priors), digest, provenance)


def _view_settings(knobs: Settings, answered: set[HoldReason]) -> ViewSettings:
    return ViewSettings(
        unknown_chest="draft" if HoldReason.CHEST_UNKNOWN in answered else knobs.unknown_chest,
        unknown_view="draft" if HoldReason.VIEW_UNKNOWN in answered else knobs.unknown_view,
        unknown_age="draft" if HoldReason.AGE_UNKNOWN in answered else knobs.unknown_age,
    )


def _left_out(choice: ViewChoice, faults: dict[str, PixelError]) -> list[dict[str, str]]:
    return [
        {
            "sop_instance_uid": left.instance.source,
            "reason": str(left.reason),
            "sentence": str(faults.get(left.instance.source) or SENTENCES[left.reason]),
        }
        for left in choice.excluded
    ]


def _look_at_file(path: Path) -> None:
    """A file that is gone, and a disk that fails, are told apart from a film that is damaged."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise FileGone(path.name) from None
    except OSError as error:
        raise PartError(f"the data folder cannot be read ({error.strerror})") from None

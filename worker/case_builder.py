"""Builds what the model reads from a study's files, or says why that cannot be done.

`model.dicom.views` decides which images are read and in which order, and `model.dicom.pixels` turns
each into pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom

from model.case import Case, Priors, View
from model.dicom.evidence import UNKNOWN, Classification
from model.dicom.header import read_header
from model.dicom.image_process import ImageProcess, shared_process
from model.dicom.indication import find_procedure
from model.dicom.instances import Instance, parse_instance
from model.dicom.reasons import NOTES, SENTENCES, Reason
from model.dicom.views import Outcome, ViewChoice, ViewSettings, choose_views
from model.errors import DecoderUnavailable, EmptyImage, NoPixels, PixelError
from model.manifest import Manifest
from model.prompting.prompt import takes_prior
from records.errors import PartError
from records.orders.indications import Candidate, Indication
from records.reports.prior_reports import PatientReports
from records.settings import Settings
from records.states import HoldReason
from worker.indications import find_indication, notes_about
from worker.prior_reports import PriorReport, choose_prior_report

HOLD_REASONS: dict[Reason, HoldReason] = {
    Reason.UNKNOWN_BODY_PART: HoldReason.CHEST_UNKNOWN,
    Reason.UNKNOWN_VIEW: HoldReason.VIEW_UNKNOWN,
    Reason.UNKNOWN_AGE: HoldReason.AGE_UNKNOWN,
    Reason.DOUBTFUL_AGE: HoldReason.AGE_UNKNOWN,
    Reason.UNKNOWN_SPECIES: HoldReason.SPECIES_UNKNOWN,
}
"""The hold that is opened where the headers leave something open."""

PICTURE_SIDE = 1024
"""Pixels of the longer side of a film's picture for the study page."""


NOTED_ASIDE = {
    "conflict": "Another film under the same UID is left out.",
    "mismatch": "A film that came under another patient is left out.",
}
"""Notes for the reader of a draft on films that were kept aside, by the reason in `left_out`."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image on disk: its UIDs, its file, the SHA-256 of its bytes, when it came (ISO 8601)."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    sha256: str
    received_at: str = ""


KeepPicture = Callable[[StoredImage, bytes], object]


@dataclass(frozen=True, slots=True)
class BuiltCase:
    """The study can be drafted.

    Attributes:
        case: what the model reads.
        digest: the digest of everything that the case was made from.
        provenance: what the draft will say of its views, left out objects and indication.
    """

    case: Case
    digest: str
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unsuitable:
    """The study is not for this model. reason: a stable word; sentence: for a person."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class NeedsDecision:
    """A person must decide before the study is drafted."""

    reason: HoldReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Images that are needed cannot be read, however often one tries."""

    sentence: str


class MissingFile(Exception):
    """An image that the records know is not in the data folder. Restore it from a backup."""


@dataclass(slots=True)
class _ImageReader:
    """The images of one study while they are read.

    Attributes:
        size: height and width of a view, in pixels.
        resize: how an image is resized, as the manifest names it.
        images: the images by SOP instance UID.
        trust: what the site says of its devices' ViewPosition.
        process: where pixels are decoded.
        accepts_empty: whether an image that shows nothing is read all the same.
        keep_picture: takes the picture of each image that is read, a JPEG.
        faults: what is wrong with an image, by SOP instance UID.
        views: the pixels that were read, by SOP instance UID.
        notes: what a reader should know of how an image was read, by SOP instance UID.
    """

    size: int
    resize: str
    images: dict[str, StoredImage]
    trust: Mapping[str, str]
    process: ImageProcess
    accepts_empty: bool
    keep_picture: KeepPicture
    faults: dict[str, PixelError] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def read_header(self, image: StoredImage) -> tuple[Instance, pydicom.Dataset | None]:
        """The image by its header; an instance with a fault where the header cannot be read."""
        _check_file(image.path)
        try:
            header = read_header(image.path)
        except PixelError as error:
            self._add_fault(image.sop_instance_uid, error)
            unknown = Classification(UNKNOWN)
            instance = Instance(
                source=image.sop_instance_uid,
                sop_class=image.sop_class_uid,
                modality="",
                chest=unknown,
                position=unknown,
                sop_instance_uid=image.sop_instance_uid,
                fault=Reason.UNREADABLE,
            )
            return instance, None
        return parse_instance(header, image.sop_instance_uid, trust=self.trust), header

    def read_pixels(self, instances: Sequence[Instance]) -> bool:
        """Read the pixels of these instances.

        Returns:
            False at the first that cannot be read; it then has a fault.
        """
        for instance in instances:
            if instance.source in self.views:
                continue
            image = self.images[instance.source]
            try:
                reading = self.process.read(image.path, self.size, self.resize, PICTURE_SIDE)
            except PixelError as error:
                self._add_fault(instance.source, error)
                return False
            except DecoderUnavailable as error:
                raise PartError(str(error)) from None
            self.keep_picture(image, reading.picture)
            notes = reading.notes
            if reading.is_empty:
                if not self.accepts_empty:
                    self._add_fault(instance.source, EmptyImage(SENTENCES[Reason.EMPTY]))
                    return False
                notes += (NOTES[Reason.EMPTY],)
            self.notes[instance.source] = notes
            self.views[instance.source] = View(
                reading.view, instance.position.answer, instance.source
            )
        return True

    def _add_fault(self, source: str, error: PixelError) -> None:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno:
            # The disk's error, not the image's: pydicom and Pillow give theirs no number.
            raise PartError(f"the data folder cannot be read ({cause.strerror})") from None
        self.faults[source] = error

    def fault_of(self, source: str) -> Reason | None:
        """Why the image cannot be read; None where nothing is known against it."""
        error = self.faults.get(source)
        match error:
            case None:
                return None
            case NoPixels():
                return Reason.NO_PIXELS
            case EmptyImage():
                return Reason.EMPTY
        return Reason.UNREADABLE

    @property
    def damage(self) -> list[str]:
        """What is wrong with images that are damaged, each sentence once."""
        undamaged = (NoPixels, EmptyImage)
        sentences = (str(e) for e in self.faults.values() if not isinstance(e, undamaged))
        return list(dict.fromkeys(sentences))


def build_case(
    images: Sequence[StoredImage],
    other_objects: Sequence[dict[str, str]],
    manifest: Manifest,
    approved: set[HoldReason],
    settings: Settings,
    keep_picture: KeepPicture = lambda *_: None,
    order_texts: Sequence[Candidate] = (),
    reports: PatientReports | None = None,
) -> BuiltCase | Unsuitable | NeedsDecision | Unreadable:
    """Build the case of a study.

    Args:
        images: the study's images that may be drafted from.
        other_objects: the other objects of the study, as `left_out` lists them: sop_instance_uid,
            reason, sentence.
        manifest: the bundle that will draft the study.
        approved: the holds that a person decided with PROCEED; they are not opened again.
        settings: what to do where the headers leave something open, and where to find the
            indication.
        keep_picture: takes the picture of each image that is read, a JPEG.
        order_texts: the texts of the orders that count for the study, newest order first.
        reports: the reports of the patient, one of which may be the prior report; None for none.

    Raises:
        MissingFile: an image's file is not there.
        PartError: the disk or the decoding process failed; the study is not to blame.
    """
    preprocessing = manifest.preprocessing
    reader = _ImageReader(
        preprocessing.size,
        preprocessing.resize,
        {image.sop_instance_uid: image for image in images},
        settings.view_position_trust,
        shared_process(settings.decode_memory_mb, settings.decode_seconds),
        HoldReason.IMAGE_EMPTY in approved,
        keep_picture,
    )
    parsed = [reader.read_header(image) for image in images]
    dated_headers = [
        (header, image.received_at)
        for (_, header), image in zip(parsed, images, strict=True)
        if header is not None
    ]
    view_settings = _view_settings(settings, approved)
    # An image that turns out unreadable is ruled out, and the views are chosen anew.
    while True:
        instances = [
            replace(instance, fault=reader.fault_of(instance.source)) for instance, _ in parsed
        ]
        choice = choose_views(instances, manifest.intended_use, view_settings)
        if choice.outcome != "draft" or reader.read_pixels(choice.views):
            break
    if choice.outcome == "draft":
        left_out = _left_out(choice, reader.faults) + list(other_objects)
        headers = [header for header, _ in dated_headers]
        indication = find_indication(
            order_texts, headers, [received_at for _, received_at in dated_headers], settings
        )
        procedure = find_procedure(headers).text
        prior = None
        # What the bundle's template does not take changes no digest, and so draws no other draft.
        if reports is not None and takes_prior(manifest.template, "prior_report"):
            prior = choose_prior_report(reports, headers)
        return _built_case(
            choice, reader, left_out, indication, procedure, prior, manifest, approved
        )
    if choice.outcome == "hold" and choice.reason in HOLD_REASONS:
        return NeedsDecision(HOLD_REASONS[choice.reason], choice.sentence)
    if any(isinstance(error, EmptyImage) for error in reader.faults.values()):
        return NeedsDecision(HoldReason.IMAGE_EMPTY, choice.sentence)
    if reader.damage:
        # What could not be read may be just what the model needs, so the study is not unsuitable.
        return Unreadable(" ".join([choice.sentence, *reader.damage]))
    sentences = [choice.sentence, *dict.fromkeys(other["sentence"] for other in other_objects)]
    if reader.faults and choice.reason is not Reason.NO_PIXELS:
        sentences.append(NOTES[Reason.NO_PIXELS])
    reason = choice.reason
    if not images and any(other["reason"] == Reason.REJECTED for other in other_objects):
        reason = Reason.REJECTED  # there were films
    return Unsuitable(str(reason), " ".join(sentences))


def _built_case(
    choice: ViewChoice,
    reader: _ImageReader,
    left_out: list[dict[str, str]],
    indication: Indication,
    procedure: str,
    prior: PriorReport | None,
    manifest: Manifest,
    approved: set[HoldReason],
) -> BuiltCase:
    priors = Priors(indication.text, procedure, prior.text if prior is not None else "")
    digest = _inputs_digest(choice, reader.images, priors, manifest, approved)
    view_notes = [note for view in choice.views for note in reader.notes[view.source]]
    notes = list(dict.fromkeys([*choice.notes, *view_notes]))
    notes += notes_about(indication)
    notes += dict.fromkeys(
        NOTED_ASIDE[film["reason"]] for film in left_out if film["reason"] in NOTED_ASIDE
    )
    provenance = {
        "views": [
            {
                "sop_instance_uid": instance.source,
                "position": instance.position.answer,
                "laterality": instance.laterality,
                "why": "; ".join(str(evidence) for evidence in instance.position.evidence),
                "contradicted": instance.position.is_contradicted,
            }
            for instance in choice.views
        ],
        "left_out": left_out,
        "notes": notes,
        "indication": indication.text,
        "indication_source": indication.source,
        "indications": indication.as_json(),
        "procedure": procedure,
    }
    if prior is not None:
        provenance |= {
            "prior_report": prior.text,
            "prior_report_source": prior.source,
            "prior_reports_not_taken": prior.not_taken,
        }
    # The positions are those of the last choice: without an unreadable film they may differ.
    views = tuple(
        replace(reader.views[instance.source], position=instance.position.answer)
        for instance in choice.views
    )
    # The key is the digest: two requests of the same inputs share one file, and drafting can tell
    # that a file belongs to its request.
    return BuiltCase(Case(digest, views, priors), digest, provenance)


def _inputs_digest(
    choice: ViewChoice,
    images: dict[str, StoredImage],
    priors: Priors,
    manifest: Manifest,
    approved: set[HoldReason],
) -> str:
    """The SHA-256 of everything that a draft is made from. Stored digests depend on every key."""
    content = {
        "instances": sorted(image.sha256 for image in images.values()),
        "views": [
            (images[instance.source].sha256, instance.position.answer) for instance in choice.views
        ],
        "priors": asdict(priors),
        "preprocessing": manifest.preprocessing_digest,
        "answered": sorted(approved),
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _view_settings(settings: Settings, approved: set[HoldReason]) -> ViewSettings:
    # Where nothing gives an age, a site may draft. Where the sources contradict each other, the
    # patient may well be a child, so a person decides unless the site skips what it does not know.
    doubtful_age: Outcome = "skip" if settings.unknown_age == "skip" else "hold"
    return ViewSettings(
        unknown_chest="draft" if HoldReason.CHEST_UNKNOWN in approved else settings.unknown_chest,
        unknown_view="draft" if HoldReason.VIEW_UNKNOWN in approved else settings.unknown_view,
        unknown_age="draft" if HoldReason.AGE_UNKNOWN in approved else settings.unknown_age,
        doubtful_age="draft" if HoldReason.AGE_UNKNOWN in approved else doubtful_age,
        unknown_species="draft" if HoldReason.SPECIES_UNKNOWN in approved else "hold",
    )


def _left_out(choice: ViewChoice, faults: dict[str, PixelError]) -> list[dict[str, str]]:
    return [
        {
            "sop_instance_uid": excluded.instance.source,
            "reason": str(excluded.reason),
            "sentence": str(faults.get(excluded.instance.source) or SENTENCES[excluded.reason]),
        }
        for excluded in choice.excluded
    ]


def _check_file(path: Path) -> None:
    """Tell a missing file and a failing disk from an image that is damaged.

    Raises:
        MissingFile: the file is not there.
        PartError: the disk cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise MissingFile(path.name) from None
    except OSError as error:
        raise PartError(f"the data folder cannot be read ({error.strerror})") from None

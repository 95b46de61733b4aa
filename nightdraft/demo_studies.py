"""The studies of the demonstration: phantoms that meet every end that a study can have.

Each study says what is sent and what the system must make of it, so that the demonstration can tell
at its end whether all of it was met.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from model.dicom.reasons import Reason
from nightdraft.demo_messages import make_order, make_prior_report
from nightdraft.phantom_studies import write_with_new_uids
from records.states import EndReason, FailReason, HoldReason, Priority, VisibleState
from records.workflow.worklist_rows import WorklistRow

COUNT = 24

_GIVEN_NAMES = {
    "F": (
        *("AGNIESZKA", "ZOË", "ΕΛΕΝΗ", "ОЛЬГА", "SIOBHÁN", "ليلى", "MAË", "İPEK", "INGRID"),
        *("ΣΟΦΙΑ", "THỊ HẠNH", "НАДЕЖДА", "BEGOÑA", "ŠÁRKA"),
    ),
    "M": (
        *("JÖRG", "ŁUKASZ", "ΝΙΚΟΣ", "СЕРГЕЙ", "ÓSCAR", "يوسف", "BJØRN", "ÇETIN", "MATTHEW"),
        *("ΓΙΩΡΓΟΣ", "VĂN MINH", "ИВАН", "TOMÁŠ", "NUÑO"),
    ),
}
"""Given names in several scripts, by the patient's sex. The family name stays PHANTOM, so that
nobody takes a phantom for a person."""

Change = Callable[[list[pydicom.Dataset]], None]


def _unchanged(_: list[pydicom.Dataset]) -> None:
    """Send the study as it was drawn."""


def _set_stat(datasets: list[pydicom.Dataset]) -> None:
    for ds in datasets:
        ds.RequestedProcedurePriority = "STAT"


def _set_high(datasets: list[pydicom.Dataset]) -> None:
    for ds in datasets:
        ds.RequestedProcedurePriority = "HIGH"


def _change_second_patient(datasets: list[pydicom.Dataset]) -> None:
    datasets[1].PatientID += "B"
    datasets[1].PatientName = f"{datasets[1].PatientName}^B"
    datasets[1].PatientBirthDate = "19610704"


def _contradict_age(datasets: list[pydicom.Dataset]) -> None:
    for ds in datasets:
        ds.PatientAge = "045Y"
        ds.PatientBirthDate = f"{int(ds.StudyDate[:4]) - 3}0101"


def _make_child(datasets: list[pydicom.Dataset]) -> None:
    for ds in datasets:
        ds.PatientBirthDate = f"{int(ds.StudyDate[:4]) - 8}0101"


def _drop_frontal(datasets: list[pydicom.Dataset]) -> None:
    del datasets[0]


def _cut_pixels(datasets: list[pydicom.Dataset]) -> None:
    """Store the films as JPEG (PS3.5, A.4.1), of which only the first tenth is there."""
    for ds in datasets:
        grey = (ds.pixel_array >> (ds.BitsStored - 8)).astype("uint8")
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "JPEG")
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.PixelData = encapsulate([stream.getvalue()[: stream.tell() // 10]])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True


@dataclass(frozen=True, slots=True)
class DemoOrder:
    """An order of a study of the demonstration, sent by HL7.

    Attributes:
        reason: Why the examination is requested.
        is_late: Whether it is sent only after the first draft.
        is_other_patient: Whether it names another patient than the films do.
    """

    reason: str
    is_late: bool = False
    is_other_patient: bool = False


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study of the demonstration.

    Attributes:
        sent: What is sent, for a person.
        why: Why it ends as it does, for a person.
        change: Changes the data sets of a drawn study, the frontal one first.
        needs_lateral: Whether the drawn study must have two films.
        has_late_lateral: Whether the lateral film is sent only after the first draft.
        is_withdrawn: Whether its draft is withdrawn through REST.
        order: The order that is sent for it; None for none.
        prior: What the report of an earlier film says, which is sent by HL7; "" for none. The model
            must be given it.
        state: The state that it must end in.
        reason: The reason of that state or of its hold; "" where there is none.
        priority: The priority that it must have.
        drafts: How many drafts it must have, those that were superseded among them.
        indication: What the model must have been given as the indication; "" for anything.
    """

    sent: str
    why: str = "a film of a grown-up's chest"
    change: Change = _unchanged
    needs_lateral: bool = False
    has_late_lateral: bool = False
    is_withdrawn: bool = False
    order: DemoOrder | None = None
    prior: str = ""
    state: VisibleState = VisibleState.DRAFTED
    reason: str = ""
    priority: Priority = Priority.ROUTINE
    drafts: int = 1
    indication: str = ""

    def differences(
        self, row: WorklistRow | None, drafts: int, indication: str = "", prior: str = ""
    ) -> list[str]:
        """Return what is not as it must be, each in a few words; [] where all is.

        Args:
            row: The study on the worklist; None where it is not there.
            drafts: How many drafts it has.
            indication: That of its current draft.
            prior: The prior report in the prompt of its current draft.
        """
        if row is None:
            return ["it is not on the worklist"]
        wanted_reasons = [self.reason] if self.reason else []
        reasons = [reason for reason in (row.reason, *row.hold_reasons) if reason]
        pairs: tuple[tuple[str, object, object], ...] = (
            ("state", row.state.value, self.state.value),
            ("reason", ", ".join(reasons), ", ".join(wanted_reasons)),
            ("priority", row.priority.name, self.priority.name),
            ("drafts", drafts, self.drafts),
            ("indication", indication if self.indication else "", self.indication),
            ("prior report", prior, self.prior),
        )
        return [
            f"{name} is {found or 'none'} and must be {wanted or 'none'}"
            for name, found, wanted in pairs
            if found != wanted
        ]


SPECIAL = (
    DemoStudy(
        "an urgent study",
        "its header asks for priority HIGH",
        _set_high,
        priority=Priority.URGENT,
    ),
    DemoStudy(
        "a STAT study",
        "its header asks for priority STAT: it is taken before all that wait",
        _set_stat,
        priority=Priority.STAT,
    ),
    DemoStudy(
        "two films of different patients",
        "one study UID, two patient IDs: a person must say whose it is",
        _change_second_patient,
        needs_lateral=True,
        state=VisibleState.HELD,
        reason=HoldReason.PATIENT_MISMATCH,
        drafts=0,
    ),
    DemoStudy(
        "an age that contradicts itself",
        "45 years by PatientAge, 3 by the birth date: a person must say which",
        _contradict_age,
        state=VisibleState.HELD,
        reason=HoldReason.AGE_UNKNOWN,
        drafts=0,
    ),
    DemoStudy(
        "a film that was cut off",
        "nine tenths of its JPEG are missing",
        _cut_pixels,
        state=VisibleState.FAILED,
        reason=FailReason.UNREADABLE,
        drafts=0,
    ),
    DemoStudy(
        "a child of eight",
        "the model is for adults",
        _make_child,
        state=VisibleState.SKIPPED,
        reason=Reason.TOO_YOUNG,
        drafts=0,
    ),
    DemoStudy(
        "a lateral film alone",
        "the model needs a frontal film",
        _drop_frontal,
        needs_lateral=True,
        state=VisibleState.SKIPPED,
        reason=Reason.NEEDED_VIEW_MISSING,
        drafts=0,
    ),
    DemoStudy(
        "a late film",
        "its lateral came after the first draft, so there is a second one",
        needs_lateral=True,
        has_late_lateral=True,
        drafts=2,
    ),
    DemoStudy(
        "a draft that was withdrawn",
        "withdrawn through REST, as a reader would on its page",
        is_withdrawn=True,
        state=VisibleState.CANCELLED,
        reason=EndReason.WITHDRAWN,
    ),
    DemoStudy(
        "a study with an order",
        "the indication is the order's, not the header's",
        order=DemoOrder("Shortness of breath"),
        indication="Shortness of breath",
    ),
    DemoStudy(
        "an order that comes after the draft",
        "it says something else, so there is a second draft",
        order=DemoOrder("Chest pain, smoker", is_late=True),
        drafts=2,
        indication="Chest pain, smoker",
    ),
    DemoStudy(
        "the report of a film of last year",
        "it stands in the prompt, so the model can compare",
        prior="No active disease.",
    ),
    DemoStudy(
        "an order for another patient",
        "the films' number, another patient ID: a person must say",
        order=DemoOrder("Fever", is_other_patient=True),
        state=VisibleState.HELD,
        reason=HoldReason.ORDER_MISMATCH,
        drafts=0,
    ),
)
"""Studies that meet something else than a draft at the first attempt."""

DEMO_STUDIES = (*SPECIAL, *[DemoStudy("an ordinary study")] * (COUNT - len(SPECIAL)))


@dataclass(frozen=True, slots=True)
class WrittenStudy:
    """A study of the demonstration whose files are written.

    Attributes:
        messages: The HL7 messages that are sent before its films.
        late_messages: Those that are sent after its first draft.
    """

    study: DemoStudy
    uid: str
    accession: str
    messages: tuple[bytes, ...] = ()
    late_messages: tuple[bytes, ...] = ()


def write_demo_studies(
    drawn: Iterable[Sequence[pydicom.Dataset]], folder: Path, late_folder: Path, run: str
) -> list[WrittenStudy]:
    """Write the studies of the demonstration under new UIDs.

    Args:
        drawn: The data sets of COUNT phantoms; they are changed.
        folder: Where the files are written that are sent at once.
        late_folder: Where the films are written that are sent after a first draft.
        run: Begins the accession numbers; 14 characters at most.
    """
    accessions = [f"{run}{number:02d}" for number in range(1, COUNT + 1)]
    assigned = list(_assign(drawn))
    uids = write_with_new_uids(assigned, folder, accessions)
    late_folder.mkdir(parents=True, exist_ok=True)
    written = []
    for study, uid, accession, datasets in zip(
        DEMO_STUDIES, uids, accessions, assigned, strict=True
    ):
        if study.has_late_lateral:
            lateral = folder / f"{accession}-2.dcm"
            lateral.rename(late_folder / lateral.name)
        early, late = _messages(study, accession, datasets[0])
        written.append(WrittenStudy(study, uid, accession, early, late))
    return written


def _messages(
    study: DemoStudy, accession: str, film: pydicom.Dataset
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the HL7 messages that are sent before the films, and those after a first draft."""
    early: list[bytes] = []
    late: list[bytes] = []
    if study.prior:
        early.append(make_prior_report(film, f"{accession[:-1]}P", study.prior))
    if study.order is not None:
        order = make_order(
            film, accession, study.order.reason, other_patient=study.order.is_other_patient
        )
        (late if study.order.is_late else early).append(order)
    return tuple(early), tuple(late)


def _assign(drawn: Iterable[Sequence[pydicom.Dataset]]) -> Iterator[list[pydicom.Dataset]]:
    """Yield, for each study of the demonstration, the first drawn one that suits it, changed."""
    pool = [list(datasets) for datasets in drawn]
    names = {sex: cycle(given) for sex, given in _GIVEN_NAMES.items()}
    for study in DEMO_STUDIES:
        position = next(
            n for n, datasets in enumerate(pool) if len(datasets) > 1 or not study.needs_lateral
        )
        datasets = pool.pop(position)
        given_name = next(names[datasets[0].PatientSex])
        for ds in datasets:
            ds.PatientName = f"PHANTOM^{given_name}"
        study.change(datasets)
        yield datasets

"""What a header says of a film: the table of evidence, and the code that walks it.

Knows no pixels and chooses no films; model.dicom.views asks it whether a film is of the chest and in
which projection. Every row says where to look, for what, and why that counts. What each row was
worth on 7,469 real headers is in docs/use/images.md. A header that does not tell is answered with
"unknown", never with the likelier of two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Header(Protocol):
    """A pydicom Dataset, or a plain mapping from DICOM keyword to value; sequences are lists."""

    def get(self, key: str, /) -> Any:
        """The value of a keyword, or None where the header has none."""


class Strength(StrEnum):
    """How much a row decides.

    FILM: names this very film, and decides. STUDY: names the order, which may have several parts;
    decides where no FILM row does. HINT: two of different groups that agree decide. DOUBT:
    decides nothing, and stands in the way of the other answer.
    """

    FILM = "film"
    STUDY = "study"
    HINT = "hint"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of evidence.

    places: keywords to look under, "Sequence.Keyword" for what lies in a sequence's items.
    pattern: a regular expression, tried on the value in capitals with `_` as a space.
    group: hints of one group come from one source and count once.
    yields: gives way to a FILM row that says otherwise, instead of contradicting it.
    """

    name: str
    says: str
    strength: Strength
    places: tuple[str, ...]
    pattern: str
    why: str
    group: str = ""
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """A row that was found in a header: in `place` stood `value`."""

    row: Row
    place: str
    value: str

    def __str__(self) -> str:
        """For people: `ViewPosition "LL" says lateral`."""
        return f'{self.place} "{self.value}" says {self.row.says}'


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer ("yes", "no", "frontal", ..., or "unknown") with all evidence for and against.

    lean: what the evidence points to where it does not suffice, or "". For putting films in an
    order, never for telling anyone what a film is.
    """

    answer: str
    evidence: tuple[Evidence, ...] = ()
    lean: str = ""


UNKNOWN = "unknown"
YES, NO = "yes", "no"
FRONTAL, LATERAL = "frontal", "lateral"

_OF_THIS_FILM = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProtocolCodeSequence.CodeMeaning",
)
_OF_THE_ORDER = (
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureCodeSequence.CodeMeaning",
    "ProcedureCodeSequence.CodeMeaning",
    "RequestAttributesSequence.RequestedProcedureDescription",
    "RequestAttributesSequence.ScheduledProcedureStepDescription",
    "RequestAttributesSequence.RequestedProcedureCodeSequence.CodeMeaning",
)
_BODY_PART = ("BodyPartExamined", "AnatomicRegionSequence.CodeMeaning")

_CHEST = (
    r"\b(CHEST|THORAX|THORACE|TORAX|TÓRAX|TORACE|LUNGS?|LUNGE|POUMONS?|CXR|PULMON\w*)\b"
    r"|КЛЕТК|ЛЕГК|胸部|胸片|흉부"
)
_ELSEWHERE = (
    r"\b(HANDS?|WRISTS?|FINGERS?|THUMBS?|FOREARM|ELBOWS?|HUMERUS|SHOULDERS?|CLAVICLES?|SCAPULA"
    r"|FOOT|FEET|ANKLES?|TOES?|CALCANEUS|HEEL|KNEES?|PATELLA|TIBIA|FIBULA|TIBFIB|FEMUR|HIPS?"
    r"|LEGS?|ARMS?|PELVIS|SACRUM|COCCYX|ABDOMEN|ABDOMINAL|ABD|KUB|BREAST|SKULL|HEAD|SINUS(ES)?"
    r"|FACIAL|MANDIBLE|MAXILLA|NASAL|JAW|DENTAL|TEETH|ORBITS?|NECK|[CTL][ -]?SPINE|\w*SPINE|RIBS?"
    r"|STERNUM|HÜFTE|SCHÄDEL|KNIE|FUSS)\b"
)
_LATERAL_WORD = r"\b(LATERAL|LAT|LATERALE|SEITLICH|PROFIL|PROFILE)\b(?!.*\bDECUB)"
_FRONTAL_WORD = (
    r"\b(PA|AP|P\.A|A\.P|FRONTAL|FACE|POSTERO[ -]?ANTERIOR|ANTERO[ -]?POSTERIOR)\b(?!.*\bOBL)"
)

BODY = (
    Row("body part: chest", YES, Strength.FILM, _BODY_PART, _CHEST,
        "Body part of the film as the modality gives it, e.g. CHEST or PORTABLE CHEST."),
    Row("body part code: chest", YES, Strength.FILM, ("AnatomicRegionSequence.CodeValue",),
        r"^(T-D3000|816094009|51185008)$",
        "Chest in SNOMED, old codes and new (PS3.16 CID 4009)."),
    Row("film's words: chest", YES, Strength.FILM, _OF_THIS_FILM, _CHEST,
        "Words about this film, most often the key that the radiographer pressed."),
    Row("order's words: chest", YES, Strength.STUDY, _OF_THE_ORDER, _CHEST,
        "The order; in a third of films the only place that names a body part."),
    Row("body part: elsewhere", NO, Strength.FILM, _BODY_PART, _ELSEWHERE,
        "Body part of the film as the modality gives it, another than the chest."),
    Row("film's words: elsewhere", NO, Strength.FILM, _OF_THIS_FILM, _ELSEWHERE,
        "Words about this film that name another part."),
    Row("order's words: elsewhere", NO, Strength.STUDY, _OF_THE_ORDER, _ELSEWHERE,
        "The order names another part. It gives way to a film that is labelled chest: an acute "
        "abdomen series has a chest film.", yields=True),
    Row("body part: extremity", NO, Strength.DOUBT, _BODY_PART, r"\bEXTREM[IE]T(Y|IES)\b",
        "No particular part, and seen on chest films, so it decides nothing alone."),
)  # fmt: skip
"""Evidence on the body part. Answers: "yes" (chest) and "no"."""

PROJECTION = (
    Row("view code: frontal", FRONTAL, Strength.FILM, ("ViewCodeSequence.CodeValue",),
        r"^(R-10202|R-10206|R-10214|R-40888|399033003|399348003|272479007)$",
        "Frontal, antero-posterior, postero-anterior (PS3.16 CID 4010)."),
    Row("view code: lateral", LATERAL, Strength.FILM, ("ViewCodeSequence.CodeValue",),
        r"^(R-10236|R-10232|R-102CD|R-10228|R-10224|399173006|399198007|399067008|399352003"
        r"|399260004)$",
        "Lateral, whichever side (PS3.16 CID 4010)."),
    Row("view position: lateral", LATERAL, Strength.FILM, ("ViewPosition",),
        r"^(LL|RL|ML|LM|(L|R|LEFT |RIGHT |LARGE )?LAT(ERAL)?)$",
        "Nobody gets a lateral by leaving a default. LLD and RLD are decubitus films, not these."),
    Row("orientation: lateral", LATERAL, Strength.FILM, ("PatientOrientation",), r"^[AP][HF]?\\",
        "Rows run from front to back of the patient (PS3.3 C.7.6.1.1.1): seen from the side."),
    Row("film's words: lateral", LATERAL, Strength.FILM, _OF_THIS_FILM, _LATERAL_WORD,
        "Words about this film; the order's words name both views and say nothing here."),
    Row("film's words: frontal", FRONTAL, Strength.FILM, _OF_THIS_FILM, _FRONTAL_WORD,
        "Words about this film; 'PA and lateral' in one line cancels out."),
    Row("view position: PA or AP", FRONTAL, Strength.HINT, ("ViewPosition",), r"^(PA|AP)$",
        "A default on many machines: two of five films that say PA are laterals.",
        group="positioning"),
    Row("orientation: frontal", FRONTAL, Strength.HINT, ("PatientOrientation",),
        r"^[LR][HF]?\\", "Left where PA is left: the same default, so the same group.",
        group="positioning"),
    Row("shape: wide", FRONTAL, Strength.HINT, ("shape",), r"^WIDE$",
        "Wider than high by a twentieth, as a chest is from the front.", group="shape"),
    Row("shape: high", LATERAL, Strength.HINT, ("shape",), r"^HIGH$",
        "Higher than wide by a twentieth: most laterals, many frontals.", group="shape"),
)  # fmt: skip
"""Evidence on the projection. Answers: "frontal" and "lateral"."""


def judge(rows: Sequence[Row], header: Header) -> Judged:
    """What a header says by a table of rows (BODY or PROJECTION)."""
    found = tuple(_found(rows, header))
    by_line: dict[tuple[str, str], set[str]] = {}
    for e in found:
        by_line.setdefault((e.place, e.value), set()).add(e.row.says)
    # One line that names both ("PA and lateral", "chest and abdomen") tells nothing of one film.
    clear = [e for e in found if len(by_line[e.place, e.value]) == 1]
    film, study, hints, doubts = (
        [e for e in clear if e.row.strength is strength] for strength in Strength
    )
    answers = {e.row.says for e in clear}
    return Judged(
        _decide(film, study, hints, doubts), found, answers.pop() if len(answers) == 1 else ""
    )


def _decide(
    film: list[Evidence], study: list[Evidence], hints: list[Evidence], doubts: list[Evidence]
) -> str:
    """The answer on which deciding evidence agrees and nothing that counts stands against it."""
    deciding = film or study
    against = doubts + [e for e in study if not (film and e.row.yields)]
    if not deciding and len({e.row.group for e in hints}) > 1:
        deciding = hints
    answers = {e.row.says for e in deciding}
    if len(answers) != 1:
        return UNKNOWN
    return answers.pop() if {e.row.says for e in against} <= answers else UNKNOWN


def _found(rows: Sequence[Row], header: Header) -> Iterator[Evidence]:
    for row in rows:
        for place in row.places:
            for value in texts(header, place):
                if re.search(row.pattern, value.upper().replace("_", " ")):
                    yield Evidence(row, place, value)


def texts(header: Header, place: str) -> Iterator[str]:
    r"""The values under a keyword as text, several joined by `\`; blank ones are left out.

    place: "Keyword", "Sequence.Keyword" (of every item), or "shape" ("wide", "high" or neither,
    from Rows and Columns).
    """
    if place == "shape":
        yield from _shape(header)
        return
    name, _, rest = place.partition(".")
    value = header.get(name)
    if rest:
        for part in value if isinstance(value, Sequence) and not isinstance(value, str) else ():
            if hasattr(part, "get"):
                yield from texts(part, rest)
        return
    if value is None:
        return
    parts = [value] if isinstance(value, (str, bytes)) or not _many(value) else list(value)
    text = clean("\\".join(str(part) for part in parts))
    if text.strip("\\ "):
        yield text


def clean(text: str) -> str:
    """Text from outside without control characters, each run of white space one space."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())


def _many(value: object) -> bool:
    return isinstance(value, Sequence)


def _shape(header: Header) -> Iterator[str]:
    try:
        rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    except (TypeError, ValueError):
        return
    if rows > 0 and columns > 1.05 * rows:
        yield "wide"
    elif columns > 0 and rows > 1.05 * columns:
        yield "high"

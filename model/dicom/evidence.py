"""What a header says about an image: a table of rules, and the code that applies it.

`model.dicom.views` uses it to decide whether an image is of the chest and in which projection.
Every rule states where to look, for what, and why that counts; docs/use/images.md has what each
rule was worth on 7,469 real headers. Where the header does not settle a question, the answer is
"unknown", never the likelier of two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from model.dicom.positioning import without_positioning


class Header(Protocol):
    """A pydicom Dataset, or a plain mapping from DICOM keyword to value; sequences are lists."""

    def get(self, key: str, /) -> Any:
        """Return the value of a keyword, or None where the header has none."""


class Strength(StrEnum):
    """How much a rule decides. The values are the words that docs/use/images.md prints.

    INSTANCE: describes this very image, and decides. STUDY: describes the order, which may have
    several parts; decides where no INSTANCE rule matches. HINT: two hints of different groups that
    agree decide. DOUBT: decides nothing, but prevents the opposite answer.
    """

    INSTANCE = "film"
    STUDY = "study"
    HINT = "hint"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of evidence.

    Attributes:
        name: The name of the rule, for people.
        answer: The answer that a match speaks for: "yes", "no", "frontal" or "lateral".
        strength: How much a match decides.
        keywords: The DICOM keywords to look under, "Sequence.Keyword" for an element of a
            sequence's items.
        pattern: A regular expression, searched in the value as `to_capitals` returns it. The
            words of an image or order are read without the phrases of `model.dicom.positioning`.
        rationale: Why a match counts.
        group: Hints of one group come from one source and count once.
        overridable: Gives way to an INSTANCE rule with another answer instead of contradicting it.
        weight: Of a rule on the projection: natural logarithm of the odds for its answer.
    """

    name: str
    answer: str
    strength: Strength
    keywords: tuple[str, ...]
    pattern: str
    rationale: str
    group: str = ""
    overridable: bool = False
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A rule that matched a header: the value under `keyword` was `value`."""

    rule: Rule
    keyword: str
    value: str

    def __str__(self) -> str:
        """Return the evidence for people: `ViewPosition "LL" says lateral`."""
        return f'{self.keyword} "{self.value}" says {self.rule.answer}'


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one question about an image, with the evidence.

    Attributes:
        answer: "yes", "no", "frontal", "lateral" or "unknown".
        evidence: All evidence, for the answer and against it.
        leaning: The answer that all evidence points to, even where it does not suffice; else "".
            It only orders images and is never shown as what an image is.
    """

    answer: str
    evidence: tuple[Evidence, ...] = ()
    leaning: str = ""

    @property
    def is_contradicted(self) -> bool:
        """Whether some evidence says the opposite of the answer."""
        opposites = {"yes": "no", "no": "yes", FRONTAL: LATERAL, LATERAL: FRONTAL}
        opposite = opposites.get(self.answer)
        return any(evidence.rule.answer == opposite for evidence in self.evidence)


_DX_CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
"""Digital X-Ray Image Storage, for presentation, and for processing with `.1` behind it."""

_WORD_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])")

UNKNOWN = "unknown"
YES, NO = "yes", "no"
FRONTAL, LATERAL = "frontal", "lateral"

IMAGE_KEYWORDS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProtocolCodeSequence.CodeMeaning",
)
"""Where words about one image are."""
ORDER_KEYWORDS = (
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureCodeSequence.CodeMeaning",
    "ProcedureCodeSequence.CodeMeaning",
    "RequestAttributesSequence.RequestedProcedureDescription",
    "RequestAttributesSequence.ScheduledProcedureStepDescription",
    "RequestAttributesSequence.RequestedProcedureCodeSequence.CodeMeaning",
)
"""Where words about the whole examination are."""
_BODY_PART_KEYWORDS = ("BodyPartExamined", "AnatomicRegionSequence.CodeMeaning")

_WORD_KEYWORDS = {*IMAGE_KEYWORDS, *ORDER_KEYWORDS}
"""Keywords under which people write words, and not a body part alone."""

_CHEST_PATTERN = (
    r"\b(CHEST|THORAX|THORACE|TORAX|TÓRAX|TORACE|TORAKS|LUNGS?|LUNGEN?|POUMONS?|CXR|PULMON\w*"
    r"|PULMÃO|PULMÕES|KLATK\w+ PIERS\w*|HRUDN[IÍ]K\w*|KEUHKO\w*|MELLKAS\w*|ОГК)\b"
    r"|КЛЕТК|ЛЕГК|胸部|胸片|흉부"
)
_ELSEWHERE_PATTERN = (
    r"\b(HANDS?|WRISTS?|FINGERS?|THUMBS?|FOREARM|ELBOWS?|HUMERUS|SHOULDERS?|CLAVICLES?|SCAPULA"
    r"|FOOT|FEET|ANKLES?|TOES?|CALCANEUS|HEEL|KNEES?|PATELLA|TIBIA|FIBULA|TIBFIB|FEMUR|HIPS?"
    r"|LEGS?|ARMS?|PELVIS|SACRUM|COCCYX|ABDOMEN|ABDOMINAL|ABD|KUB|BREAST|SKULL|HEAD|SINUS(ES)?"
    r"|FACIAL|MANDIBLE|MAXILLA|NASAL|JAW|DENTAL|TEETH|ORBITS?|NECK|[CTL][ -]?SPINE|\w*SPINE|RIBS?"
    r"|STERNUM|THIGHS?|ABDO|SACROILIAC|(SI|AC|SC) JOINTS?|SCOLIOSIS|O?ESOPHAG\w*|BARIUM|BLADDER"
    r"|MAMMO\w*|PANOREX|OPG|TMJ|SPECIMENS?|POST ?MORTEM|AUTOPSY|CADAVER"
    r"|HÜFTE|SCHÄDEL|KNIE|FUSS|SCHULTER|ELLENBOGEN|BECKEN|BAUCH|[HBL]WS|\w*WIRBELSÄULE|RIPPEN?"
    r"|UNTERARM|OBERARM|UNTERSCHENKEL|OBERSCHENKEL|SPRUNGGELENK|ZEHEN?|\w*KIEFER"
    r"|[EÉ]PAULE|POIGNET|GENOUX?|CHEVILLE|PIED|BASSIN|HANCHE|RACHIS|CR[AÂÁ](NE|NEO|NIO)"
    r"|HOMBRO|CODO|MU[NÑ]ECA|MANO|RODILLA|TOBILLO|CADERA|COLUMNA|COSTILLAS"
    r"|SPALLA|GOMITO|POLSO|GINOCCHIO|CAVIGLIA|PIEDE|BACINO|COLONNA|RACHIDE"
    r"|OMBRO|COTOVELO|PUNHO|JOELHO|TORNOZELO|COLUNA|BACIA"
    r"|КОЛЕН\w+|ПЛЕЧ\w+|КИСТ\w+|СТОП\w+|ЧЕРЕП\w*|ПОЗВОНОЧ\w+|БРЮШН\w+)\b"
    r"|腹部|[颈頸腰胸]椎|骨[盆盤]|[膝肩髋股肘]関節|[膝肩髋肘]关节|[頭头颅]部"
)
_LATERAL_PATTERN = (
    r"\b(LATERAL|LAT|LATERALE|SEITLICH|SEITL|PROFIL|PROFILE|PERFIL|LATERO[ -]?LATERAL\w*"
    r"|(CHEST|THORAX|TORAX|TORACE) (LL|RL)|(CHEST|THORAX)LAT|LAT(CHEST|THORAX)|2\.? ?EBENE)\b"
    r"(?!.*\bDECUB)|БОКОВ|側面|侧位|側位|측면"
)
_FRONTAL_PATTERN = (
    r"\b(PA|AP|P\. ?A|A\. ?P|FRONTAL|FACE|POSTERO[ -]?ANTERIOR|ANTERO[ -]?POSTERIOR)\b"
    r"(?!.*\bOBL)|ПРЯМАЯ|正面|正位"
)

BODY_PART_RULES = (
    Rule("body part: chest", YES, Strength.INSTANCE, _BODY_PART_KEYWORDS, _CHEST_PATTERN,
        "Body part of the image as the modality gives it, e.g. CHEST or PORTABLE CHEST."),
    Rule("body part code: chest", YES, Strength.INSTANCE, ("AnatomicRegionSequence.CodeValue",),
        r"^(T-D3000|816094009|51185008)$",
        "Chest in SNOMED, old codes and new (PS3.16 CID 4009)."),
    Rule("film's words: chest", YES, Strength.INSTANCE, IMAGE_KEYWORDS, _CHEST_PATTERN,
        "Words about this image, most often the key that the radiographer pressed."),
    Rule("order's words: chest", YES, Strength.STUDY, ORDER_KEYWORDS, _CHEST_PATTERN,
        "The order; for a third of the images the only place that names a body part."),
    Rule("body part: elsewhere", NO, Strength.INSTANCE, _BODY_PART_KEYWORDS, _ELSEWHERE_PATTERN,
        "Body part of the image as the modality gives it, another than the chest."),
    Rule("film's words: elsewhere", NO, Strength.INSTANCE, IMAGE_KEYWORDS, _ELSEWHERE_PATTERN,
        "Words about this image that name another part."),
    Rule("order's words: elsewhere", NO, Strength.STUDY, ORDER_KEYWORDS, _ELSEWHERE_PATTERN,
        "The order names another part. It gives way to an image that is labelled chest: an acute "
        "abdomen series has a chest image.", overridable=True),
    Rule("body part: extremity", NO, Strength.DOUBT, _BODY_PART_KEYWORDS, r"\bEXTREM[IE]T(Y|IES)\b",
        "No particular part, and it occurs on chest images, so it decides nothing alone."),
)  # fmt: skip
"""Rules on the body part. Their answers are "yes" (chest) and "no"."""

PROJECTION_RULES = (
    Rule("view code: frontal", FRONTAL, Strength.INSTANCE, ("ViewCodeSequence.CodeValue",),
        r"^(R-10202|R-10206|R-10214|R-40888|399033003|399348003|272479007)$",
        "Frontal, antero-posterior, postero-anterior (PS3.16 CID 4010).", weight=8.0),
    Rule("view code: lateral", LATERAL, Strength.INSTANCE, ("ViewCodeSequence.CodeValue",),
        r"^(R-10236|R-10232|R-102CD|R-10228|R-10224|399173006|399198007|399067008|399352003"
        r"|399260004)$",
        "Lateral, whichever side (PS3.16 CID 4010).", weight=8.0),
    Rule("view position: lateral", LATERAL, Strength.INSTANCE, ("ViewPosition",),
        r"^(LL|RL|ML|LM|((L|R|LT|RT|LEFT|RIGHT|LARGE)[ -]?)?LAT(ERAL)?( (L|R|LT|RT|LEFT|RIGHT))?"
        r"|SEITLICH|PROFIL|PERFIL)$",
        "Lateral is never the default of a machine. LLD and RLD are decubitus views, not these. "
        "Measured: 445 to 0.", weight=8.0),
    Rule("orientation: lateral", LATERAL, Strength.INSTANCE, ("PatientOrientation",),
        r"^[AP][HF]?\\", "Rows run from front to back of the patient (PS3.3 C.7.6.1.1.1). "
        "Measured: 356 to 0.", weight=8.0),
    Rule("film's words: lateral", LATERAL, Strength.INSTANCE, IMAGE_KEYWORDS, _LATERAL_PATTERN,
        "Words about this image; the order's words name both views and say nothing here.",
        weight=8.0),
    Rule("film's words: frontal", FRONTAL, Strength.INSTANCE, IMAGE_KEYWORDS, _FRONTAL_PATTERN,
        "Words about this image; 'PA and lateral' in one line cancels out.", weight=8.0),
    Rule("view position: PA", FRONTAL, Strength.HINT, ("ViewPosition",), r"^PA$",
        "A default on many devices: two of five images that say PA are laterals.",
        group="positioning", weight=0.5),
    Rule("view position: PA by a digital detector", FRONTAL, Strength.HINT,
        ("ViewPosition of DX",), r"^PA$",
        "Images of the DX class, not of CR: the device sets the position with the protocol of the "
        "exposure. Measured: 260 to 0.", group="positioning", weight=5.0),
    Rule("view position: AP", FRONTAL, Strength.HINT, ("ViewPosition",), r"^AP$",
        "Seldom a default. Measured: 233 to 8.", group="positioning", weight=2.5),
    Rule("orientation: frontal", FRONTAL, Strength.HINT, ("PatientOrientation",),
        r"^[LR][HF]?\\", "Unchanged where PA is unchanged: the same default, so the same group.",
        group="positioning", weight=0.5),
    Rule("shape: wide", FRONTAL, Strength.HINT, ("shape",), r"^WIDE$",
        "At least a twentieth wider than high, as a chest is from the front. Measured: 971 to 37.",
        group="shape", weight=2.9),
    Rule("shape: high", LATERAL, Strength.HINT, ("shape",), r"^HIGH$",
        "At least a twentieth higher than wide: most laterals, many frontals. Measured: 1,229 to "
        "332.", group="shape", weight=1.2),
)  # fmt: skip
"""Rules on the projection. Their answers are "frontal" and "lateral", and
`model.dicom.projection` weighs them."""


def classify(rules: Sequence[Rule], header: Header) -> Classification:
    """Classify a header by a table of rules whose strengths decide, as BODY_PART_RULES."""
    evidence = tuple(match_rules(rules, header))
    clear = clear_evidence(evidence)
    instance, study, hints, doubts = (
        [e for e in clear if e.rule.strength is strength] for strength in Strength
    )
    answers = {e.rule.answer for e in clear}
    return Classification(
        _decide(instance, study, hints, doubts),
        evidence,
        answers.pop() if len(answers) == 1 else "",
    )


def clear_evidence(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Return the evidence without the lines that name both answers.

    "PA and lateral" and "chest and abdomen" say nothing of one image.
    """
    answers_by_line: dict[tuple[str, str], set[str]] = {}
    for match in evidence:
        answers_by_line.setdefault((match.keyword, match.value), set()).add(match.rule.answer)
    return [e for e in evidence if len(answers_by_line[e.keyword, e.value]) == 1]


def _decide(
    instance: list[Evidence], study: list[Evidence], hints: list[Evidence], doubts: list[Evidence]
) -> str:
    """Return the answer on which the deciding evidence agrees and that nothing contradicts."""
    deciding = instance or study
    against = doubts + [e for e in study if not (instance and e.rule.overridable)]
    if not deciding and len({e.rule.group for e in hints}) > 1:
        deciding = hints
    answers = {e.rule.answer for e in deciding}
    if len(answers) != 1:
        return UNKNOWN
    return answers.pop() if {e.rule.answer for e in against} <= answers else UNKNOWN


def match_rules(rules: Sequence[Rule], header: Header) -> Iterator[Evidence]:
    """Yield the evidence of every rule that matches a header."""
    for rule in rules:
        for keyword in rule.keywords:
            for value in read_texts(header, keyword):
                text = to_capitals(value)
                if keyword in _WORD_KEYWORDS:
                    text = without_positioning(text)
                if re.search(rule.pattern, text):
                    yield Evidence(rule, keyword, value)


def to_capitals(text: str) -> str:
    """Return a text in capitals, in which patterns are searched.

    `_` is a space, and so is the change from small to capital letters ("ChestPA"). Wide letters
    and accents that are characters of their own are written as usual (Unicode's NFKC).
    """
    words = _WORD_BEGINS.sub(" ", unicodedata.normalize("NFKC", text))
    return words.upper().replace("_", " ")


def read_texts(header: Header, keyword: str) -> Iterator[str]:
    r"""Yield the values under a keyword as text, several joined by `\`; blank ones are left out.

    Args:
        header: The header to read.
        keyword: "Keyword", "Sequence.Keyword" (of every item), "shape", which yields "wide" or
            "high" by Rows and Columns, or nothing, or "ViewPosition of DX", which yields nothing
            for images of other classes.
    """
    if keyword == "shape":
        yield from _shape(header)
        return
    if keyword == "ViewPosition of DX":
        if str(header.get("SOPClassUID") or "").startswith(_DX_CLASS):
            yield from read_texts(header, "ViewPosition")
        return
    name, _, rest = keyword.partition(".")
    value = header.get(name)
    if rest:
        is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
        for item in value if is_sequence else ():
            if hasattr(item, "get"):
                yield from read_texts(item, rest)
        return
    if value is None:
        return
    # A multi-valued element of pydicom is a Sequence, and so are str and bytes.
    multiple = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    text = clean_text("\\".join(str(part) for part in (value if multiple else [value])))
    if text.strip("\\ "):
        yield text


def clean_text(text: str) -> str:
    """Return text without control characters, each run of white space as one space."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())


def _shape(header: Header) -> Iterator[str]:
    try:
        rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    except (TypeError, ValueError):
        return
    if rows > 0 and columns > 1.05 * rows:
        yield "wide"
    elif columns > 0 and rows > 1.05 * columns:
        yield "high"

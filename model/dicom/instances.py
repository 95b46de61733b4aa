"""One SOP instance by its header: what the choice of views asks of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model.dicom.ages import Age, read_age
from model.dicom.evidence import (
    BODY_PART_RULES,
    Classification,
    Header,
    classify,
    read_texts,
    to_capitals,
)
from model.dicom.projection import Film, read_film, weigh_films
from model.dicom.reasons import Reason
from model.dicom.species import HUMAN, classify_species


class Rendering(StrEnum):
    """What was made of an exposure. The order counts: the standard film is the best to read."""

    STANDARD = "standard"
    SOFT_TISSUE = "soft tissue"
    ENHANCED = "enhanced"  # bones suppressed, or tubes and lines emphasised
    BONE = "bone"  # nothing of the lungs is in it
    PAGE = "page"  # text that a device files as an image, such as a dose report


_RENDERING_KEYWORDS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "DerivationDescription",
    "DerivationCodeSequence.CodeMeaning",
)

_NOT_AN_IMAGE_OF_BONES = (
    r"(?! (MARROW|SURVEY|SCAN|METS|METAS\w*|PAIN|DENSITY|LESIONS?|AGE|TUMOU?RS?|CANCER|CA"
    r"|FRACTURES?|FRAGMENTS?|GRAFTS?|INFARCTS?)\b)"
)
_NO_BONES = r"BONES?|RIBS?|KNOCHEN|RIPPEN"
RENDERING_WORDS: tuple[tuple[Rendering, str], ...] = (
    (Rendering.PAGE,
     r"\b(DOSE (REPORT|SUMMARY|INFO\w*|PAGE|SHEET)|EXAM (REPORT|SUMMARY|PROTOCOL)"
     r"|PATIENT (PROTOCOL|INFO\w*)|PROTOCOL (PAGE|SHEET)|SCREEN ?(SHOT|SAVE|CAPTURE)S?"
     r"|DOSISPROTOKOLL|DOSISBERICHT|WORK ?SHEET)\b"),
    (Rendering.ENHANCED,
     rf"\b({_NO_BONES}) ?(SUPP?R\w*|SUBTR\w*|FREE|FREI|REMOV\w*|REDUC\w*|UNTERDR\w*)"
     rf"|\b(SUPPRESS\w*|WITHOUT|NO|W O|OHNE) ({_NO_BONES})\b"
     r"|\bCLEAR ?READ|\b(TUBES?|LINES?|CATHETERS?|PICC) (ENHANC|EMPHAS|VISUALI[SZ]|PROCESS)\w*"
     r"|\bENHANC\w* (TUBE|LINE|CATHETER)"
     r"|(?<!FOR )\b(TUBES?|LINES?) (AND |N )?(TUBES?|LINES?)\b"
     r"(?! (PLACE\w*|CHECK|POS\w*|EVAL\w*|CONFIRM\w*|VERIF\w*|INSERT\w*|ADJUST\w*|REMOV\w*))"
     r"|\b(EDGE|CONTRAST) ENHANC\w*|\b(LOW|VIRTUAL DUAL) ENERGY\b|\b(CAD|HEAT ?MAP|SALIENCY)\b"
     r"|\b((ENERGY|TEMPORAL) SUBTR\w*|AI (RESULTS?|OVERLAYS?|OUTPUTS?|FINDINGS?|MARK\w*))\b"
     r"|\b(LUNIT|Q ?XR|ANNALISE|OXIPIT|GLEAMER|MILVUE|VUNO|RIVERAIN)\b|骨抑制"),
    (Rendering.BONE,
     rf"(?<!FISH )(?<!CHICKEN )(?<!COLLAR )(?<!BREAST )\b(BONES?\b{_NOT_AN_IMAGE_OF_BONES}"
     r"|KNOCHEN(BILD\w*|AUFNAHME\w*)?\b)|骨部"),
    (Rendering.SOFT_TISSUE,
     r"\bSOFT( TISSUES?)?\b(?! COPY)|\bTISSUES?\b|\bWEICHTEIL\w*|\bTISSUS? MOUS?\b|軟部"),
)  # fmt: skip
"""Words in values 3 and later of the image type and in descriptions, in the order of the search.

A bone-suppressed image names bones and is none of them; nor is a film before a bone marrow
transplant. GE writes TISSUE and BONE as value 4.
"""

_REJECTED_KEYWORDS = ("ImageType", "SeriesDescription", "ImageComments")
_REJECTED_WORDS = re.compile(
    r"(?<!TX )(?<!TRANSPLANT )(?<!GRAFT )\bREJECT(ED|S)?\b"
    r"|\b(DO NOT (USE|READ|REPORT)|DON'?T USE|NOT FOR DIAGNOSIS|DISREGARD"
    r"|WRONG (PATIENT|PT|PERSON))\b"
)
"""What devices and technologists write of a film that must not be used. A transplant's rejection
is none."""

_JOINED = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
"""Where words begin that are written together: "DEBone", "SoftTissue"."""


def classify_rendering(header: Header) -> Rendering:
    """Return what was made of the exposure, by the image type and the words about the image."""
    image_type = _first_text(header, "ImageType").split("\\")
    texts = [" ".join(image_type[2:])]
    texts += [text for keyword in _RENDERING_KEYWORDS for text in read_texts(header, keyword)]
    words = [re.sub(r"[\W_]+", " ", to_capitals(_JOINED.sub(" ", text))) for text in texts]
    for rendering, pattern in RENDERING_WORDS:
        if any(re.search(pattern, text) for text in words):
            return rendering
    return Rendering.STANDARD


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance, by its header.

    Attributes:
        source: The caller's own id.
        sop_class: The SOP class UID.
        modality: (0008,0060), in capitals.
        chest: "yes", "no" or "unknown".
        position: "frontal", "lateral" or "unknown": by this header alone, until the choice of
            views weighs all films of the study together.
        film: What that weighs of this film; None where there is no header.
        species: Whether the patient is "human", "animal" or "unknown".
        age: What the header says of the patient's age.
        intent: Presentation intent type (0008,0068), in capitals, or "".
        rendering: What was made of the exposure.
        derived: Whether the image type begins with DERIVED.
        secondary: Whether the image type's second value is SECONDARY.
        frames: The number of frames.
        rows: The height in pixels; 0 where there is no image.
        columns: The width in pixels; 0 where there is no image.
        acquired: Date and time of the acquisition as one text that sorts, or "".
        exposed: Date and time of the acquisition to the second, as 14 digits, or "".
        event: The irradiation event UID (0008,3010), or "".
        made_from: SOP instance UIDs of the images that it was made from (0008,2112); those that a
            derived or secondary image references (0008,1140) are taken for them, too.
        number: The instance number.
        laterality: The side of a film of one side, "L" or "R" (0020,0062), or of its series
            (0020,0060); "" for both sides, and where nothing is said.
        burned_in: Whether (0028,0301) says that the pixels contain an annotation.
        rejected: Whether it is a quality control image (0028,0300), or words say that it must not
            be used.
        sop_instance_uid: The SOP instance UID.
        fault: A reason from elsewhere that rules the image out (its pixels are missing, cannot
            be read or show nothing), or None.
    """

    source: str
    sop_class: str
    modality: str
    chest: Classification
    position: Classification
    film: Film | None = None
    species: Classification = field(default_factory=lambda: Classification(HUMAN))
    age: Age = field(default_factory=Age)
    intent: str = ""
    rendering: Rendering = Rendering.STANDARD
    derived: bool = False
    secondary: bool = False
    frames: int = 1
    rows: int = 0
    columns: int = 0
    acquired: str = ""
    exposed: str = ""
    event: str = ""
    made_from: tuple[str, ...] = ()
    number: int = 0
    laterality: str = ""
    burned_in: bool = False
    rejected: bool = False
    sop_instance_uid: str = ""
    fault: Reason | None = None


def parse_instance(
    header: Header,
    source: str = "",
    fault: Reason | None = None,
    trust: Mapping[str, str] | None = None,
) -> Instance:
    """Return the instance that a header describes.

    Args:
        header: A Dataset from `model.dicom.pixels.read_header`, or a mapping.
        source: The caller's own id.
        fault: As `Instance.fault`.
        trust: As for `model.dicom.projection.read_film`.
    """
    film = read_film(header, trust)
    image_type = _first_text(header, "ImageType").upper().split("\\")
    derived, secondary = image_type[0] == "DERIVED", "SECONDARY" in image_type[1:2]
    return Instance(
        source=source,
        sop_class=_first_text(header, "SOPClassUID"),
        modality=_first_text(header, "Modality").upper(),
        chest=classify(BODY_PART_RULES, header),
        position=weigh_films([film])[0],
        film=film,
        species=classify_species(header),
        age=read_age(header),
        intent=_first_text(header, "PresentationIntentType").upper(),
        rendering=classify_rendering(header),
        derived=derived,
        secondary=secondary,
        frames=_integer(header, "NumberOfFrames", 1),
        rows=_integer(header, "Rows", 0),
        columns=_integer(header, "Columns", 0),
        acquired=_acquired(header),
        exposed=_exposed(header),
        event=_first_text(header, "IrradiationEventUID"),
        made_from=_read_sources(header, is_copy=derived or secondary),
        number=_integer(header, "InstanceNumber", 0),
        laterality=_laterality(header),
        burned_in=_first_text(header, "BurnedInAnnotation").upper() == "YES",
        rejected=_is_rejected(header),
        sop_instance_uid=_first_text(header, "SOPInstanceUID"),
        fault=fault,
    )


def _first_text(header: Header, keyword: str) -> str:
    return next(read_texts(header, keyword), "")


def _laterality(header: Header) -> str:
    said = _first_text(header, "ImageLaterality") or _first_text(header, "Laterality")
    return said.upper() if said.upper() in ("L", "R") else ""


def _integer(header: Header, keyword: str, default: int) -> int:
    try:
        return int(float(_first_text(header, keyword)))
    except (ValueError, OverflowError):
        return default


def _read_sources(header: Header, *, is_copy: bool) -> tuple[str, ...]:
    sequences = ("SourceImageSequence", *(["ReferencedImageSequence"] if is_copy else []))
    return tuple(
        uid
        for sequence in sequences
        for uid in read_texts(header, f"{sequence}.ReferencedSOPInstanceUID")
    )


def _is_rejected(header: Header) -> bool:
    if _first_text(header, "QualityControlImage").upper() == "YES":
        return True
    texts = (text for keyword in _REJECTED_KEYWORDS for text in read_texts(header, keyword))
    return any(_REJECTED_WORDS.search(to_capitals(text)) for text in texts)


def _acquired(header: Header) -> str:
    """Return acquisition, else content, series or study date and time: YYYYMMDDHHMMSS.ffffff."""
    date_time = _first_text(header, "AcquisitionDateTime")
    if date_time:
        return date_time
    for kind in ("Acquisition", "Content", "Series", "Study"):
        if day := _first_text(header, f"{kind}Date"):
            return day + _first_text(header, f"{kind}Time")
    return ""


def _exposed(header: Header) -> str:
    """Return the acquisition's date and time to the second; "" where either is not given."""
    both = _first_text(header, "AcquisitionDate") + _first_text(header, "AcquisitionTime")
    for text in (_first_text(header, "AcquisitionDateTime"), both):
        match = re.match(r"\d{14}", re.sub(r"[.:-]", "", text.split("+")[0]))
        # Midnight to the second is what senders write that have no time.
        if match and not match[0].endswith("000000"):
            return match[0]
    return ""

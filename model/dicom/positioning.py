"""Phrases that name a body part and do not say what the film shows: "PA ARMS UP", "HEAD FIRST".

Technologists write how the patient stood, lay or was protected beside what was taken. The words are
read in such a context before `model.dicom.evidence` looks for body parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrase:
    """A pattern of words in capitals, and what it says instead of a body part."""

    pattern: str
    meaning: str


_WHOSE = r"(?:(?:BOTH|LEFT|RIGHT|LT|RT|L|R|PT|PTS|THE|HIS|HER|WITH|W) )*"
_RAISED = (
    r"(?:UP|DOWN|RAISED|LOWERED|ELEVATED|OVER ?HEAD|(?:ABOVE|OVER|BEHIND) (?:THE )?(?:HEAD|BACK)"
    r"|(?:AT|BY|TO) (?:THE |HIS |HER )?SIDES?)"
)
_HELD = (
    rf"(?:{_RAISED}|UPWARDS?|DOWNWARDS?|ABOVE|OVER|BEHIND|CROSSED|FOLDED|ABDUCTED|ADDUCTED|EXTENDED"
    r"|STRAIGHT|FORWARDS?|BACK(?:WARDS?)?|OUT|IN FRONT|HANGING|OUT OF (?:THE )?WAY|IN (?:THE )?WAY)"
)

POSITIONING_PHRASES: tuple[Phrase, ...] = (
    Phrase(rf"{_WHOSE}(?:UPPER )?ARMS {_HELD}", "how the arms are held"),
    Phrase(rf"{_WHOSE}ARM (?:{_RAISED}|IN (?:A )?(?:SLING|CAST|SPLINT))", "how an arm is held"),
    Phrase(rf"(?:LIMITED|POOR|NO) {_WHOSE}ARM (?:MOVEMENT|MOTION|MOBILITY)", "how an arm is held"),
    Phrase(r"(?:UP|DOWN|RAISED|OVERHEAD|CROSSED) ARMS", "how the arms are held"),
    Phrase(rf"(?:UNABLE|NOT ABLE|FAILED) TO (?:RAISE|LIFT|MOVE) {_WHOSE}ARMS?",
           "how the arms are held"),
    Phrase(rf"(?:CANNOT|CAN ?T|COULD NOT|WILL NOT|WOULD NOT) (?:RAISE|LIFT|MOVE) {_WHOSE}ARMS?",
           "how the arms are held"),
    Phrase(r"(?:RAISE|LIFT|LOWER) (?:BOTH )?ARMS", "how the arms are held"),
    Phrase(r"ELBOWS (?:OUT|FORWARDS?|BENT|UP)", "how the arms are held"),
    Phrase(rf"{_WHOSE}HANDS? (?:ON|ONTO|AT|OVER|BEHIND|ABOVE|BY|UNDER) {_WHOSE}"
           r"(?:HIPS?|HEAD|NECK|SIDES?|WAIST|BACK|THIGHS?|SHOULDERS?|KNEES?|CHIN)",
           "how the hands are held"),
    Phrase(rf"{_WHOSE}HANDS {_HELD}", "how the hands are held"),
    Phrase(r"(?:ON )?(?:THE )?(?:LEFT|RIGHT|LT|RT) HAND SIDE", "a side of the picture"),
    Phrase(r"HAND ?(?:HELD|CARRIED|WRITTEN|OVER)", "not a body part"),
    Phrase(rf"{_WHOSE}SHOULDERS (?:{_HELD}|ROLLED(?: (?:FORWARDS?|IN|OUT))?|HUNCHED|RELAXED"
           r"|DEPRESSED|SHRUGGED|ROTATED)", "how the shoulders are held"),
    Phrase(r"(?:ROLL|ROLLED|DEPRESS|DEPRESSED|DROP|DROPPED) (?:THE )?SHOULDERS",
           "how the shoulders are held"),
    Phrase(r"SCAPULA[ES]? (?:OUT|OFF|CLEAR(?:ED)?|ROTATED)", "how the shoulders are held"),
    Phrase(rf"{_WHOSE}SHOULDER (?:UP|DOWN|RAISED|LOWERED|ROLLED)", "how a shoulder is held"),
    Phrase(r"CLAVICLES LEVEL", "how the shoulders are held"),
    Phrase(r"HEAD (?:FIRST|UP|DOWN|END|SIDE|NEUTRAL|RAISED|ELEVATED|TURNED(?: (?:TO )?(?:THE )?"
           r"(?:LEFT|RIGHT|LT|RT))?|OF (?:THE )?BED|HOLDER|REST|BOARD|(?:IN|OUT OF) (?:THE )?WAY)",
           "how the patient lies"),
    Phrase(r"HEAD TILT(?:ED)?|NECK (?:EXTENDED|FLEXED)", "how the head is held"),
    Phrase(r"HEAD (?:AT|RAISED|ELEVATED)(?: TO)? \d+", "how the patient lies"),
    Phrase(r"(?:FEET|FOOT) (?:FIRST|END|SIDE|OF (?:THE )?BED|REST|BOARD|PEDAL)",
           "how the patient lies"),
    Phrase(r"(?:\d+(?:\.\d+)?|SIX|TEN|FIVE|FOUR|THREE) ?(?:FEET|FOOT)", "a distance"),
    Phrase(r"(?:KNEES|LEGS) (?:UP|DOWN|BENT|CROSSED|ELEVATED|RAISED)", "how the patient lies"),
    Phrase(r"(?:CHIN|JAW) (?:UP|RAISED|LIFTED|OUT OF (?:THE )?WAY)|NECK (?:COLLAR|BRACE|TIE)",
           "how the head is held"),
    Phrase(r"NECK OF (?:THE )?(?:RIBS?|PANCREAS|GALLBLADDER|BLADDER)", "a part of another organ"),
    Phrase(r"(?:LEAD|GONAD(?:AL)?|APRON|SHIELD(?:ED|ING)?) (?:ON|OVER|FOR) (?:THE )?"
           r"(?:PELVIS|ABDOMEN|ABD|HIPS?|NECK)", "a shield"),
    Phrase(r"(?:PELVIS|PELVIC|ABDOMINAL|ABDOMEN|ABD|BREAST|NECK|THYROID) (?:LEAD )?"
           r"(?:SHIELD(?:ED|ING)?|APRON|BINDER|BELT)", "a shield"),
    Phrase(r"BREASTS? (?:SHADOWS?|IMPLANTS?|PROSTHES[EI]S|RAISED|UP|DISPLACED|MOVED|HELD)",
           "what lies over the lungs"),
    Phrase(r"PA (?:CATH(?:ETER)?|LINE)", "a catheter in the pulmonary artery"),
    Phrase(rf"(?:PICC|PORT)(?: LINE)? (?:IN )?{_WHOSE}ARM"
           rf"|{_WHOSE}ARM (?:PICC|PORT)(?: LINE)?(?: PLACEMENT)?", "a catheter in an arm's vein"),
    Phrase(r"(?:JUGULAR )?NECK LINE", "a catheter in a vein of the neck"),
    Phrase(r"SINUS (?:TACHY\w*|BRADY\w*|RHYTHM)", "a rhythm of the heart"),
    Phrase(r"DENTAL (?:CLEARANCE|ASPIRATION)|(?:HEAD AND NECK|H AND N|HEAD NECK) "
           r"(?:CA|CANCER|TUMOU?R)", "why the film was asked for"),
    Phrase(r"(?:SPINE|HIP) PRECAUTIONS?|SPINE BOARD|FINGER (?:PROBE|OX\w*)", "a device or care"),
    Phrase(r"(?:NO|INCL?|INCLUDES?|INCLUDING) (?:THE )?(?:UPPER )?(?:NECK|ABDOMEN|ABD)"
           r"|(?:UPPER )?(?:NECK|ABDOMEN|ABD) (?:NOT )?INCLUDED", "where the picture ends"),
    Phrase(r"RIBS (?:ABOVE|OVER|VISIBLE)(?: (?:THE )?DIAPHRAGM)?", "how deep the breath is"),
    Phrase(r"NASAL (?:CANNULA|PRONGS?|TUBE|OXYGEN|O2)", "a tube"),
    Phrase(r"(?:ABOVE|BELOW|OFF|CLEAR OF|FREE OF) (?:THE )?"
           r"(?:CLAVICLES?|SHOULDERS?|CHIN|JAW|ARMS?)",
           "where the picture ends"),
    Phrase(r"C ?ARM|ARM ?(?:REST|BAND|BOARD|SLING|HOLDER)|HEEL EFFECT|HEAD ?(?:PHONES?|SET)"
           r"|WRIST ?BAND|KNEE ?(?:REST|PAD)", "a device"),
)  # fmt: skip
"""What technologists write of positions, distances, shields and devices; data, not code.

"ARM" alone, "LEFT SHOULDER" and "HAND PA" are body parts and are not here.
"""

_PATTERN = re.compile("|".join(rf"\b(?:{p.pattern})\b" for p in POSITIONING_PHRASES))


def without_positioning(text: str) -> str:
    """Return a text in capitals without the phrases of POSITIONING_PHRASES.

    Every other character that is no letter, digit or dot separates words like a space.
    """
    words = " ".join(re.sub(r"[^\w.\\]+", " ", text).split())
    return _PATTERN.sub(" ", words)

"""Writes the report of a phantom in varied wording, and reads findings out of such reports.

Knows no pixels. `findings_of` reads text and nothing else, so that a draft is scored by what it
says, negations and wrong sides included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Wording:
    """How a site words its reports: for each thing to say, the sentences to choose from.

    {side}, {zone} and {size} stand for the place and the amount; capitalised, they begin a
    sentence.
    """

    heart_normal: tuple[str, ...]
    heart_large: tuple[str, ...]
    lungs_clear: tuple[str, ...]
    consolidation: tuple[str, ...]
    nodule: tuple[str, ...]
    effusion: tuple[str, ...]
    effusions: tuple[str, ...]
    pneumothorax: tuple[str, ...]
    pleura_clear: tuple[str, ...]
    no_effusion: tuple[str, ...]
    no_pneumothorax: tuple[str, ...]
    pacemaker: tuple[str, ...]
    bones: tuple[str, ...]
    impression_normal: tuple[str, ...]


USUAL = Wording(
    heart_normal=(
        "The heart is normal in size.",
        "Heart size is normal.",
        "The cardiac silhouette is within normal limits.",
    ),
    heart_large=(
        "The heart is enlarged.",
        "There is cardiomegaly.",
        "The cardiac silhouette is enlarged.",
    ),
    lungs_clear=(
        "The lungs are clear.",
        "No focal consolidation or nodule.",
        "The lungs are clear without consolidation.",
    ),
    consolidation=(
        "There is consolidation in the {side} {zone} zone.",
        "{Side} {zone} zone consolidation is present.",
        "Airspace opacity in the {side} {zone} zone is consistent with consolidation.",
    ),
    nodule=(
        "There is a nodule in the {side} lung.",
        "A {side} pulmonary nodule is seen.",
        "A rounded nodule projects over the {side} lung.",
    ),
    effusion=(
        "There is a {size} {side} pleural effusion.",
        "A {size} {side} pleural effusion is present.",
        "{Size} {side} pleural effusion with blunting of the costophrenic angle.",
    ),
    effusions=(
        "There are bilateral pleural effusions.",
        "Bilateral pleural effusions are present.",
    ),
    pneumothorax=(
        "There is a {size} {side} pneumothorax.",
        "A {size} {side} apical pneumothorax is present.",
    ),
    pleura_clear=(
        "No pleural effusion or pneumothorax.",
        "There is no pleural effusion and no pneumothorax.",
        "No pneumothorax or effusion is seen.",
    ),
    no_effusion=(
        "No pleural effusion.",
        "There is no effusion.",
    ),
    no_pneumothorax=(
        "No pneumothorax.",
        "There is no pneumothorax.",
    ),
    pacemaker=(
        "A left chest pacemaker is in place.",
        "A pacemaker projects over the left chest.",
        "Left sided pacemaker with lead over the heart.",
    ),
    bones=(
        "The bones are intact.",
        "No acute bony abnormality.",
        "",
    ),
    impression_normal=(
        "No acute cardiopulmonary abnormality.",
        "Normal chest.",
        "No acute disease.",
    ),
)
"""The phantoms' own department."""

ELSEWHERE = Wording(
    heart_normal=(
        "Cardiac shadow unremarkable.",
        "Normal cardiothoracic ratio.",
    ),
    heart_large=(
        "Cardiomegaly is noted.",
        "Enlarged cardiac shadow.",
    ),
    lungs_clear=(
        "Both lungs are well aerated.",
        "Lung fields unremarkable.",
    ),
    consolidation=(
        "{Side} {zone} lung field: consolidation.",
        "Patchy {side} {zone} consolidation noted.",
    ),
    nodule=("{Side} lung field: nodule noted.",),
    effusion=(
        "{Side} pleural space: {size} effusion.",
        "Blunted {side} angle, {size} effusion noted.",
    ),
    effusions=("Both pleural spaces: effusions noted.",),
    pneumothorax=("{Side} pleural space: {size} pneumothorax.",),
    pleura_clear=(
        "Pleural spaces unremarkable.",
        "Costophrenic angles are sharp.",
    ),
    no_effusion=("Costophrenic angles are sharp.",),
    no_pneumothorax=("Lungs fully expanded.",),
    pacemaker=(
        "Pacemaker noted, leads satisfactory.",
        "Device: pacemaker.",
    ),
    bones=(
        "Skeleton unremarkable.",
        "Bony cage normal for age.",
    ),
    impression_normal=(
        "Unremarkable study.",
        "Nothing focal.",
    ),
)
"""Another department's: it says the same in other words."""

INDICATIONS = (
    "Cough",
    "Shortness of breath",
    "Chest pain",
    "Fever",
    "Fever and cough for three days",
    "Pre-operative assessment",
    "Preoperative, hip replacement",
    "Follow-up",
    "Weight loss",
    "Dizziness",
    "Fall from standing height",
    "Smoker, annual check",
    "Positive tuberculin test",
    "Abdominal pain",
    "Night sweats",
    "Pruritic",
    "Before chemotherapy",
    "Routine examination",
    "Fatigue and malaise",
    "Wheezing, known asthma",
)


SUITED = {
    "cardiomegaly": ("Shortness of breath", "Dizziness", "Known heart failure"),
    "consolidation": ("Fever", "Fever and cough for three days", "Cough"),
    "effusion": ("Shortness of breath", "Fatigue and malaise", "Before drainage"),
    "nodule": ("Weight loss", "Smoker, annual check", "Night sweats"),
    "pacemaker": ("Dizziness", "After device implantation", "Follow-up"),
    "pneumothorax": ("Chest pain", "Fall from standing height", "Sudden breathlessness"),
}
"""Kind of finding -> what it may be asked for with; most of these are asked for without it too."""


def indication(
    rng: np.random.Generator, findings: frozenset[str] = frozenset(), tie: float = 0.0
) -> str:
    """Why the film was asked for; one in ten says nothing.

    tie: of those with findings, the share whose indication suits one of them; all others are by
    chance alone.
    """
    if rng.random() < 0.1:
        return ""
    if tie and findings and rng.random() < tie:
        kind = str(rng.choice(sorted(findings))).split("_")[0]
        return str(rng.choice(SUITED[kind]))
    return str(rng.choice(INDICATIONS))


def write(
    rng: np.random.Generator,
    findings: frozenset[str],
    sizes: dict[str, str],
    wording: Wording = USUAL,
) -> tuple[str, str]:
    """The findings section and the impression, saying just `findings`, worded by chance."""

    def one(of: tuple[str, ...], **blanks: str) -> str:
        words = {k.capitalize(): v.capitalize() for k, v in blanks.items()} | blanks
        return str(rng.choice(of)).format(**words)

    by_kind: dict[str, list[list[str]]] = {}
    for name in sorted(findings):
        kind, *where = name.split("_")
        by_kind.setdefault(kind, []).append(where)

    said = [one(wording.heart_large if "cardiomegaly" in by_kind else wording.heart_normal)]
    for side, zone in by_kind.get("consolidation", []):
        said.append(one(wording.consolidation, side=side, zone=zone))
    for (side,) in by_kind.get("nodule", []):
        said.append(one(wording.nodule, side=side))
    if not {"consolidation", "nodule"} & by_kind.keys():
        said.append(one(wording.lungs_clear))

    fluid = [side for (side,) in by_kind.get("effusion", [])]
    if len(fluid) == 2:
        said.append(one(wording.effusions))
    for side in fluid if len(fluid) == 1 else []:
        said.append(one(wording.effusion, side=side, size=sizes[f"effusion_{side}"]))
    air = [side for (side,) in by_kind.get("pneumothorax", [])]
    for side in air:
        said.append(one(wording.pneumothorax, side=side, size=sizes[f"pneumothorax_{side}"]))
    if not fluid:
        said.append(one(wording.no_effusion if air else wording.pleura_clear))
    elif not air:
        said.append(one(wording.no_pneumothorax))
    if "pacemaker" in by_kind:
        said.append(one(wording.pacemaker))
    said.append(one(wording.bones))

    short: list[str] = []
    if "cardiomegaly" in by_kind:
        short.append("Cardiomegaly.")
    for side, zone in by_kind.get("consolidation", []):
        short.append(f"{side.capitalize()} {zone} zone consolidation.")
    for (side,) in by_kind.get("nodule", []):
        short.append(f"{side.capitalize()} pulmonary nodule.")
    if len(fluid) == 2:
        short.append("Bilateral pleural effusions.")
    for side in fluid if len(fluid) == 1 else []:
        short.append(f"{side.capitalize()} pleural effusion.")
    for side in air:
        short.append(f"{side.capitalize()} pneumothorax.")
    if not short:
        short.append(one(wording.impression_normal))
    if "pacemaker" in by_kind:
        short.append("Pacemaker in place.")
    return " ".join(part for part in said if part), " ".join(short)


_MENTION = re.compile(
    r"(?P<effusion>\beffusions?\b)"
    r"|(?P<pneumothorax>\bpneumothora(?:x|ces)\b)"
    r"|(?P<consolidation>\bconsolidations?\b|\bairspace opacit(?:y|ies)\b)"
    r"|(?P<nodule>\bnodules?\b)"
    r"|(?P<pacemaker>\bpacemakers?\b)"
    r"|(?P<cardiomegaly>\bcardiomegaly\b|\b(?:heart|silhouette)\b[^.;]*?\benlarged\b"
    r"|\benlarged (?:heart|cardiac)\b)"
)
_SENTENCE = re.compile(r"[.;\n]+")
_CLAUSE = re.compile(r",?\s+\b(?:but|however|although)\b\s+")
_NEGATION = re.compile(r"\b(?:no|not|without|neither|nor|free of|negative for|absence of)\b")
_PLACE = re.compile(r"\b(?P<side>left|right|bilateral|both)\b(?:[ -]+(?P<zone>upper|lower)\b)?")
_SIDED = {"effusion", "pneumothorax", "nodule", "consolidation"}


def extract_findings(text: str) -> frozenset[str]:
    """The findings that a report says are there, by the names in `phantoms.FINDINGS`.

    A negation holds to the end of its clause. A side is looked for before the finding, then after
    it. A finding without its side (or, for consolidation, its zone) keeps the bare name, which is
    nobody's finding and counts as a false one.
    """
    found: set[str] = set()
    for sentence in _SENTENCE.split(text.lower()):
        for clause in _CLAUSE.split(sentence):
            found |= _read_clause(clause)
    return frozenset(found)


def _read_clause(clause: str) -> set[str]:
    negation = _NEGATION.search(clause)
    reach = negation.start() if negation else len(clause)
    mentions = list(_MENTION.finditer(clause))
    found: set[str] = set()
    for number, mention in enumerate(mentions):
        # "the heart is not enlarged" is a mention with its negation inside
        if mention.end() > reach:
            continue
        kind = str(mention.lastgroup)
        if kind not in _SIDED:
            found.add(kind)
            continue
        start = mentions[number - 1].end() if number else 0
        stop = mentions[number + 1].start() if number + 1 < len(mentions) else reach
        before = list(_PLACE.finditer(clause[start : mention.start()]))[-1:]
        after = list(_PLACE.finditer(clause[mention.end() : stop]))
        if number + 1 < len(mentions):
            after = after[:1]
        for place in before or after:
            for side in ("left", "right"):
                if place["side"] in (side, "bilateral", "both"):
                    zone = f"_{place['zone']}" if place["zone"] and kind == "consolidation" else ""
                    found.add(f"{kind}_{side}{zone}")
        if not before and not after:
            # "airspace opacity in the left lower zone is consistent with consolidation" has
            # told the place with its first mention already
            if any(name.startswith(kind) for name in found):
                continue
            found.add(kind)
    return found

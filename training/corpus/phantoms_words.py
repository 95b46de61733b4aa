"""Writes the report of a phantom in varied wording, and reads findings out of such reports.

Knows no pixels. `findings_of` reads text and nothing else, so that a draft is scored by what it
says, negations and wrong sides included.
"""

from __future__ import annotations

import re

import numpy as np

HEART_NORMAL = (
    "The heart is normal in size.",
    "Heart size is normal.",
    "The cardiac silhouette is within normal limits.",
)
HEART_LARGE = (
    "The heart is enlarged.",
    "There is cardiomegaly.",
    "The cardiac silhouette is enlarged.",
)
LUNGS_CLEAR = (
    "The lungs are clear.",
    "No focal consolidation or nodule.",
    "The lungs are clear without consolidation.",
)
CONSOLIDATION = (
    "There is consolidation in the {side} {zone} zone.",
    "{Side} {zone} zone consolidation is present.",
    "Airspace opacity in the {side} {zone} zone is consistent with consolidation.",
)
NODULE = (
    "There is a nodule in the {side} lung.",
    "A {side} pulmonary nodule is seen.",
    "A rounded nodule projects over the {side} lung.",
)
EFFUSION = (
    "There is a {size} {side} pleural effusion.",
    "A {size} {side} pleural effusion is present.",
    "{Size} {side} pleural effusion with blunting of the costophrenic angle.",
)
EFFUSIONS = (
    "There are bilateral pleural effusions.",
    "Bilateral pleural effusions are present.",
)
PNEUMOTHORAX = (
    "There is a {size} {side} pneumothorax.",
    "A {size} {side} apical pneumothorax is present.",
)
PLEURA_CLEAR = (
    "No pleural effusion or pneumothorax.",
    "There is no pleural effusion and no pneumothorax.",
    "No pneumothorax or effusion is seen.",
)
NO_EFFUSION = ("No pleural effusion.", "There is no effusion.")
NO_PNEUMOTHORAX = ("No pneumothorax.", "There is no pneumothorax.")
PACEMAKER = (
    "A left chest pacemaker is in place.",
    "A pacemaker projects over the left chest.",
    "Left sided pacemaker with lead over the heart.",
)
BONES = ("The bones are intact.", "No acute bony abnormality.", "")
IMPRESSION_NORMAL = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest.",
    "No acute disease.",
)

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


def indication(rng: np.random.Generator) -> str:
    """Why the film was asked for, by chance alone; one in ten says nothing."""
    return "" if rng.random() < 0.1 else str(rng.choice(INDICATIONS))


def write(
    rng: np.random.Generator, findings: frozenset[str], sizes: dict[str, str]
) -> tuple[str, str]:
    """The findings section and the impression, saying just `findings`, worded by chance."""

    def one(of: tuple[str, ...], **blanks: str) -> str:
        words = {k.capitalize(): v.capitalize() for k, v in blanks.items()} | blanks
        return str(rng.choice(of)).format(**words)

    by_kind: dict[str, list[list[str]]] = {}
    for name in sorted(findings):
        kind, *where = name.split("_")
        by_kind.setdefault(kind, []).append(where)

    said = [one(HEART_LARGE if "cardiomegaly" in by_kind else HEART_NORMAL)]
    for side, zone in by_kind.get("consolidation", []):
        said.append(one(CONSOLIDATION, side=side, zone=zone))
    for (side,) in by_kind.get("nodule", []):
        said.append(one(NODULE, side=side))
    if not {"consolidation", "nodule"} & by_kind.keys():
        said.append(one(LUNGS_CLEAR))

    fluid = [side for (side,) in by_kind.get("effusion", [])]
    if len(fluid) == 2:
        said.append(one(EFFUSIONS))
    for side in fluid if len(fluid) == 1 else []:
        said.append(one(EFFUSION, side=side, size=sizes[f"effusion_{side}"]))
    air = [side for (side,) in by_kind.get("pneumothorax", [])]
    for side in air:
        said.append(one(PNEUMOTHORAX, side=side, size=sizes[f"pneumothorax_{side}"]))
    if not fluid:
        said.append(one(NO_EFFUSION if air else PLEURA_CLEAR))
    elif not air:
        said.append(one(NO_PNEUMOTHORAX))
    if "pacemaker" in by_kind:
        said.append(one(PACEMAKER))
    said.append(one(BONES))

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
        short.append(one(IMPRESSION_NORMAL))
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


def findings_of(text: str) -> frozenset[str]:
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

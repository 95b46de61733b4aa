"""Writes the report of a phantom in varied wording, and extracts findings from such reports.

`extract_findings` reads nothing but the text. So a draft is scored by what it says, with its
negations and wrong sides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Wording:
    """The sentences that a site chooses from, for each thing that a report can say.

    {side}, {zone} and {size} stand for the location and the size; {Side} and {Size} begin a
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
"""The wording of the usual site."""

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
"""The wording of another site, which says the same in other words."""

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


SUITABLE_INDICATIONS = {
    "cardiomegaly": ("Shortness of breath", "Dizziness", "Known heart failure"),
    "consolidation": ("Fever", "Fever and cough for three days", "Cough"),
    "effusion": ("Shortness of breath", "Fatigue and malaise", "Before drainage"),
    "nodule": ("Weight loss", "Smoker, annual check", "Night sweats"),
    "pacemaker": ("Dizziness", "After device implantation", "Follow-up"),
    "pneumothorax": ("Chest pain", "Fall from standing height", "Sudden breathlessness"),
}
"""Kind of finding -> indications that suit it; most of them occur without it too."""


def draw_indication(
    rng: np.random.Generator,
    findings: frozenset[str] = frozenset(),
    suited_share: float = 0.0,
) -> str:
    """Draw the indication of a study; one in ten is empty.

    Args:
        rng: The source of chance.
        findings: The findings of the study.
        suited_share: Of studies with findings, the share whose indication suits one of them. All
            other indications are independent of the findings.
    """
    if rng.random() < 0.1:
        return ""
    if suited_share and findings and rng.random() < suited_share:
        kind = str(rng.choice(sorted(findings))).split("_")[0]
        return str(rng.choice(SUITABLE_INDICATIONS[kind]))
    return str(rng.choice(INDICATIONS))


def write_report(
    rng: np.random.Generator,
    findings: frozenset[str],
    sizes: dict[str, str],
    wording: Wording = USUAL,
) -> tuple[str, str]:
    """Write a report that says exactly these findings, in words chosen by chance.

    Args:
        rng: The source of chance.
        findings: The findings.
        sizes: Finding -> "small", "moderate" or "large", for effusions and pneumothoraces.
        wording: The sentences to choose from.

    Returns:
        The findings section and the impression.
    """

    def choose(templates: tuple[str, ...], **blanks: str) -> str:
        fields = {k.capitalize(): v.capitalize() for k, v in blanks.items()} | blanks
        return str(rng.choice(templates)).format(**fields)

    locations: dict[str, list[list[str]]] = {}
    for name in sorted(findings):
        kind, *location = name.split("_")
        locations.setdefault(kind, []).append(location)

    sentences = [
        choose(wording.heart_large if "cardiomegaly" in locations else wording.heart_normal)
    ]
    for side, zone in locations.get("consolidation", []):
        sentences.append(choose(wording.consolidation, side=side, zone=zone))
    for (side,) in locations.get("nodule", []):
        sentences.append(choose(wording.nodule, side=side))
    if not {"consolidation", "nodule"} & locations.keys():
        sentences.append(choose(wording.lungs_clear))

    effusions = [side for (side,) in locations.get("effusion", [])]
    if len(effusions) == 2:
        sentences.append(choose(wording.effusions))
    for side in effusions if len(effusions) == 1 else []:
        sentences.append(choose(wording.effusion, side=side, size=sizes[f"effusion_{side}"]))
    pneumothoraces = [side for (side,) in locations.get("pneumothorax", [])]
    for side in pneumothoraces:
        size = sizes[f"pneumothorax_{side}"]
        sentences.append(choose(wording.pneumothorax, side=side, size=size))
    if not effusions:
        sentences.append(choose(wording.no_effusion if pneumothoraces else wording.pleura_clear))
    elif not pneumothoraces:
        sentences.append(choose(wording.no_pneumothorax))
    if "pacemaker" in locations:
        sentences.append(choose(wording.pacemaker))
    sentences.append(choose(wording.bones))

    impression: list[str] = []
    if "cardiomegaly" in locations:
        impression.append("Cardiomegaly.")
    for side, zone in locations.get("consolidation", []):
        impression.append(f"{side.capitalize()} {zone} zone consolidation.")
    for (side,) in locations.get("nodule", []):
        impression.append(f"{side.capitalize()} pulmonary nodule.")
    if len(effusions) == 2:
        impression.append("Bilateral pleural effusions.")
    for side in effusions if len(effusions) == 1 else []:
        impression.append(f"{side.capitalize()} pleural effusion.")
    for side in pneumothoraces:
        impression.append(f"{side.capitalize()} pneumothorax.")
    if not impression:
        impression.append(choose(wording.impression_normal))
    if "pacemaker" in locations:
        impression.append("Pacemaker in place.")
    return " ".join(sentence for sentence in sentences if sentence), " ".join(impression)


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
_LOCATION = re.compile(r"\b(?P<side>left|right|bilateral|both)\b(?:[ -]+(?P<zone>upper|lower)\b)?")
_SIDED = {"effusion", "pneumothorax", "nodule", "consolidation"}


def extract_findings(text: str) -> frozenset[str]:
    """Return the findings that a report says are present, by the names in `phantoms.FINDINGS`.

    A negation holds to the end of its clause. A side is looked for before the finding, then after
    it. A finding without its side (or, for consolidation, its zone) keeps the bare name, which is
    no name in FINDINGS and so counts as a false finding.
    """
    findings: set[str] = set()
    for sentence in _SENTENCE.split(text.lower()):
        for clause in _CLAUSE.split(sentence):
            findings |= _read_clause(clause)
    return frozenset(findings)


def _read_clause(clause: str) -> set[str]:
    negation = _NEGATION.search(clause)
    end = negation.start() if negation else len(clause)
    mentions = list(_MENTION.finditer(clause))
    findings: set[str] = set()
    for number, mention in enumerate(mentions):
        # "the heart is not enlarged" is a mention with its negation inside.
        if mention.end() > end:
            continue
        kind = str(mention.lastgroup)
        if kind not in _SIDED:
            findings.add(kind)
            continue
        start = mentions[number - 1].end() if number else 0
        stop = mentions[number + 1].start() if number + 1 < len(mentions) else end
        before = list(_LOCATION.finditer(clause[start : mention.start()]))[-1:]
        after = list(_LOCATION.finditer(clause[mention.end() : stop]))
        if number + 1 < len(mentions):
            after = after[:1]
        for location in before or after:
            for side in ("left", "right"):
                if location["side"] in (side, "bilateral", "both"):
                    has_zone = location["zone"] and kind == "consolidation"
                    zone = f"_{location['zone']}" if has_zone else ""
                    findings.add(f"{kind}_{side}{zone}")
        if not before and not after:
            # "airspace opacity in the left lower zone is consistent with consolidation" mentions
            # the finding twice, and the first mention has the location already.
            if any(name.startswith(kind) for name in findings):
                continue
            findings.add(kind)
    return findings

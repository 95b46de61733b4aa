"""What the rule labeller looks for, as tables of regular expressions.

The observations and what counts for each of them follow the paper of CheXpert (Irvin et al., AAAI
2019, arXiv:1901.07031, section "Label extraction"); the phrases are our own. They are matched in
lower case; every phrase begins and ends at the edge of a word. `model.labels.rule_cues` has the
words around a phrase.
"""

from __future__ import annotations

from model.labels.base import (
    ATELECTASIS,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    ENLARGED_CARDIOMEDIASTINUM,
    FRACTURE,
    LUNG_LESION,
    LUNG_OPACITY,
    PLEURAL_EFFUSION,
    PLEURAL_OTHER,
    PNEUMONIA,
    PNEUMOTHORAX,
    SUPPORT_DEVICES,
)

MENTIONS: dict[str, tuple[str, ...]] = {
    CARDIOMEGALY: ("cardiomegaly", "cardiac enlargement", "enlargement of the heart"),
    ENLARGED_CARDIOMEDIASTINUM: (
        "mediastinal (?:widening|enlargement)",
        "(?:widening|enlargement) of the (?:cardio)?mediastin(?:um|al \\w+)",
    ),
    LUNG_OPACITY: (
        "opacit(?:y|ies)",
        "opacifications?",
        "infiltrat(?:es?|ions?)",
        "air[ -]?space (?:disease|process)",
        "reticul(?:ar|ation|onodular)(?: \\w+)?",
        "interstitial (?:markings?|patterns?|prominence|thickening|disease|changes?)",
        "interstitial lung disease",
        "peribronchial (?:thickening|cuffing)",
        "(?:increased|focal|patchy|streaky) (?:lung )?densit(?:y|ies)",
    ),
    LUNG_LESION: (
        "(?:nodul(?:es?|ar)|mass(?:es|-like)?)",
        "lesions?",
        "tumou?rs?",
        "neoplasms?",
        "malignancy",
        "carcinoma",
        "metasta(?:sis|ses|tic \\w+)",
        "cavit(?:y|ies|ation|ary)",
    ),
    EDEMA: (
        "o?edema",
        "(?:congestive )?(?:heart|cardiac) failure",
        "chf",
    ),
    CONSOLIDATION: ("consolidat(?:ions?|ive|ed)",),
    PNEUMONIA: ("(?:broncho)?pneumonias?", "infections?", "infectious (?:process|etiology)"),
    ATELECTASIS: ("atelecta(?:sis|ses|tic)", "(?:lobar|lung|lobe) collapse", "collapsed lung"),
    PNEUMOTHORAX: ("(?:hydro)?pneumothora(?:x|ces|xes)",),
    PLEURAL_EFFUSION: (
        "effusions?",
        "pleural (?:fluid|fluid collections?)",
        "(?:hydropneumo|hydro|haemo|hemo)thorax",
    ),
    PLEURAL_OTHER: (
        "pleural (?:thickening|fibrosis|scar(?:ring)?|plaques?|calcifications?)",
        "pleural[ -]?parenchymal (?:thickening|scar(?:ring)?)",
        "fibrothorax",
    ),
    FRACTURE: ("fractur(?:es?|ed)",),
    SUPPORT_DEVICES: (
        "pacemakers?",
        "pacers?",
        "defibrillators?",
        "a?icd",
        "picc",
        "tubes?",
        "catheters?",
        "(?:chest|pigtail|pleural|surgical) drains?",
        "(?:central|venous|picc|ij|jugular|subclavian|arterial|port|dialysis) lines?",
        "(?:port|port-a-cath|portacath|mediport|chemoport)",
        "(?:sternotomy|cerclage) (?:wires?|sutures?)",
        "(?:surgical|vascular|cholecystectomy) clips?",
        "(?:prosthetic|artificial|mechanical|bioprosthetic|replaced) (?:\\w+ )?valves?",
        "valve (?:replacement|prosthes[ei]s)",
        "prosthes[ei]s",
        "stents?",
        "leads",
        "hardware",
        "(?:support|monitoring|stimulator|assist) devices?",
        "cannulas?",
        "balloon pump",
    ),
}
"""Phrases that name an observation. Without a cue beside it, a mention means that it is present."""

VAGUE_MENTIONS: dict[str, tuple[str, ...]] = {
    EDEMA: (
        "(?:pulmonary |central |mild )?(?:vascular|venous|pulmonary) congestion",
        "vascular (?:prominence|indistinctness|redistribution)",
    ),
    PLEURAL_EFFUSION: (
        "blunt(?:ing|ed)(?: of)?(?: the)?(?: \\w+){0,3} (?:costophrenic|cp)(?: \\w+)?",
        "costophrenic (?:angles?|sulc(?:us|i)) (?:is|are)(?: \\w+)? blunt(?:ed)?",
        "costophrenic (?:angle )?blunting",
    ),
}
"""Phrases that may mean the observation. They are uncertain, or absent where they are negated."""

NOT_MENTIONS: dict[str, tuple[str, ...]] = {
    LUNG_LESION: (
        "mass effect",
        "(?:bone|bony|osseous|lytic|blastic|sclerotic|skeletal)(?: \\w+)? lesions?",
        "body mass",
    ),
    LUNG_OPACITY: ("(?:retained|metallic|radi?o?-?)(?: \\w+)? (?:opacit(?:y|ies))",),
    PLEURAL_EFFUSION: ("pericardial effusions?", "joint effusions?"),
    PNEUMONIA: (
        "history of (?:\\w+ )?(?:pneumonia|infection)",
        "(?:granulomatous|prior|previous|old|remote)(?: \\w+)? (?:infections?|pneumonias?)",
    ),
    EDEMA: ("soft tissue o?edema",),
    SUPPORT_DEVICES: ("bronchial tubes?", "support leads"),
}
"""Phrases that contain the words of a mention and mean something else."""

SUBJECTS: dict[str, tuple[str, ...]] = {
    CARDIOMEGALY: (
        "hearts?(?: size| silhouette| shadow| contour)?",
        "cardiac (?:silhouettes?|size|shadow|contours?)",
        "cardiac(?= and mediastinal)",
        "cardiopericardial silhouette",
    ),
    ENLARGED_CARDIOMEDIASTINUM: (
        "cardio-?mediastin(?:um|al(?: silhouettes?| contours?| structures?| size| shadow)?)",
        "mediastin(?:um|al(?: silhouettes?| contours?| structures?| size| shadow| width))",
    ),
}
"""Parts of the body that a report describes. The state that it gives them decides the label."""

# Where two phrases begin at the same word, the states are tried in this order.
STATES: dict[str, tuple[str, ...]] = {
    "absent": (
        "not (?:\\w+ ){0,2}(?:enlarged|widened|prominent|increased|large|big|globular)",
        "(?:no|without)(?: \\w+){0,3} (?:enlarge(?:ment|d)|widening|prominence)",
    ),
    "uncertain": (
        "borderline(?: \\w+){0,2}",
        "(?:at |at the )?upper limits? (?:of )?normal",
        "(?:top|high|upper) normal",
        "(?:at the )?upper limits",
        "(?:possibl[ey]|perhaps|may be|might be|questionabl[ey]) (?:\\w+ )?"
        "(?:enlarged|widened|large)",
    ),
    "unchanged": (
        "stable",
        "unchanged",
        "not (?:\\w+ )?changed",
        "no (?:\\w+ ){0,3}change",
        "similar to",
    ),
    "present": (
        "enlarge(?:d|ment)",
        "widen(?:ed|ing)",
        "prominen(?:t|ce)",
        "increased",
        "(?:is|are|appears|remains?) (?:(?!not )\\w+ )?(?:large|big|globular)",
        "(?:large|big|globular)(?= heart| cardiac)",
    ),
    "normal": ("(?:within )?normal", "unremarkable", "not remarkable", "clear"),
}
"""Phrases for each state of a subject. "normal" counts as absent, since nothing is enlarged.

"Unchanged" is no label: an enlarged heart that is stable is enlarged, and of a silhouette that is
only stable nobody can say from the report what size it has."""

OTHER_FINDINGS = (
    "emphysema(?:tous)?",
    "copd",
    "chronic obstructive(?: \\w+)?",
    "(?:hyperinflat|hyperexpan|overinflat|hyperaerat)\\w*",
    "granulomas?",
    "granulomatous(?: \\w+)?",
    "(?:calcifi|atherosclero|arteriosclero)\\w*",
    "(?:degenerative|arthritic|spondyl\\w*|osteophyt\\w*|arthropathy)(?: \\w+)?",
    "(?:scolio|kypho|dextroscolio|levoscolio)\\w*",
    "hernias?",
    "(?:scar|scars|scarring|fibro(?:sis|tic))",
    "(?:bull(?:a|ae|ous)|blebs?)",
    "bronchi(?:ectasis|tis|olitis)",
    "osteopeni\\w*",
    "(?:eventration|elevat(?:ed|ion))(?: of)?(?: the)?(?: \\w+)? (?:hemi)?diaphragm",
    "(?:tortuous|tortuosity|ectatic|ectasia|aneurysm\\w*|unfolded|uncoiled)",
    "pneumo(?:mediastinum|peritoneum)",
    "(?:compression|wedge|vertebral) deformit(?:y|ies)",
    "deformit(?:y|ies)",
    "volume loss",
    "low lung volumes",
    "(?:adeno|lymphadeno)pathy",
    "(?:hilar|pulmonary arter(?:y|ies)|aort\\w+) (?:enlargement|prominence)",
    "(?:enlarged|prominent|dilated) (?:\\w+ )?(?:hil(?:a|um|ar)|pulmonary arter(?:y|ies)|aorta)",
    "aspiration",
    "contusions?",
    "(?:hemorrhage|hematoma)",
)
"""Findings outside the fourteen. A report that has one of them is not labelled "No Finding"."""

"""The words around a mention for the rule labeller, as tables of regular expressions.

Which cues there are and which comes before which follow the paper of CheXpert (Irvin et al., AAAI
2019, arXiv:1901.07031, section "Label extraction"); the phrases are our own. They are matched in
lower case; every phrase begins and ends at the edge of a word.
"""

from __future__ import annotations

ABBREVIATIONS = {r"\bvs\.": "vs ", r"\br/o\b": "rule out", r"\bw/o\b": "without"}
"""Spelled out first, because a full stop ends a sentence and a slash means "or"."""

NO_CHANGE = (
    "(?:no|without)(?: evidence of| significant| interval| definite| appreciable| substantial|"
    " major| acute| relevant| further| apparent| radiographic| complete| disease)* (?:changes?|"
    "increase|decrease|improvement|worsening|progression|resolution|clearing)",
    "not (?:\\w+ ){0,2}(?:changed|increased|decreased|different)",
    "not (?:seen|present|identified|noted|visuali[sz]ed|evident) (?:on|in) (?:the |any )?(?:\\w+ )?"
    "(?:prior|previous|earlier|comparison)",
    "not only",
    "(?:no|without) doubt",
)
"""Phrases with a negation that negates only a change, not the finding."""

_RESOLVED = "(?:resolution|resolved?|clearing|clearance|cleared|removal|removed)"

NOT_RESOLVED = (
    "(?:partial(?:ly)?|near(?:ly)?|almost|incomplete(?:ly)?|mostly|largely)"
    f"(?:[- ]complete(?:ly)?)?(?: interval)? {_RESOLVED}",
    f"not (?:yet |been |\\w+ly ){{0,2}}{_RESOLVED}",
    "(?:(?<!due )(?<!secondary )to|until|for|ensur(?:e|ing)|(?:to|and) (?:document|confirm|verify|"
    f"assure))(?: complete| full| interval| radiographic){{0,2}} {_RESOLVED}",
    f"{_RESOLVED} (?:only )?(?:partially|incompletely|in part)",
)
"""Phrases that say that a finding has not resolved, or not completely."""

UNDECIDED_BEFORE = (
    "(?:cannot|can not|can't|could not|not|difficult to|unable to) (?:\\w+ ){0,2}"
    "(?:exclude|rule out)",
    "not (?:\\w+ )?exclud(?:e|ed|ing)",
    "no new(?: areas? of)?",
    "without new",
)
"""Before a mention: looks like a negation, but makes it uncertain. Checked before all others."""

QUESTIONED_BEFORE = (
    "rule out",
    "exclude",
    "(?:evaluat(?:e|ion|ing)|assess(?:ment|ing)?|look(?:ing)?) for"
    "(?! (?:\\w+ )?(?:changes?|stability|progression|resolution|improvement))",
)
"""Before a mention with no negation between the two: a question, so it is uncertain."""

UNDECIDED_AFTER = (
    "(?:cannot|can not|can't|could not|not|difficult to) (?:\\w+ ){0,3}(?:excluded?|ruled? out)",
    "(?:is|are|not|cannot be) (?:\\w+ )?(?:poorly|incompletely|well|fully|adequately) (?:evaluated|"
    "assessed|visuali[sz]ed|seen)",
    "less likely",
)
"""After a mention: makes it uncertain, checked before all others."""

NEGATED_BEFORE = (
    "no",
    "not",
    "nor",
    "neither",
    "without",
    "den(?:y|ies)",
    "negative for",
    "(?:free|clear|cleared) of",
    "clear (?:from|without)",
    "absen(?:ce of|t)",
    "lack of",
    "resolved",
    "(?:resolution|clearing|clearance|removal|disappearance) of(?: the)?",
    "(?:interval(?:ly)? )?removed",
    "rather than",
    "rule[sd] out",
    "exclud(?:es|ed)",
)
"""Before a mention, up to a barrier: it is absent."""

NEGATED_AFTER = (
    "(?:is|are|was|were|has|have|had) (?:been |\\w+ly |now |since ){0,2}(?:absent|resolved|cleared|"
    "removed|ruled out|excluded|gone|disappeared)",
    "(?:(?:is|are|was|were|has|have) )?(?:been )?(?:not|no longer) (?:\\w+ )?"
    "(?:seen|identified|noted|present|visuali[sz]ed|demonstrated|evident|appreciated|detected|"
    "apparent|shown|found|visible|observed|suspected)",
    "(?:absent|resolved|removed)",
    "[:-] ?(?:no|none|absent|negative|not)(?: (?:evidence|seen|identified|noted|present))?"
    "(?= ?(?:[.,;?!)]|$))",
)
"""After a mention, before another verb: it is absent."""

UNCERTAIN_BEFORE = (
    "may",
    "might",
    "could",
    "would",
    "can (?:be|represent|indicate)",
    "maybe",
    "possib(?:le|ly|ility of)",
    "probabl[ey]",
    "potential(?:ly)?",
    "presum(?:ed|ably)",
    "questionabl[ey]",
    "question(?:ing)?(?: of)?",
    "equivocal",
    "suspect(?:ed)?",
    "suspicious(?: for| of)",
    "suspicion (?:for|of)",
    "suggestion of",
    "concern(?:ing)?(?: for)?",
    "worrisome for",
    "consider(?:ation of)?",
    "differential(?: \\w+){0,3}",
    "favou?r(?:ed|s)?",
    "correlate (?:\\w+ )?for",
    "perhaps",
    "(?<!no )(?<!without )doubt(?:ful)?",
    "unlikely(?! (?:given|as|since|because))",
    "versus",
    "vs",
)
"""Before a mention, up to a barrier: it is uncertain. "Likely" and "consistent with" do not."""

UNCERTAIN_AFTER = (
    "(?:is|are|was|were) (?:\\w+ )?(?:possible|probable|suspected|questioned|questionable|"
    "considered)",
    "(?:may|might|could|can) (?:also )?be (?:present|considered|seen)",
    "(?:may|might|could) (?:also )?(?:have|appear)",
    "suspected",
    "versus",
    "vs",
)
"""After a mention, before another verb: it is uncertain."""

UNLIKELY_AFTER = (
    "(?:(?:is|are|was|were|felt|thought|considered|seems?|appears?) (?:\\w+ |to be ){0,2})?"
    "(?:unlikely(?! to (?:be(?! present)|represent|reflect|indicate))|doubtful(?! significance))",
)
"""After a mention, before another verb, another noun or a comma: it is uncertain."""

# A cue before a mention has no effect on what follows one of these.
BARRIERS = (
    "but",
    "however",
    "although",
    "though",
    "except(?: for)?",
    "aside from",
    "apart from",
    "other than",
    "besides",
    "whereas",
    "while",
    "yet",
    "there (?:is|are|was|has been)",
    "(?<!consistent )(?<!compatible )(?<!associated )(?<!keeping )with(?! (?:evidence|signs))",
    "(?:is|are|was|were) (?:again )?(?:seen|identified|noted|present|visuali[sz]ed|demonstrated|"
    "evident|appreciated|unchanged|stable)",
    "and the (?:heart|lungs?|cardiac|mediastin\\w+)",
)

# A new finding begins with one of these, unless the list before it goes on with "or".
RESTARTS = (
    "a|an|small|tiny|trace|minimal|mild|moderate|large|marked|severe|stable|unchanged|persistent|"
    "bibasilar|basilar|bilateral|left|right|interval|again|new|chronic|old|healed|patchy|hazy|streaky|"
    "diffuse|scattered|multiple|calcified|mildly|moderately|borderline|possible|probable|questionable|"
    "focal (?:left|right|bibasilar|basilar|bilateral|lingular|retrocardiac)"
)

# After one of these a comma does not begin a new finding: "No acute, large effusion".
QUALIFIERS = (
    "acute|displaced|definite|discrete|focal|large|new|obvious|significant|small|suspicious|visible"
)

_OBSERVED = (
    "(?:seen|identified|noted|visuali[sz]ed|demonstrated|evident|appreciated|detected|apparent|shown|"
    "found|visible|observed|suspected|suggested)"
)

PREDICATES = (
    # For most writers "no X, Y is seen" is a list and "no X, Y is seen in the left base" is not.
    f"(?:is|are|was|were)(?! (?:(?!again )\\w+ )?{_OBSERVED}(?: on (?:\\w+ ){{1,3}}"
    "(?:radiographs?|films?|views?|images?|study|exam(?:ination)?))?\\W*$)",
    "has|have|had|may|might|could|appears?|persists?|remains?",
    "noted(?!\\W*$)|again \\w+|suggests|represents|overlies|consistent|compatible",
    r"(?:unchanged|stable)\W*$",
)
"""Words that make the text between two commas a clause of its own."""

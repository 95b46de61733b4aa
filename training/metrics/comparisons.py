"""Finds sentences that compare with an earlier study, by a table of patterns.

A model that is trained on "unchanged from prior" without a prior report learns to invent one. A
pattern looks at words alone: "stable" of a patient's condition is taken for a comparison too.
`training.finetuning.targets` takes the comparing words out of what a model learns to write.
"""

from __future__ import annotations

import re

EXAMINATION = (
    r"(?:films?|exam\w*|stud(?:y|ies)|radiograph\w*|x-?rays?|images?|imaging|ct|cts|mri|scans?"
    r"|reports?|tomogra\w+|comparisons?)"
)
"""A word for an examination."""
_EARLIER = r"(?:prior|previous|preceding|earlier|last|most recent)"

PATTERNS: dict[str, str] = {
    "again": r"\b(again|redemonstrat\w+|re-demonstrat\w+)\b",
    "compared": r"\b(compar(ed|ison)(?!:)|relative to (the )?(prior|previous|earlier|last))\b",
    "the earlier film": rf"\b(prior|previous\w*|preceding|earlier|last)\s+(\w+\s+){{0,3}}?"
    rf"{EXAMINATION}\b",
    # "Consistent with prior granulomatous disease" is a finding and no comparison.
    "from, since": rf"\b(from|since|to|than)\s+(the\s+)?{_EARLIER}(?=\s*(?:[.,;)]|$|and\b|to\b))",
    "as before": r"\b(as before|previously (seen|noted|described|identified|demonstrated)"
    r"|(seen|noted|described|identified) previously)\b",
    # "changes" alone are findings: degenerative, emphysematous, postoperative.
    "change": r"\b(unchanged|(has|have|had|not) (\w+\s+)?changed)\b|"
    r"\b(no|any|without|interval|little)\s+(\w+\s+){0,2}changes?\b(?!\s+of\b)",
    "interval": r"(?<!short )(?<!short-)\binterval(ly)?\b(?! follow)",
    "stable": r"\b(stable|persistent|persists?|remain(s|ed)?|similar (in )?appear\w+"
    r"|similar (to|from) )\b",
    "course": r"\b(improv(ed|ing|ement)|worsen(ed|ing)?|progress(ed|ion|ive)|resol(ved|ving)|"
    r"resolution (of|since)|new(ly)?|"
    r"(increas|decreas)(ed|ing)\s+(in size\s+)?(since|from|compared))\b",
}
"""Name of a pattern -> regular expression on a lower-case sentence."""

_FINDINGS = re.compile(
    r"\b(?!interval|substantial|additional|radiographic)"
    r"(degenerative|chronic|acute|post-?\s?surgical|post-?\s?operative|\w+(?:tic|tous|ous|ive|al))"
    r"\s+(\w+\s+)?changes\b|\b(degenerative|chronic)\s+(\w+\s+)?change\b"
    # One side of the chest with the other.
    r"|\b(?:as )?compar(?:ed|ison) (?:to|with) (?:the )?(?:left|right|contralateral|other|opposite)"
    r"\b"
)
"""What looks like a comparison and is none, such as "no acute bony changes"."""
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS.values()))
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)")


def split_sentences(text: str) -> list[str]:
    """Return a report's sentences in order; joined by a space they are the report, spaces aside."""
    return [part for part in _SENTENCE.split(text.strip()) if part]


def compares_with_prior(sentence: str) -> bool:
    """Return whether a sentence compares with an earlier study."""
    return _ANY.search(_FINDINGS.sub(" ", sentence.lower())) is not None

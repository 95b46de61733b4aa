"""Finds sentences that compare with an earlier study, by a table of patterns.

A model that is trained on "unchanged from prior" without a prior report learns to invent one. A
pattern looks at words alone: "stable" of a patient's condition is taken for a comparison too. That
removes a sentence too many and never adds one.
"""

from __future__ import annotations

import re

PATTERNS: dict[str, str] = {
    "again": r"\b(again|redemonstrat\w+|re-demonstrat\w+)\b",
    "compared": r"\b(compar(ed|ison)|relative to (the )?(prior|previous|earlier|last))\b",
    "the earlier film": r"\b(prior|previous\w*|preceding|earlier|last)\s+"
    r"(\w+\s+){0,3}?(film|exam\w*|stud(y|ies)|radiograph\w*|x-?ray\w*|image\w*|imaging|ct|report)\b",
    "from, since": r"\b(from|since|to|with|than)\s+(the\s+)?(prior|previous|earlier|last)\b",
    "as before": r"\b(as before|previously (seen|noted|described|identified|demonstrated))\b",
    # "changes" alone are findings: degenerative, emphysematous, postoperative.
    "change": r"\b(unchanged|(has|have|had|not) (\w+\s+)?changed)\b|"
    r"\b(no|any|without|interval|little)\s+(\w+\s+){0,2}changes?\b(?!\s+of\b)",
    "interval": r"\binterval(ly)?\b",
    "stable": r"\b(stable|persistent|persists?|remain(s|ed|ing)?|similar (in )?appear\w+)\b",
    "course": r"\b(improv(ed|ing|ement)|worsen(ed|ing)?|progress(ed|ion|ive)|resol(ved|ving)|"
    r"resolution (of|since)|new(ly)?|"
    r"(increas|decreas)(ed|ing)\s+(in size\s+)?(since|from|compared))\b",
}
"""Name of a pattern -> regular expression on a lower-case sentence."""

_FINDINGS = re.compile(
    r"\b(?!interval|substantial|additional|radiographic)"
    r"(degenerative|chronic|acute|post-?\s?surgical|post-?\s?operative|\w+(?:tic|tous|ous|ive|al))"
    r"\s+(\w+\s+)?changes\b|\b(degenerative|chronic)\s+(\w+\s+)?change\b"
)
"""Changes that are findings and no comparison, such as "no acute bony changes"."""
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS.values()))
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)")


def split_sentences(text: str) -> list[str]:
    """Return a report's sentences in order; joined by a space they are the report, spaces aside."""
    return [part for part in _SENTENCE.split(text.strip()) if part]


def compares_with_prior(sentence: str) -> bool:
    """Return whether a sentence compares with an earlier study."""
    return _ANY.search(_FINDINGS.sub(" ", sentence.lower())) is not None


def remove_comparisons(text: str) -> str:
    """Return the report without its comparing sentences.

    A heading stays. Where nothing would be left, the report is returned unchanged.
    """
    remaining = []
    for sentence in split_sentences(text):
        if not compares_with_prior(sentence):
            remaining.append(sentence)
        elif heading := _HEADING.match(sentence):
            remaining.append(heading[1])
    shortened = " ".join(remaining)
    return shortened if _HEADING.sub("", shortened).strip(" .") else text


_HEADING = re.compile(r"(?i)((?:findings|impression):)\s*")

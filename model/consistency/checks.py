"""Runs all checks of a report's text."""

from __future__ import annotations

from model.consistency import observations, sides, wording
from model.consistency.flags import SECTIONS, Flag, ReportFacts
from model.consistency.sentences import divide_sections


def check_report(facts: ReportFacts) -> tuple[Flag, ...]:
    """Return the places of a report at which a reader should look.

    Returns:
        Each flag once: those about the whole text first, then by section and sentence.
    """
    sentences = divide_sections(facts)
    labels = observations.label_sentences(sentences)
    flags = {
        *observations.find_contradictions(sentences, labels),
        *observations.find_silence(facts, labels),
        *sides.find_side_faults(sentences, labels, facts.film_side),
        *(wording.find_comparisons(sentences) if not facts.has_prior else ()),
        *wording.find_figures(sentences, facts),
        *wording.find_sex_faults(sentences, facts.sex),
        *wording.find_age_faults(sentences, facts.age_years),
        *wording.find_blanks(sentences),
    }
    order = ("", *SECTIONS)
    return tuple(sorted(flags, key=lambda flag: (order.index(flag.section), flag)))

"""Asks a PACS which studies it has of some dates, as the walk of a campaign would; writes nothing.

Questions, the division of dates, and the time that the PACS is left alone are those of the walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from intake.archive.finder import Finder, SharedWalk
from intake.archive.listed import ListedStudy
from intake.archive.spans import Answer, Span, SpanWalk, walk_spans
from records.campaigns.pacs_query import PacsQuery


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What one question found, or several.

    Attributes:
        studies: each study of the dates is in one of all batches, unless it has no date.
        modality: that was asked for; "" is any.
        cut: the times up to now whose answers the PACS may have cut, in words.
        note: what may be left out up to now, for a person; "" where nothing is.
    """

    studies: Sequence[ListedStudy]
    modality: str
    cut: Sequence[str]
    note: str


def survey(finder: Finder, query: PacsQuery, cut_at: int = 0) -> Iterator[Surveyed]:
    """Ask until all is asked.

    Args:
        finder: asks the PACS.
        query: dates and modalities.
        cut_at: the length at which the PACS is known to cut; 0 is not known.

    Raises:
        PacsAway: the PACS does not answer, or refuses many questions in a row.
    """
    walk = SpanWalk(query, cut_at)
    modality = ""

    with closing(SharedWalk(finder.walk())) as questions:

        def ask(span: Span) -> Answer:
            nonlocal modality
            modality = span.modality
            return questions.ask(span)

        for studies in walk_spans(walk, ask):
            yield Surveyed(studies, modality, [str(span) for span in walk.cut], walk.note())

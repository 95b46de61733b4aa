"""Computes how far a final report from elsewhere is from the draft that was made of its study.

What one of the two says and the other does not is found in the same step (`worker.discrepancies`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.labels import Label, Labels
from model.prompting.report_sections import ReportSections
from records.database.session import unit_of_work
from records.errors import PartError, safe_text
from records.reports import discrepancies, finals, model_errors
from records.reports.discrepancies import FoundDiscrepancy
from records.states import DiscrepancySide
from records.telemetry import logger
from worker.discrepancies import find_discrepancies
from worker.text_labels import draft_sections, label_sections, pair_labels, report_sections

MOST_CHARACTERS = 8000
"""Characters of a section that are compared. Reports have some hundred."""
AT_ONCE = 50
"""Comparisons of one bell, so that studies do not wait to be prepared for a long list."""


def compare_finals(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Make the comparisons that wait, AT_ONCE at most.

    Returns:
        How many were made.
    """
    count = 0
    while count < AT_ONCE and not is_stopping():
        with unit_of_work() as session:
            claimed = finals.claim_comparison(session)
            if claimed is None:
                break
            comparison_id, draft, report = claimed
            distances: dict[str, Any]
            observations: dict[str, Any]
            found: list[FoundDiscrepancy]
            try:
                distances, labels = compare_texts(
                    draft_sections(draft.findings, draft.impression),
                    report_sections(report.findings, report.impression, report.text),
                )
                observations = pair_labels(*labels)
                found = find_discrepancies(*labels, draft.sentences, draft.finding_scores)
            except PartError:
                raise
            except Exception as error:  # a text from outside may hold anything
                distances, observations, found = {"error": safe_text(error)}, {}, []
            finals.keep_comparison(session, comparison_id, distances, observations)
            discrepancies.keep(session, comparison_id, found)
            if observations:
                said = [name for name, (_, says) in observations.items() if says == Label.PRESENT]
                model_errors.count(session, comparison_id, said, _errors(found))
        logger().info("a final was compared with a draft", study=str(draft.study_id))
        count += 1
    if count:
        with unit_of_work() as session:
            model_errors.fold(session)
    return count


def _errors(found: Sequence[FoundDiscrepancy]) -> list[str]:
    """The observations that the report alone says."""
    return [each.observation for each in found if each.side is DiscrepancySide.MISS_OF_MODEL]


def compare_texts(
    first: ReportSections, second: ReportSections
) -> tuple[dict[str, list[int]], tuple[Labels, Labels]]:
    """Compare two texts of one study.

    Returns:
        By section the characters to change and those of the longer text; the labels of both.
    """
    distances = {}
    for name in ("findings", "impression"):
        lines = [_one_line(getattr(sections, name)) for sections in (first, second)]
        distances[name] = [edit_distance(*lines), max(map(len, lines))]
    labels, others = label_sections([first, second])
    return distances, (labels, others)


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance: the characters to insert, delete or replace."""
    if not (first and second):
        return max(len(first), len(second))
    letters = np.array([ord(letter) for letter in second])
    places = np.arange(len(second) + 1)
    row = places.copy()  # distances of the first letters of `first` to each beginning of `second`
    for letter in first:
        replaced = row[:-1] + (letters != ord(letter))
        above = np.minimum(row[1:] + 1, replaced)
        # An insertion costs one more than the place before it.
        ends = np.concatenate(([row[0] + 1], above)) - places
        row = np.minimum.accumulate(ends) + places
    return int(row[-1])


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS]

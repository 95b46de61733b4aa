"""Computes how far a final report from elsewhere is from the draft that was made of its study.

What one of the two says and the other does not is found in the same step (`worker.discrepancies`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from model.labels import Label, Labels
from model.prompting.report_sections import ReportSections
from records.database.session import unit_of_work
from records.errors import PartError, safe_text
from records.reports import discrepancies, finals, model_errors
from records.reports.discrepancies import FoundDiscrepancy
from records.reviews.edit_distances import measure_section
from records.states import DiscrepancySide
from records.telemetry import logger
from worker.discrepancies import find_discrepancies
from worker.text_labels import draft_sections, label_sections, pair_labels, report_sections

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
        distances[name] = measure_section(getattr(first, name), getattr(second, name))
    labels, others = label_sections([first, second])
    return distances, (labels, others)

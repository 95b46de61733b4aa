"""Compares two drafts of one study by two bundles: by the 14 observations, and by words."""

from __future__ import annotations

from collections.abc import Callable

from model.labels import OBSERVATIONS, Label
from records.database.draft_tables import Draft
from records.database.session import unit_of_work
from records.errors import PartError, safe_text
from records.states import Agreement
from records.telemetry import logger
from records.workflow import draft_comparisons
from records.workflow.draft_comparisons import ComparedDrafts
from worker.final_comparisons import compare_texts
from worker.text_labels import draft_sections, pair_labels

AT_ONCE = 50
"""Comparisons of one bell, so that studies do not wait to be prepared for a long list."""


def compare_drafts(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Make comparisons that wait, AT_ONCE at most, in one transaction.

    Returns:
        How many were made.
    """
    if is_stopping():
        return 0
    with unit_of_work() as session:
        compared = [_compare(*claimed) for claimed in draft_comparisons.claim(session, AT_ONCE)]
        if not compared:
            return 0
        draft_comparisons.keep(session, compared)
    with unit_of_work() as session:
        draft_comparisons.fold(session)
    logger().info("drafts of two bundles were compared", count=len(compared))
    return len(compared)


def _compare(comparison_id: int, first: Draft, second: Draft) -> ComparedDrafts:
    try:
        distances, labels = compare_texts(
            draft_sections(first.findings, first.impression),
            draft_sections(second.findings, second.impression),
        )
    except PartError:
        raise
    except Exception as error:  # one pair must not keep the others from being compared
        logger().warning("two drafts could not be compared", error=safe_text(error))
        return ComparedDrafts(comparison_id, {}, {}, {})
    agreements = {
        name: agreement_of(*(each[name] is Label.PRESENT for each in labels))
        for name in OBSERVATIONS
    }
    return ComparedDrafts(comparison_id, pair_labels(*labels), distances, agreements)


def agreement_of(first: bool, second: bool) -> Agreement:
    """Which of two drafts says that an observation is present."""
    if first:
        return Agreement.BOTH if second else Agreement.FIRST
    return Agreement.SECOND if second else Agreement.NEITHER

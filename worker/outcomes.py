"""Completes the outcomes of drafts: what draft and signed text say of the 14 observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from records.database.session import unit_of_work
from records.errors import PartError, safe_text
from records.quality import outcomes
from records.quality.outcomes import ClaimedOutcome
from records.states import ReviewDecision
from records.telemetry import logger
from worker.text_labels import draft_sections, label_sections, names_it, pair_labels

AT_ONCE = 50
"""Outcomes of one bell, so that studies do not wait to be prepared for a long list."""


def complete_outcomes(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Complete the outcomes that wait, AT_ONCE at most.

    Returns:
        How many were completed.
    """
    if is_stopping():
        return 0
    with unit_of_work() as session:
        claimed = outcomes.claim(session, AT_ONCE)
        for each in claimed:
            labels = _label(each)
            says = None
            if labels is not None:
                says = {
                    name: (names_it(both[0]), names_it(both[1])) for name, both in labels.items()
                }
            outcomes.complete(session, each, labels, says)
    return len(claimed)


def _label(claimed: ClaimedOutcome) -> Mapping[str, list[str]] | None:
    """What both texts say; None where nothing was signed, or a text cannot be read."""
    draft, review = claimed.draft, claimed.review
    if review.decision != ReviewDecision.SIGNED:
        return None
    try:
        first, second = label_sections(
            draft_sections(text.findings, text.impression) for text in (draft, review)
        )
    except PartError:
        raise
    except Exception as error:  # a person may have written anything
        logger().warning(
            "a signed report could not be compared with its draft",
            study=str(draft.study_id),
            error=safe_text(error),
        )
        return None
    return pair_labels(first, second)

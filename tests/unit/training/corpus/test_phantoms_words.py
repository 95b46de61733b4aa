"""Findings read out of reports: what is said counts, and only that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.phantoms_words import extract_findings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", set()),
        ("There is a small left pleural effusion.", {"effusion_left"}),
        ("Effusion on the right.", {"effusion_right"}),
        ("No pleural effusion or pneumothorax.", set()),
        ("There is no effusion and no pneumothorax.", set()),
        ("Left effusion without pneumothorax.", {"effusion_left"}),
        ("No effusion, but a right pneumothorax is seen.", {"pneumothorax_right"}),
        ("No effusion; left pneumothorax.", {"pneumothorax_left"}),
        ("Bilateral pleural effusions.", {"effusion_left", "effusion_right"}),
        ("Left effusion and right pneumothorax.", {"effusion_left", "pneumothorax_right"}),
        ("The heart is enlarged.", {"cardiomegaly"}),
        ("The heart is not enlarged.", set()),
        ("No cardiomegaly.", set()),
        ("Heart size is normal.", set()),
        ("Airspace opacity in the left lower zone.", {"consolidation_left_lower"}),
        (
            "Airspace opacity in the left lower zone is consistent with consolidation.",
            {"consolidation_left_lower"},
        ),
        (
            "Consolidation in the right upper zone and left effusion.",
            {"consolidation_right_upper", "effusion_left"},
        ),
        ("A left chest pacemaker is in place.", {"pacemaker"}),
        ("NODULE IN THE RIGHT LUNG", {"nodule_right"}),
        # A side that is wrong, or missing, is a false finding and not forgiven.
        ("There is a pleural effusion.", {"effusion"}),
        ("Consolidation on the left.", {"consolidation_left"}),
        (
            "Findings: Left effusion. Impression: Right effusion.",
            {"effusion_left", "effusion_right"},
        ),
    ],
)
def test_reading(text: str, said: set[str]) -> None:
    assert extract_findings(text) == said


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    extract_findings(text)

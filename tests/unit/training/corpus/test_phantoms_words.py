"""Findings are extracted from literal sentences, and nothing else is read into a report.

The expected findings are written by hand; no sentence here comes from the code under test.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.phantoms import FINDINGS, SITES, phantom
from training.corpus.phantoms_words import extract_findings


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("", set()),
        ("There is a small left pleural effusion.", {"effusion_left"}),
        ("Effusion on the right.", {"effusion_right"}),
        ("Bilateral pleural effusions.", {"effusion_left", "effusion_right"}),
        ("Both pleural spaces: effusions noted.", {"effusion_left", "effusion_right"}),
        ("Blunted left angle, moderate effusion noted.", {"effusion_left"}),
        ("Left effusion and right pneumothorax.", {"effusion_left", "pneumothorax_right"}),
        ("A large right apical pneumothorax is present.", {"pneumothorax_right"}),
        ("Pneumothoraces on the left and right.", {"pneumothorax_left", "pneumothorax_right"}),
        ("The heart is enlarged.", {"cardiomegaly"}),
        ("Enlarged cardiac shadow.", {"cardiomegaly"}),
        ("The cardiac silhouette is enlarged.", {"cardiomegaly"}),
        ("Airspace opacity in the left lower zone.", {"consolidation_left_lower"}),
        (
            "Airspace opacity in the left lower zone is consistent with consolidation.",
            {"consolidation_left_lower"},
        ),
        ("Right upper lung field: consolidation.", {"consolidation_right_upper"}),
        (
            "Consolidation in the right upper zone and left effusion.",
            {"consolidation_right_upper", "effusion_left"},
        ),
        ("A rounded nodule projects over the left lung.", {"nodule_left"}),
        ("NODULE IN THE RIGHT LUNG", {"nodule_right"}),
        ("A left chest pacemaker is in place.", {"pacemaker"}),
        ("Device: pacemaker.", {"pacemaker"}),
        (
            "The heart is enlarged. A left pulmonary nodule is seen. No pleural effusion.",
            {"cardiomegaly", "nodule_left"},
        ),
        (
            "Findings: Left effusion. Impression: Right effusion.",
            {"effusion_left", "effusion_right"},
        ),
    ],
)
def test_a_finding_is_extracted_with_its_side(text: str, findings: set[str]) -> None:
    assert extract_findings(text) == findings


@pytest.mark.parametrize(
    "text",
    [
        "No pleural effusion or pneumothorax.",
        "There is no effusion and no pneumothorax.",
        "No focal consolidation or nodule.",
        "The lungs are clear without consolidation.",
        "The heart is not enlarged.",
        "No cardiomegaly.",
        "Neither effusion nor pneumothorax on the left.",
        "Negative for left pneumothorax.",
        "Absence of a right effusion.",
        "The lungs are free of nodules.",
    ],
)
def test_a_negated_finding_is_not_extracted(text: str) -> None:
    assert extract_findings(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "Heart size is normal.",
        "Both lungs are well aerated.",
        "Costophrenic angles are sharp.",
        "Normal cardiothoracic ratio.",
        "The bones are intact.",
        "No acute cardiopulmonary abnormality.",
    ],
)
def test_a_normal_sentence_has_no_finding(text: str) -> None:
    assert extract_findings(text) == set()


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Left effusion without pneumothorax.", {"effusion_left"}),
        ("No effusion, but a right pneumothorax is seen.", {"pneumothorax_right"}),
        ("No effusion; left pneumothorax.", {"pneumothorax_left"}),
        ("No nodule. The heart is enlarged.", {"cardiomegaly"}),
        ("No consolidation, however a left nodule is seen.", {"nodule_left"}),
    ],
)
def test_a_negation_ends_with_its_clause(text: str, findings: set[str]) -> None:
    assert extract_findings(text) == findings


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("There is a pleural effusion.", {"effusion"}),
        ("Consolidation on the left.", {"consolidation_left"}),
        ("There is consolidation.", {"consolidation"}),
    ],
)
def test_a_missing_side_or_zone_is_a_false_finding(text: str, findings: set[str]) -> None:
    assert extract_findings(text) == findings
    assert not findings & set(FINDINGS)


@pytest.mark.parametrize("site", sorted(SITES))
def test_every_section_of_a_report_says_the_findings_that_were_drawn(site: str) -> None:
    """`extract_findings` is checked by hand above, so it can check the generated reports."""
    for seed in range(300):
        study = phantom(seed, SITES[site])
        assert extract_findings(study.findings_text) == study.findings
        assert {n.split("_")[0] for n in extract_findings(study.impression)} == {
            n.split("_")[0] for n in study.findings
        }


@given(st.text(alphabet="aeiou .,;\n"))
def test_text_without_a_finding_word_has_no_finding(text: str) -> None:
    assert extract_findings(text) == set()

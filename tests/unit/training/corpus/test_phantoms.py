"""Phantoms: seeded, endless, and each finding where it belongs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.corpus.phantoms import (
    FINDINGS,
    HELD_OUT,
    HIDING_PAIRS,
    LATERAL_SIGNS,
    Phantom,
    frontal_signs,
    lateral_signs,
    phantom,
)
from training.corpus.phantoms_words import extract_findings

IMAGE_LEFT, IMAGE_RIGHT = slice(14, 40), slice(72, 98)


def first_with(*findings: str, start: int = 0) -> Phantom:
    wanted = frozenset(findings)
    return next(p for p in map(phantom, range(start, start + 50_000)) if p.findings == wanted)


def test_a_seed_always_gives_the_same_phantom() -> None:
    for seed in (0, 7, HELD_OUT):
        first, second = phantom(seed), phantom(seed)
        assert first == second
        for position in first.positions:
            assert np.array_equal(first.render(position, 112), second.render(position, 112))
    assert phantom(1).report != phantom(2).report
    # The words of one seed, so that a change of the generator does not go unnoticed.
    assert phantom(3).report == (
        "Findings: The heart is normal in size. The lungs are clear without consolidation. "
        "No pneumothorax or effusion is seen. No acute bony abnormality. "
        "Impression: No acute cardiopulmonary abnormality."
    )


def test_images_are_square_grey_and_alike_at_every_size() -> None:
    effusion = first_with("effusion_left")
    small, large = effusion.render("frontal", 112), effusion.render("frontal", 448)
    assert small.shape == (112, 112)
    assert small.dtype == np.uint8
    shrunk = large.reshape(112, 4, 112, 4).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 6


@pytest.mark.parametrize(
    ("side", "affected", "healthy"),
    [("right", IMAGE_LEFT, IMAGE_RIGHT), ("left", IMAGE_RIGHT, IMAGE_LEFT)],
)
def test_the_patients_right_is_on_the_images_left(
    side: str, affected: slice, healthy: slice
) -> None:
    base = slice(68, 80)
    for start in range(0, 8000, 1000):
        image = first_with(f"effusion_{side}", start=start).render("frontal", 112).astype(float)
        assert image[base, affected].mean() > image[base, healthy].mean() + 8


def test_every_finding_occurs_and_none_hides_another() -> None:
    counts: Counter[str] = Counter()
    normal = 0
    for seed in range(3000):
        case = phantom(seed)
        counts.update(case.findings)
        normal += not case.findings
        assert not any(pair <= case.findings for pair in HIDING_PAIRS)
        assert len(case.findings) <= 3
    assert set(counts) == set(FINDINGS)
    assert min(counts.values()) > 150
    assert 600 < normal < 900


def test_the_report_says_just_the_findings_in_each_section() -> None:
    for seed in range(1500):
        case = phantom(seed)
        assert extract_findings(case.findings_text) == case.findings, case.report
        assert extract_findings(case.impression) == case.findings, case.report


@pytest.mark.slow
def test_the_indication_is_independent_of_the_findings() -> None:
    """Each indication is as common among studies with findings as among normal ones."""
    phantoms = [phantom(seed) for seed in range(6000)]
    for finding in ("cardiomegaly", "effusion_left", "pneumothorax_right"):
        share = np.mean([finding in p.findings for p in phantoms])
        for indication in {p.indication for p in phantoms}:
            group = [finding in p.findings for p in phantoms if p.indication == indication]
            spread = np.sqrt(share * (1 - share) / len(group))
            assert abs(np.mean(group) - share) < 4.5 * spread
    assert all(extract_findings(p.indication) == frozenset() for p in phantoms)


def test_signs_of_a_view() -> None:
    findings = frozenset({"effusion_left", "pneumothorax_right"})
    assert {n for n, s in zip(FINDINGS, frontal_signs(findings), strict=True) if s} == findings
    signs = {n for n, s in zip(LATERAL_SIGNS, lateral_signs(findings), strict=True) if s}
    assert signs == {"effusion"}


def test_a_case_has_its_views_in_order() -> None:
    two_views = next(p for p in map(phantom, range(50)) if p.lateral)
    case = two_views.case(56)
    assert [v.position for v in case.views] == ["frontal", "lateral"]
    assert case.priors.indication == two_views.indication
    assert all(v.pixels.shape == (56, 56) for v in case.views)


def test_what_is_no_phantom() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        phantom(-1)
    with pytest.raises(ValueError, match="no oblique view"):
        phantom(1).render("oblique", 56)

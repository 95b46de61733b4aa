"""Films that were judged wrongly once, read as the preparing worker reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from model.dicom.pixels import read_header
from model.manifest import NULL
from records.settings import read_settings
from records.states import HoldReason
from worker.case_builder import BuiltCase, NeedsDecision, StoredImage, Unsuitable, build_case


def build_sample(samples: Path, name: str):
    """What becomes of the study of a sample case."""
    images = []
    for path in sorted((samples / "cases" / name).glob("*.dcm")):
        header = read_header(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append(StoredImage(header.SOPInstanceUID, header.SOPClassUID, path, sha256))
    return build_case(images, [], NULL, set(), read_settings())


def test_arms_up_is_a_chest_film(samples: Path) -> None:
    result = build_sample(samples, "word_arms")
    assert isinstance(result, BuiltCase)
    assert [view.position for view in result.case.views] == ["frontal"]


def test_chinese_text_reaches_the_prompt_without_escape_codes(samples: Path) -> None:
    result = build_sample(samples, "chinese_ir58")
    assert isinstance(result, BuiltCase)
    assert result.case.priors.indication == "咳嗽发热"


def test_contradicting_ages_are_held_without_the_birth_date(samples: Path) -> None:
    result = build_sample(samples, "age_contradiction")
    assert isinstance(result, NeedsDecision)
    assert result.reason is HoldReason.AGE_UNKNOWN
    assert "PatientAge says 45 years" in result.sentence
    assert "the birth date against the study date says 2 years" in result.sentence
    assert "2024" not in result.sentence


def test_a_birth_date_is_held_against_every_date_of_the_examination(samples: Path) -> None:
    result = build_sample(samples, "age_without_studydate")
    assert isinstance(result, Unsuitable)
    assert result.reason == "too_young"


def test_a_horse_is_not_drafted(samples: Path) -> None:
    result = build_sample(samples, "animal_species")
    assert isinstance(result, Unsuitable)
    assert result.reason == "not_human"


def test_a_dual_energy_exposure_is_read_once_from_its_standard_film(samples: Path) -> None:
    result = build_sample(samples, "dual_energy")
    assert isinstance(result, BuiltCase)
    (view,) = result.case.views
    standard = read_header(samples / "cases/dual_energy/1.dcm")
    assert (view.source, view.position) == (standard.SOPInstanceUID, "frontal")
    assert sorted(left["reason"] for left in result.provenance["left_out"]) == [
        "bone_image",
        "soft_tissue_image",
    ]

"""Films that were judged wrongly once, read as the preparing worker reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from model.dicom.pixels import read_header
from model.manifest import NULL
from records.settings import read_settings
from worker.case_builder import BuiltCase, StoredImage, build_case


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

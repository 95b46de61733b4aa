"""Phantoms: the same for a seed, drawn as told, written as drawn, and no hint in the indication."""

import numpy as np
import pytest

from model.pixels import view_pixels
from training.corpus.phantoms import FINDINGS, phantom
from training.corpus.phantoms_dicom import phantom_dicom, write_phantoms
from training.corpus.phantoms_words import findings_of

SEEDS = range(300)


def test_a_seed_is_one_phantom():
    assert phantom(7) == phantom(7)
    one, again = phantom(7).case(64), phantom(7).case(64)
    assert all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(one.views, again.views, strict=True)
    )


def test_no_phantom_has_a_negative_seed():
    with pytest.raises(ValueError, match="seed"):
        phantom(-1)


def test_reports_say_just_what_is_drawn():
    for seed in SEEDS:
        one = phantom(seed)
        assert findings_of(one.report) == one.findings, one.report


def test_every_finding_and_the_normal_film_occur():
    drawn = [phantom(seed).findings for seed in SEEDS]
    assert frozenset().union(*drawn) == frozenset(FINDINGS)
    assert frozenset() in drawn


def test_some_studies_have_one_view_and_some_two():
    assert {len(phantom(seed).case(32).views) for seed in range(30)} == {1, 2}


def test_the_indication_names_no_finding():
    for seed in SEEDS:
        assert findings_of(phantom(seed).indication) == frozenset()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("No pleural effusion. No pneumothorax.", set()),
        ("There is a small left pleural effusion.", {"effusion_left"}),
        ("Bilateral pleural effusions.", {"effusion_left", "effusion_right"}),
        ("Cardiomegaly, but no effusion.", {"cardiomegaly"}),
    ],
)
def test_reading_findings_out_of_words(text: str, found: set[str]):
    assert findings_of(text) == found


def test_dicom_phantoms_can_never_be_taken_for_patients():
    for seed in range(12):
        films = phantom_dicom(phantom(seed), size=64)
        assert len({film.StudyInstanceUID for film in films}) == 1
        for film in films:
            assert str(film.PatientName).startswith("PHANTOM")
            assert film.file_meta.MediaStorageSOPInstanceUID == film.SOPInstanceUID


def test_a_film_looks_alike_drawn_and_through_dicom(tmp_path):
    for folder in write_phantoms(tmp_path, range(6), size=256):
        del folder
    for seed in range(6):
        drawn = phantom(seed).case(112).views[0].pixels.astype(float)
        film = sorted((tmp_path / str(seed)).glob("*.dcm"))[0]
        shown = view_pixels(film, 112).astype(float)
        assert np.corrcoef(drawn.ravel(), shown.ravel())[0, 1] > 0.9

import pytest

from intake.dicom.limits import (
    ANSWERS,
    CAPTURE_CLASS,
    SENTENCES,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    Why,
    is_film,
    uid_is_sound,
    why_no_film,
)

CR = "1.2.840.10008.5.1.4.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.2", "1" * 64, "1.02.3"])
def test_sound_uids(uid):
    assert uid_is_sound(uid)


@pytest.mark.parametrize("uid", ["", "1" * 65, "../ESCAPED", "1.2\n", "1.2.x", "1 2", "1/2", "１"])
def test_unsound_uids(uid):
    assert not uid_is_sound(uid)


@pytest.mark.parametrize(
    ("sop_class", "modality", "film"),
    [
        (CR, "CR", True),
        (CR, "", True),
        (CAPTURE_CLASS, "DX", True),
        (CAPTURE_CLASS, "rg ", True),
        (CAPTURE_CLASS, "OT", False),
        (CAPTURE_CLASS, "", False),
        (CT, "CR", False),
        ("1.2.276.0.99", "CR", False),
    ],
)
def test_what_a_film_is(sop_class, modality, film):
    assert is_film(sop_class, modality) is film
    assert bool(why_no_film(sop_class, modality)) is not film


def test_nothing_deflated_and_nothing_without_a_patient_is_negotiated():
    assert not {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"} & set(TRANSFER_SYNTAXES)
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"} < set(
        TRANSFER_SYNTAXES
    )
    assert CR in STORAGE_CLASSES
    assert "1.2.840.10008.5.1.4.38.1" not in STORAGE_CLASSES  # Hanging Protocol
    assert len(set(STORAGE_CLASSES)) == len(STORAGE_CLASSES)


def test_each_refusal_has_an_answer_or_a_sentence():
    assert set(ANSWERS) | set(SENTENCES) == set(Why)
    # (0000,0902) is LO: a longer comment would break the response.
    assert all(len(answer.sentence) <= 64 for answer in ANSWERS.values())

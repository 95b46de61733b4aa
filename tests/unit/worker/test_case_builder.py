"""Films on disk -> what the model reads, without a database."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from model.errors import PixelError
from model.manifest import NULL
from records.errors import PartError
from records.settings import read_settings
from records.states import HoldReason
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom
from worker import case_builder
from worker.case_builder import (
    BuiltCase,
    MissingFile,
    NeedsDecision,
    StoredImage,
    Unreadable,
    Unsuitable,
    build_case,
)


@pytest.fixture
def study(tmp_path: Path):
    """A phantom with a frontal and a lateral film, and how to write it."""
    both = next(made for s in range(1, 50) if len(made := phantom_dicom(phantom(s), size=64)) == 2)

    def write():
        kept = []
        for film in both:
            path = tmp_path / f"{film.SOPInstanceUID}.dcm"
            film.save_as(path, enforce_file_format=True)
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            kept.append(StoredImage(film.SOPInstanceUID, film.SOPClassUID, path, sha))
        return kept

    return both, write


def look(kept, others=(), answered=frozenset(), **knobs):
    return build_case(kept, list(others), NULL, set(answered), read_settings(**knobs))


def test_the_same_films_in_any_order_give_the_same_digest(study):
    _, write = study
    kept = write()
    one, other = look(kept), look(kept[::-1])
    assert isinstance(one, BuiltCase)
    assert isinstance(other, BuiltCase)
    assert one.digest == other.digest == one.case.key
    assert [view.position for view in one.case.views] == ["frontal", "lateral"]


def test_another_prior_is_another_digest(study):
    (frontal, lateral), write = study
    first = look(write())
    for film in (frontal, lateral):
        film.RequestAttributesSequence[0].ReasonForTheRequestedProcedure = "Fever."
    second = look(write())
    assert second.case.priors.indication == "Fever."
    assert second.provenance["indication_source"] == "request_reason"
    assert first.digest != second.digest


def test_a_doubtful_indication_is_said_on_the_draft(study):
    both, write = study
    for film in both:
        del film.RequestAttributesSequence
        film.AdditionalPatientHistory = "Smoker."
    assert "The indication is taken from the history." in look(write()).provenance["notes"]
    for film in both:
        film.ReasonForTheRequestedProcedure = "x" * 64
    assert (
        "The indication may be cut short: it fills its field." in look(write()).provenance["notes"]
    )


def test_no_age_is_drafted_held_or_skipped_as_the_site_wants(study):
    both, write = study
    for film in both:
        del film.PatientBirthDate
    kept = write()
    assert "Patient's age unknown." in look(kept).provenance["notes"]
    held = look(kept, unknown_age="hold")
    assert isinstance(held, NeedsDecision)
    assert held.reason is HoldReason.AGE_UNKNOWN
    assert isinstance(look(kept, unknown_age="skip"), Unsuitable)
    assert isinstance(look(kept, [], {HoldReason.AGE_UNKNOWN}, unknown_age="hold"), BuiltCase)


def test_a_child_is_not_for_this_model(study):
    both, write = study
    for film in both:
        film.PatientAge = "004Y"
    found = look(write())
    assert isinstance(found, Unsuitable)
    assert found.reason == "too_young"


def test_a_file_that_is_no_film_is_named_beside_one_that_is(study):
    _, write = study
    kept = write()
    kept[1].path.write_bytes(b"not DICOM at all")
    found = look(kept)
    assert isinstance(found, BuiltCase)
    (left,) = found.provenance["left_out"]
    assert left["sop_instance_uid"] == kept[1].sop_instance_uid
    assert left["sentence"] != "Its pixels could not be read."  # the reader's own words say more
    kept[0].path.write_bytes(b"nor this")
    assert isinstance(look(kept), Unreadable)


def test_a_header_without_pixels_is_no_film_and_nothing_is_damaged(study):
    both, write = study
    del both[1].PixelData
    kept = write()
    found = look(kept)
    assert isinstance(found, BuiltCase)
    assert [left["reason"] for left in found.provenance["left_out"]] == ["no_pixels"]
    assert "A film of the study came without its pixels." in found.provenance["notes"]
    del both[0].PixelData
    frontal, lateral = write()
    alone = look([frontal])
    assert isinstance(alone, Unsuitable)
    assert alone.reason == "no_pixels"
    neither = look([frontal, lateral])
    assert neither.reason == "needed_view_missing"
    assert "without its pixels" in neither.sentence


def test_a_needed_film_that_is_damaged_is_no_study_for_another_model(study):
    _, write = study
    frontal, lateral = write()
    frontal.path.write_bytes(frontal.path.read_bytes()[:-2000])
    assert isinstance(look([frontal, lateral]), Unreadable)


def test_the_disks_errors_are_not_the_films(study, monkeypatch):
    _, write = study
    kept = write()

    def broken(*_):
        raise PixelError("cannot be read") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(case_builder, "view_pixels", broken)
    with pytest.raises(PartError, match="Input/output error"):
        look(kept)
    kept[0].path.unlink()
    with pytest.raises(MissingFile):
        look(kept)

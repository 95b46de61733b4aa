"""From files on disk to what the model reads, without a database."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from model.dicom.image_process import ImageProcess
from model.dicom.pixels import NO_VOI
from model.errors import DecoderUnavailable, PixelError
from model.manifest import NULL
from records.errors import PartError
from records.settings import read_settings
from records.states import HoldReason
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom
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
    """The frontal and the lateral image of a phantom, and a function that writes them."""
    headers = next(
        datasets
        for seed in range(1, 50)
        if len(datasets := phantom_dicom(phantom(seed), size=64)) == 2
    )

    def write():
        images = []
        for dataset in headers:
            path = tmp_path / f"{dataset.SOPInstanceUID}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            images.append(StoredImage(dataset.SOPInstanceUID, dataset.SOPClassUID, path, sha256))
        return images

    return headers, write


def build(images, excluded=(), approved=frozenset(), **chosen):
    return build_case(images, list(excluded), NULL, set(approved), read_settings(**chosen))


def test_the_same_images_in_any_order_give_the_same_digest(study):
    _, write = study
    images = write()
    result, reversed_result = build(images), build(images[::-1])
    assert isinstance(result, BuiltCase)
    assert isinstance(reversed_result, BuiltCase)
    assert result.digest == reversed_result.digest == result.case.key
    assert [view.position for view in result.case.views] == ["frontal", "lateral"]


def test_another_prior_is_another_digest(study):
    (frontal, lateral), write = study
    first = build(write())
    for dataset in (frontal, lateral):
        dataset.RequestAttributesSequence[0].ReasonForTheRequestedProcedure = "Fever."
    second = build(write())
    assert second.case.priors.indication == "Fever."
    assert second.provenance["indication_source"] == "request_reason"
    assert first.digest != second.digest


def test_a_doubtful_indication_is_noted_on_the_draft(study):
    datasets, write = study
    for dataset in datasets:
        del dataset.RequestAttributesSequence
        dataset.AdditionalPatientHistory = "Smoker."
    assert "The indication is taken from the history." in build(write()).provenance["notes"]
    for dataset in datasets:
        dataset.ReasonForTheRequestedProcedure = "x" * 64
    assert (
        "The indication may be cut short: it fills its field." in build(write()).provenance["notes"]
    )


def test_no_age_is_drafted_held_or_skipped_as_the_site_wants(study):
    datasets, write = study
    for dataset in datasets:
        del dataset.PatientBirthDate
    images = write()
    assert "Patient's age unknown." in build(images).provenance["notes"]
    held = build(images, unknown_age="hold")
    assert isinstance(held, NeedsDecision)
    assert held.reason is HoldReason.AGE_UNKNOWN
    assert isinstance(build(images, unknown_age="skip"), Unsuitable)
    assert isinstance(build(images, [], {HoldReason.AGE_UNKNOWN}, unknown_age="hold"), BuiltCase)


def test_a_person_decides_about_an_age_that_contradicts_itself(study):
    datasets, write = study
    for dataset in datasets:
        dataset.PatientAge = "004Y"
    images = write()
    held = build(images)  # although a study without any age is drafted
    assert isinstance(held, NeedsDecision)
    assert held.reason is HoldReason.AGE_UNKNOWN
    assert "PatientAge says 4 years; the birth date against" in held.sentence
    assert isinstance(build(images, unknown_age="skip"), Unsuitable)
    drafted = build(images, [], {HoldReason.AGE_UNKNOWN})
    assert (
        "What the headers say of the age does not agree or proves nothing."
        in (drafted.provenance["notes"])
    )


def test_a_site_says_whose_view_position_counts(study):
    (frontal, lateral), write = study
    for dataset in (frontal, lateral):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
            "1.2.840.10008.5.1.4.1.1.1"  # CR, where PA may be a default
        )
        dataset.ManufacturerModelName = "Xmatic 3"
        dataset.SeriesDescription, dataset.ViewPosition = "CHEST", "PA"
        dataset.StudyInstanceUID = frontal.StudyInstanceUID
    frontal.ViewCodeSequence = lateral.ViewCodeSequence = None
    frontal.PatientOrientation = lateral.PatientOrientation = None
    images = write()[:1]
    assert [view.position for view in build(images).case.views] == ["unknown"]
    trusted = build(images, view_position_trust="Xmatic 3=always")
    assert [view.position for view in trusted.case.views] == ["frontal"]
    assert trusted.provenance["views"][0]["position"] == "frontal"


def test_a_person_decides_whether_it_is_a_human(study):
    datasets, write = study
    for dataset in datasets:
        dataset.ResponsiblePerson = "BERG^ANNA"
    images = write()
    held = build(images)
    assert isinstance(held, NeedsDecision)
    assert held.reason is HoldReason.SPECIES_UNKNOWN
    assert "BERG" not in held.sentence
    assert isinstance(build(images, [], {HoldReason.SPECIES_UNKNOWN}), BuiltCase)


def test_a_child_is_not_for_this_model(study):
    datasets, write = study
    for dataset in datasets:
        dataset.PatientAge, dataset.PatientBirthDate = "004Y", ""
    result = build(write())
    assert isinstance(result, Unsuitable)
    assert result.reason == "too_young"


def test_a_file_that_is_no_image_is_named_beside_one_that_is(study):
    _, write = study
    images = write()
    images[1].path.write_bytes(b"not DICOM at all")
    result = build(images)
    assert isinstance(result, BuiltCase)
    (left,) = result.provenance["left_out"]
    assert left["sop_instance_uid"] == images[1].sop_instance_uid
    assert left["sentence"] != "Its pixels could not be read."  # the reader's own words say more
    images[0].path.write_bytes(b"nor this")
    assert isinstance(build(images), Unreadable)


def test_a_header_without_pixels_is_no_image_and_nothing_is_damaged(study):
    datasets, write = study
    del datasets[1].PixelData
    images = write()
    result = build(images)
    assert isinstance(result, BuiltCase)
    assert [left["reason"] for left in result.provenance["left_out"]] == ["no_pixels"]
    assert "A film of the study came without its pixels." in result.provenance["notes"]
    del datasets[0].PixelData
    frontal, lateral = write()
    outcome = build([frontal])
    assert isinstance(outcome, Unsuitable)
    assert outcome.reason == "no_pixels"
    no_pixels = build([frontal, lateral])
    assert no_pixels.reason == "needed_view_missing"
    assert "without its pixels" in no_pixels.sentence


def test_a_needed_image_that_is_damaged_is_no_study_for_another_model(study):
    _, write = study
    frontal, lateral = write()
    frontal.path.write_bytes(frontal.path.read_bytes()[:-2000])
    assert isinstance(build([frontal, lateral]), Unreadable)


def test_the_disks_errors_are_not_the_images(study, monkeypatch):
    _, write = study
    images = write()

    def broken(*_, **__):
        raise PixelError("cannot be read") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ImageProcess, "read", broken)
    with pytest.raises(PartError, match="Input/output error"):
        build(images)
    images[0].path.unlink()
    with pytest.raises(MissingFile):
        build(images)


def blank(dataset):
    dataset.PixelData = b"\0" * len(dataset.PixelData)


def test_an_empty_film_is_left_out_where_others_can_be_drafted(study):
    (_, lateral), write = study
    blank(lateral)
    images, pictures = write(), {}
    result = build_case(
        images, [], NULL, set(), read_settings(),
        lambda image, jpeg: pictures.update({image.sop_instance_uid: jpeg}),
    )  # fmt: skip
    assert isinstance(result, BuiltCase)
    assert [view.position for view in result.case.views] == ["frontal"]
    (left_out,) = result.provenance["left_out"]
    assert left_out["reason"] == "empty"
    assert "shows nothing" in left_out["sentence"]
    assert "A film of the study shows nothing." in result.provenance["notes"]
    assert {uid: jpeg[:2] for uid, jpeg in pictures.items()} == {
        image.sop_instance_uid: b"\xff\xd8" for image in images
    }


def test_a_needed_film_that_is_empty_is_for_a_person(study):
    (frontal, _), write = study
    blank(frontal)
    images = write()
    result = build(images)
    assert isinstance(result, NeedsDecision)
    assert result.reason is HoldReason.IMAGE_EMPTY
    approved = build(images, approved={HoldReason.IMAGE_EMPTY})
    assert isinstance(approved, BuiltCase)
    assert [view.position for view in approved.case.views] == ["frontal", "lateral"]
    assert "A film of the study shows nothing." in approved.provenance["notes"]


def test_a_window_of_other_values_is_said_on_the_draft(study):
    datasets, write = study
    for dataset in datasets:
        dataset.WindowCenter, dataset.WindowWidth = -30000, 10
    result = build(write())
    assert isinstance(result, BuiltCase)
    assert NO_VOI in result.provenance["notes"]
    assert result.provenance["notes"].count(NO_VOI) == 1


def test_a_decoder_that_cannot_work_is_no_films_fault(study, monkeypatch):
    _, write = study

    def killed(*_, **__):
        raise DecoderUnavailable("the process that decodes films was killed")

    monkeypatch.setattr(ImageProcess, "read", killed)
    with pytest.raises(PartError, match="was killed"):
        build(write())

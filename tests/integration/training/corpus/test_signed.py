"""Signed reports as a corpus: what may be trained on, and that no name is in it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from model.manifest import Preprocessing
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import CorpusError
from records.reviews import consents, signing
from records.states import HoldReason, ReportStatus, Stage
from records.workflow import drafts, holds, leases, requests
from records.workflow.patients import Patient
from tests.support.outside_reports import receive
from tests.support.registered_studies import claim, complete, new_draft, new_instance
from training.corpus import signed
from training.corpus.example import CorpusOptions, Example, ExcludedStudy
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom
from training.corpus.signed import SignedReports
from training.deid.pseudonyms import KEY_FILE, Pseudonyms, site_pseudonyms

PATIENT = Patient("MRN-0045123", "SITE", "ROE-DOE^JANE^Q", "19310305", "F")
PLANTED = ("roe", "doe", "jane", "0045123", "1931", "a0981723", "20240512", "smith", "10:30")
SHAPE = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)


@dataclass(frozen=True)
class StoredStudy:
    """The ids of a drafted study and of its draft, and the file of its image."""

    study_id: UUID
    draft_id: UUID
    image: Path


@pytest.fixture
def store_study(database: str, data_dir: Path) -> Callable[..., StoredStudy]:
    """Store an image of a phantom under a patient, and save a draft made from it."""
    blobs = Blobs(data_dir)

    def make(
        study: str = "1.2.3",
        patient: Patient = PATIENT,
        indication: str = "cough",
        source: str = "reason",
        provenance: dict[str, str] | None = None,
    ) -> StoredStudy:
        case = phantom(1)
        image = phantom_dicom(case, size=64)[0]
        image.PatientName, image.PatientID = patient.name, patient.patient_id
        image.PatientBirthDate = patient.birth_date
        # A blob is moved to its place, and so comes from the same disk.
        film = data_dir / "film.dcm"
        image.save_as(film, enforce_file_format=True)
        blob = blobs.keep_instance(film)
        instance = new_instance(
            study, f"{study}.9", study, patient, accession_number="A0981723",
            study_date="20240512", blob=blob,
        )  # fmt: skip
        (study_id,) = complete(instance)
        (lease,) = claim(Stage.PREPARE)
        with unit_of_work() as session:
            prepared_input = requests.PreparedInput(
                "prepared/x", f"in-{study}", "pp", provenance or {}
            )
            requests.mark_prepared(session, lease, prepared_input)
        (lease,) = claim(Stage.DRAFT)
        new = new_draft(
            lease,
            views=[{"sop_instance_uid": f"{study}.9", "position": "frontal", "why": ""}],
            indication=indication,
            indication_source=source,
        )
        with unit_of_work() as session:
            draft_id = drafts.save(session, lease, new)
        assert draft_id is not None
        return StoredStudy(study_id, draft_id, blobs.path(blob))

    return make


def sign(
    study: StoredStudy, findings: str = "Clear.", impression: str = "Normal.", consent: bool = True
) -> UUID:
    with unit_of_work() as session:
        return signing.sign(session, study.draft_id, "Dr. Reader", findings, impression, consent)


def read(split: str = "", **reading: object) -> list[Example | ExcludedStudy]:
    return list(SignedReports(CorpusOptions(**reading)).read(split))


def reasons() -> list[str]:
    return [example.reason for example in read() if isinstance(example, ExcludedStudy)]


def every_text(value: object) -> Iterator[str]:
    """Every text in an example, with those of its fields' fields."""
    if is_dataclass(value):
        for field in fields(value):
            yield from every_text(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in every_text(part))
    elif isinstance(value, tuple | list | frozenset):
        yield from (text for part in value for text in every_text(part))
    else:
        yield str(value)


def test_a_signed_report_is_an_example(store_study: Callable[..., StoredStudy]) -> None:
    study = store_study(provenance={"procedure": "Chest 2 views", "prior_report": "Clear before."})
    sign(study, "The lungs\nare clear.", "Normal.")
    (example,) = read()
    assert isinstance(example, Example)
    assert example.key == str(study.study_id)
    assert example.target == "Findings: The lungs are clear. Impression: Normal."
    assert (example.priors.indication, example.priors.procedure) == ("cough", "Chest 2 views")
    assert example.priors.prior_report == "Clear before."
    assert example.prior_sources == {
        "indication": "reason",
        "procedure": "header",
        "prior_report": "records",
    }
    (image,) = example.images
    pixels = image.pixels(SHAPE)
    assert (image.position, pixels.shape, pixels.dtype) == ("frontal", (32, 32), np.uint8)
    assert pixels.std() > 10


def test_no_example_names_its_patient(store_study: Callable[..., StoredStudy]) -> None:
    """The name is planted in the headers, the file, the order, the prior report and the text."""
    hidden = "Jane Q. Roe-Doe (MRN-0045123, *03/05/1931, acc A0981723)"
    study = store_study(
        indication=f"{hidden}, 93-year-old, cough since 12 May 2024",
        provenance={
            "procedure": "XR CHEST ROE-DOE^JANE 20240512",
            "prior_report": f"{hidden}: clear. 05/12/2024",
        },
    )
    sign(
        study,
        f"{hidden}. JANE's lungs are clear, MRN0045123. 3.2 cm nodule at T12.",
        "Discussed with Dr. Smith at 10:30 on 2024-05-12. ROE has no effusion.",
    )
    (example,) = read()
    assert isinstance(example, Example)
    # The name of the stored file says when the image came, and nothing of the patient.
    texts = [text for text in every_text(example) if text != str(study.image)]
    for text in (*texts, repr(example).replace(str(study.image), "")):
        for identifier in (*PLANTED, str(study.draft_id), "1.2.3"):
            assert identifier not in text.casefold(), text
    assert "3.2 cm nodule at T12." in example.target
    assert "(NAME) has no effusion." in example.target
    assert (
        example.priors.indication
        == "(NAME) ((ID), *(DATE), acc (ID)), (AGE)-year-old, cough since (DATE)"
    )


def test_what_is_left_out_says_why(store_study: Callable[..., StoredStudy]) -> None:
    sign(store_study("1.1"), consent=False)
    rejected = store_study("1.2")
    with unit_of_work() as session:
        signing.reject(session, rejected.draft_id, "R", "of another patient")
    missing = store_study("1.3")
    sign(missing)
    missing.image.unlink()
    sign(store_study("1.4"), "Jane Roe.", " ")
    held = store_study("1.5")
    sign(held)
    with unit_of_work() as session:
        holds.open_hold(session, held.study_id, HoldReason.PATIENT_MISMATCH, "sent by TEST")
    store_study("1.6")  # nobody has reviewed it
    assert sorted(reasons()) == sorted(
        [
            signed.NO_CONSENT,
            signed.REJECTED,
            signed.IMAGE_GONE,
            signed.NO_TEXT,
            signed.HELD,
        ]
    )
    assert [example for split in ("train", "validate", "test") for example in read(split)] == []


def test_an_image_that_the_records_do_not_know_is_missing(
    store_study: Callable[..., StoredStudy],
) -> None:
    study = store_study()
    complete(new_instance("1.2.3", "1.2.3.7", patient=PATIENT))
    (lease,) = claim(Stage.PREPARE)
    with unit_of_work() as session:
        requests.mark_prepared(
            session, lease, requests.PreparedInput("prepared/y", "other", "pp", {})
        )
    (lease,) = claim(Stage.DRAFT)
    views = [{"sop_instance_uid": "9.9", "position": "frontal", "why": ""}]
    with unit_of_work() as session:
        draft_id = drafts.save(session, lease, new_draft(lease, views=views))
    assert draft_id is not None
    sign(StoredStudy(study.study_id, draft_id, study.image))
    assert reasons() == [signed.IMAGE_GONE]


def test_a_data_folder_without_images_stops_and_leaves_nothing_out(
    store_study: Callable[..., StoredStudy], data_dir: Path
) -> None:
    sign(store_study())
    (data_dir / "blobs/instances").rename(data_dir / "blobs/elsewhere")
    with pytest.raises(CorpusError, match="mount"):
        read()


def test_findings_alone(store_study: Callable[..., StoredStudy]) -> None:
    sign(store_study("1.1"), "Clear.", "Normal.")
    sign(store_study("1.2"), "", "Normal.")
    examples = read(target="findings")
    assert sorted(
        getattr(example, "target", getattr(example, "reason", "")) for example in examples
    ) == [
        "Clear.",
        signed.NO_FINDINGS,
    ]


def test_an_order_without_an_indication_gives_none(store_study: Callable[..., StoredStudy]) -> None:
    sign(store_study(indication="Not provided", source="none"))
    (example,) = read()
    assert isinstance(example, Example)
    assert (example.priors.indication, example.prior_sources) == ("", {})


def test_priors_of_a_request_that_was_prepared_again_are_not_the_drafts(
    store_study: Callable[..., StoredStudy],
) -> None:
    study = store_study(provenance={"procedure": "Chest"})
    sign(study)
    with unit_of_work() as session:
        requests.cancel(session, study.study_id, "by a person")
        requests.retry(session, study_id=study.study_id)
    (lease,) = leases_of(study)
    with unit_of_work() as session:
        prepared_input = requests.PreparedInput(
            "prepared/z", "other inputs", "pp", {"procedure": "Abdomen"}
        )
        assert requests.mark_prepared(session, lease, prepared_input)
    (example,) = read()
    assert isinstance(example, Example)
    assert example.priors.procedure == ""


def leases_of(study: StoredStudy) -> list[leases.Lease]:
    return [lease for lease in claim(Stage.PREPARE) if lease.study_id == study.study_id]


def test_a_patient_is_in_one_split_and_four_in_five_are_to_learn_from(
    store_study: Callable[..., StoredStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed, "PAGE_SIZE", 7)
    for number in range(40):
        person = Patient(f"P{number % 20}", "SITE" if number < 20 else "", f"N{number % 20}^A")
        sign(store_study(f"1.{number}", person))
    examples = [example for example in read(validate=0.25) if isinstance(example, Example)]
    assert len(examples) == 40
    assert [example.key for example in examples] == sorted(example.key for example in examples)
    split_of = {example.patient: example.split for example in examples}
    assert len(split_of) == 20
    assert all(example.split == split_of[example.patient] for example in examples)
    by_split = {split: read(split, validate=0.25) for split in ("train", "validate", "test")}
    assert sorted(
        example.key for split_examples in by_split.values() for example in split_examples
    ) == [example.key for example in examples]
    assert by_split["train"] == [example for example in examples if example.split == "train"], (
        "the same every time"
    )
    assert len({len(read("test", seed=seed)) for seed in range(8)}) > 1, "the seed draws the split"


def test_consent_that_is_withdrawn_counts_at_once(store_study: Callable[..., StoredStudy]) -> None:
    review_id = sign(store_study())
    assert sum(len(read(split)) for split in ("train", "test")) == 1
    with unit_of_work() as session:
        consents.set_consent(session, review_id, False, "R")
    assert sum(len(read(split)) for split in ("train", "test")) == 0
    assert reasons() == [signed.NO_CONSENT]


def test_a_wrong_split_is_refused() -> None:
    with pytest.raises(CorpusError, match="patients"):
        SignedReports(CorpusOptions(split="official"))
    with pytest.raises(ValueError, match="there is no split"):
        next(SignedReports().read("all"))


@pytest.mark.parametrize(
    "other", [Patient(), Patient(name="ROE^JANE", birth_date="19310305"), Patient(patient_id="77")]
)
def test_a_patient_without_an_id_has_a_pseudonym_too(
    store_study: Callable[..., StoredStudy], other: Patient
) -> None:
    sign(store_study("1.1", other))
    sign(store_study("1.2", other))
    patients = {example.patient for example in read() if isinstance(example, Example)}
    assert len(patients) == (1 if other != Patient() else 2)
    assert all(len(patient) == 32 for patient in patients)


def test_the_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    first, second = site_pseudonyms(tmp_path), site_pseudonyms(tmp_path)
    assert first == second
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert first.pseudonym(" p1 ") == first.pseudonym("P1") != first.pseudonym("P2")
    assert Pseudonyms(b"other").pseudonym("P1") != first.pseudonym("P1")
    assert repr(first) == "Pseudonyms()"


def test_a_key_that_cannot_be_used_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    key = tmp_path / KEY_FILE
    key.write_bytes(b"short")
    with pytest.raises(CorpusError, match="damaged"):
        site_pseudonyms(tmp_path)
    assert key.read_bytes() == b"short"
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    with pytest.raises(CorpusError, match="chmod 600"):
        site_pseudonyms(tmp_path)
    with pytest.raises(CorpusError, match="cannot be used"):
        site_pseudonyms(tmp_path / "nowhere")


def test_a_final_from_elsewhere_with_consent_is_an_example(
    store_study: Callable[..., StoredStudy], setting: Callable[..., None]
) -> None:
    study = store_study(provenance={"procedure": "Chest 2 views"})
    sent = {
        "patient": PATIENT,
        "accession_numbers": ("A0981723",),
        "findings": "",
        "impression": "",
        "text": "FINDINGS: Small effusion, seen by Dr. Smith.\n\nIMPRESSION: Effusion.",
    }
    receive(**sent)
    assert list(SignedReports().read()) == []
    receive(**(sent | {"consent": True}))
    (example,) = SignedReports().read()
    assert isinstance(example, Example)
    assert example.key == str(study.study_id)
    assert example.target.startswith("Findings: Small effusion")
    assert example.target.endswith("Impression: Effusion.")
    assert "Smith" not in example.target
    assert example.priors.procedure == "Chest 2 views"
    # A correction without consent takes it back, and the site's setting gives it for all.
    receive(**(sent | {"status": ReportStatus.CORRECTED, "impression": "Normal."}))
    assert list(SignedReports().read()) == []
    setting(report_training_consent=True)
    (example,) = SignedReports().read()
    assert isinstance(example, Example)
    assert example.target == "Impression: Normal."


def test_what_was_signed_here_stands_before_a_final_from_elsewhere(
    store_study: Callable[..., StoredStudy],
) -> None:
    study = store_study()
    with unit_of_work() as session:
        signing.sign(session, study.draft_id, "Dr. X", "Clear.", "Normal.", consent=True)
    receive(patient=PATIENT, accession_numbers=("A0981723",), consent=True, text="Clear. Normal.")
    examples = list(SignedReports().read())
    assert len(examples) == 1

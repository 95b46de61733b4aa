"""Signed reports as a corpus: what may be learnt from, and nobody's name in it."""

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
from records.states import HoldReason, Stage
from records.workflow import drafts, holds, leases, requests, reviews
from records.workflow.studies import Patient
from tests.support.registered_studies import claim, complete, new_draft, new_instance
from training.corpus import signed
from training.corpus.example import CorpusOptions, Example, ExcludedStudy
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom
from training.corpus.signed import SignedReports
from training.deid.pseudonyms import KEY_FILE, Pseudonyms, site_pseudonyms

WHO = Patient("MRN-0045123", "SITE", "ROE-DOE^JANE^Q", "19310305", "F")
PLANTED = ("roe", "doe", "jane", "0045123", "1931", "a0981723", "20240512", "smith", "10:30")
SHAPE = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)


@dataclass(frozen=True)
class Kept:
    """A drafted study: its own id, its draft, and its film's file."""

    study: UUID
    draft: UUID
    image: Path


@pytest.fixture
def keep(database: str, data_dir: Path, tmp_path: Path) -> Callable[..., Kept]:
    """Files a film of a phantom under a patient, and saves a draft made from it."""
    blobs = Blobs(data_dir)

    def make(
        study: str = "1.2.3",
        patient: Patient = WHO,
        indication: str = "cough",
        source: str = "reason",
        provenance: dict[str, str] | None = None,
    ) -> Kept:
        one = phantom(1)
        image = phantom_dicom(one, size=64)[0]
        image.PatientName, image.PatientID = patient.name, patient.patient_id
        image.PatientBirthDate = patient.birth_date
        image.save_as(tmp_path / "film.dcm", enforce_file_format=True)
        blob = blobs.keep_instance(tmp_path / "film.dcm")
        came = new_instance(
            study, f"{study}.9", study, patient, accession_number="A0981723",
            study_date="20240512", blob=blob,
        )  # fmt: skip
        (study_id,) = complete(came)
        (lease,) = claim(Stage.PREPARE)
        with unit_of_work() as session:
            what = requests.PreparedInput("prepared/x", f"in-{study}", "pp", provenance or {})
            requests.mark_prepared(session, lease, what)
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
        return Kept(study_id, draft_id, blobs.path(blob))

    return make


def sign(
    kept: Kept, findings: str = "Clear.", impression: str = "Normal.", consent: bool = True
) -> UUID:
    with unit_of_work() as session:
        return reviews.sign(session, kept.draft, "Dr. Reader", findings, impression, consent)


def read(split: str = "", **reading: object) -> list[Example | ExcludedStudy]:
    return list(SignedReports(CorpusOptions(**reading)).read(split))


def reasons() -> list[str]:
    return [one.reason for one in read() if isinstance(one, ExcludedStudy)]


def every_text(found: object) -> Iterator[str]:
    """All that is in an example, its fields' fields too."""
    if is_dataclass(found):
        for field in fields(found):
            yield from every_text(getattr(found, field.name))
    elif isinstance(found, dict):
        yield from (text for pair in found.items() for part in pair for text in every_text(part))
    elif isinstance(found, tuple | list | frozenset):
        yield from (text for part in found for text in every_text(part))
    else:
        yield str(found)


def test_a_signed_report_is_an_example(keep: Callable[..., Kept]) -> None:
    kept = keep(provenance={"procedure": "Chest 2 views", "prior_report": "Clear before."})
    sign(kept, "The lungs\nare clear.", "Normal.")
    (one,) = read()
    assert isinstance(one, Example)
    assert one.key == str(kept.study)
    assert one.target == "Findings: The lungs are clear. Impression: Normal."
    assert (one.priors.indication, one.priors.procedure) == ("cough", "Chest 2 views")
    assert one.priors.prior_report == "Clear before."
    assert one.prior_sources == {
        "indication": "reason",
        "procedure": "header",
        "prior_report": "records",
    }
    (image,) = one.images
    pixels = image.pixels(SHAPE)
    assert (image.position, pixels.shape, pixels.dtype) == ("frontal", (32, 32), np.uint8)
    assert pixels.std() > 10


def test_no_example_names_its_patient(keep: Callable[..., Kept]) -> None:
    """In the headers' rows, the file, the order, the prior report and the text that was signed."""
    hidden = "Jane Q. Roe-Doe (MRN-0045123, *03/05/1931, acc A0981723)"
    kept = keep(
        indication=f"{hidden}, 93-year-old, cough since 12 May 2024",
        provenance={
            "procedure": "XR CHEST ROE-DOE^JANE 20240512",
            "prior_report": f"{hidden}: clear. 05/12/2024",
        },
    )
    sign(
        kept,
        f"{hidden}. JANE's lungs are clear, MRN0045123. 3.2 cm nodule at T12.",
        "Discussed with Dr. Smith at 10:30 on 2024-05-12. ROE has no effusion.",
    )
    (one,) = read()
    assert isinstance(one, Example)
    # Our own name of the file tells when the film came, and of whom nothing.
    texts = [text for text in every_text(one) if text != str(kept.image)]
    for text in (*texts, repr(one).replace(str(kept.image), "")):
        for word in (*PLANTED, str(kept.draft), "1.2.3"):
            assert word not in text.casefold(), text
    assert "3.2 cm nodule at T12." in one.target
    assert "(NAME) has no effusion." in one.target
    assert (
        one.priors.indication
        == "(NAME) ((ID), *(DATE), acc (ID)), (AGE)-year-old, cough since (DATE)"
    )


def test_what_is_left_out_says_why(keep: Callable[..., Kept]) -> None:
    sign(keep("1.1"), consent=False)
    rejected = keep("1.2")
    with unit_of_work() as session:
        reviews.reject(session, rejected.draft, "R", "of another patient")
    gone = keep("1.3")
    sign(gone)
    gone.image.unlink()
    sign(keep("1.4"), "Jane Roe.", " ")
    held = keep("1.5")
    sign(held)
    with unit_of_work() as session:
        holds.open_hold(session, held.study, HoldReason.PATIENT_MISMATCH, "sent by TEST")
    keep("1.6")  # nobody has reviewed it
    assert sorted(reasons()) == sorted(
        [
            signed.NO_CONSENT,
            signed.REJECTED,
            signed.IMAGE_GONE,
            signed.NO_TEXT,
            signed.HELD,
        ]
    )
    assert [found for split in ("train", "validate", "test") for found in read(split)] == []


def test_a_film_that_the_records_do_not_know_is_gone(keep: Callable[..., Kept]) -> None:
    kept = keep()
    complete(new_instance("1.2.3", "1.2.3.7", patient=WHO))
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
    sign(Kept(kept.study, draft_id, kept.image))
    assert reasons() == [signed.IMAGE_GONE]


def test_a_data_folder_without_films_stops_and_leaves_nothing_out(
    keep: Callable[..., Kept], data_dir: Path
) -> None:
    sign(keep())
    (data_dir / "blobs/instances").rename(data_dir / "blobs/elsewhere")
    with pytest.raises(CorpusError, match="mount"):
        read()


def test_findings_alone(keep: Callable[..., Kept]) -> None:
    sign(keep("1.1"), "Clear.", "Normal.")
    sign(keep("1.2"), "", "Normal.")
    found = read(target="findings")
    assert sorted(getattr(one, "target", getattr(one, "reason", "")) for one in found) == [
        "Clear.",
        signed.NO_FINDINGS,
    ]


def test_an_indication_that_nobody_gave_is_none(keep: Callable[..., Kept]) -> None:
    sign(keep(indication="Not provided", source="none"))
    (one,) = read()
    assert isinstance(one, Example)
    assert (one.priors.indication, one.prior_sources) == ("", {})


def test_priors_of_a_request_that_was_prepared_again_are_not_the_drafts(
    keep: Callable[..., Kept],
) -> None:
    kept = keep(provenance={"procedure": "Chest"})
    sign(kept)
    with unit_of_work() as session:
        requests.cancel(session, kept.study, "by a person")
        requests.retry(session, study_id=kept.study)
    (lease,) = leases_of(kept)
    with unit_of_work() as session:
        what = requests.PreparedInput("prepared/z", "other inputs", "pp", {"procedure": "Abdomen"})
        assert requests.mark_prepared(session, lease, what)
    (one,) = read()
    assert isinstance(one, Example)
    assert one.priors.procedure == ""


def leases_of(kept: Kept) -> list[leases.Lease]:
    return [lease for lease in claim(Stage.PREPARE) if lease.study_id == kept.study]


def test_a_patient_is_in_one_split_and_four_in_five_are_to_learn_from(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed, "_PAGE_SIZE", 7)
    for number in range(40):
        person = Patient(f"P{number % 20}", "SITE" if number < 20 else "", f"N{number % 20}^A")
        sign(keep(f"1.{number}", person))
    whole = [one for one in read(validate=0.25) if isinstance(one, Example)]
    assert len(whole) == 40
    assert [one.key for one in whole] == sorted(one.key for one in whole)
    split_of = {one.patient: one.split for one in whole}
    assert len(split_of) == 20
    assert all(one.split == split_of[one.patient] for one in whole)
    apart = {split: read(split, validate=0.25) for split in ("train", "validate", "test")}
    assert sorted(one.key for some in apart.values() for one in some) == [o.key for o in whole]
    assert apart["train"] == [one for one in whole if one.split == "train"], "the same every time"
    assert len({len(read("test", seed=seed)) for seed in range(8)}) > 1, "the seed draws the split"


def test_consent_that_is_withdrawn_counts_at_once(keep: Callable[..., Kept]) -> None:
    review_id = sign(keep())
    assert sum(len(read(split)) for split in ("train", "test")) == 1
    with unit_of_work() as session:
        reviews.set_consent(session, review_id, False, "R")
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
    keep: Callable[..., Kept], other: Patient
) -> None:
    sign(keep("1.1", other))
    sign(keep("1.2", other))
    patients = {one.patient for one in read() if isinstance(one, Example)}
    assert len(patients) == (1 if other != Patient() else 2)
    assert all(len(patient) == 32 for patient in patients)


def test_the_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    first, again = site_pseudonyms(tmp_path), site_pseudonyms(tmp_path)
    assert first == again
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

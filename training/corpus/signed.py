"""What readers signed, as a corpus: a department trains on its own corrections.

Only with consent, and with texts de-identified on their way out (`training.deid.deidentify`): no name,
id or date of a patient is in an Example. The films are read where they lie. Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from model.case import Priors
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import CorpusError
from records.settings import settings
from records.states import ReviewDecision
from records.workflow import reviews
from records.workflow.reviews import LatestReview
from training.corpus.example import SPLITS, CorpusOptions, Example, ExcludedStudy, ImageFile
from training.corpus.report_sections import target_text
from training.corpus.splits import assign_validation, resolve_split, split_by_patient
from training.deid.deidentify import Known, deidentify, has_content
from training.deid.pseudonyms import Pseudonyms, site_pseudonyms

NO_CONSENT, REJECTED, HELD = "no consent", "rejected", "a person must decide"
FILM_GONE = "film is gone"
NOTHING, NO_FINDINGS = "text is empty after de-identification", "no findings"
"""Why a reviewed study is no example."""

_PAGE = 200
"""Rows asked for at a time, in a transaction of their own."""
_NO_SOURCE = "none"
"""What a draft gives as the source of an indication that nobody gave."""


@dataclass(frozen=True, slots=True)
class SignedReports:
    """The signed reports of the database and data folder that the settings name.

    Of a study the latest signed report; of the reading's splits "patients", the only one. A
    consent that is withdrawn while the corpus is read counts from the next page on.
    """

    reading: CorpusOptions = field(default_factory=CorpusOptions)
    name: str = "signed"

    def __post_init__(self) -> None:
        resolve_split(self.name, self.reading, ("patients",))

    @property
    def identity(self) -> dict[str, str]:
        """As `Corpus.identity`. What is signed later is found by its examples, not by this."""
        return {"name": self.name}

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """As `Corpus.read`; in the order of our own ids of the studies.

        Raises:
            CorpusError: the site's key of pseudonyms, or the folder of films, cannot be used.
            DatabaseDown: the database does not answer.
        """
        if split and split not in SPLITS:
            raise ValueError(f"no such split: {split}")
        blobs = Blobs(settings().data_dir)
        pseudonyms = site_pseudonyms(settings().data_dir)
        for one in _standing(consented=bool(split)):
            found = self._one(one, blobs, pseudonyms)
            if not split or (isinstance(found, Example) and found.split == split):
                yield found

    def _one(self, one: LatestReview, blobs: Blobs, pseudonyms: Pseudonyms) -> Example | ExcludedStudy:
        key = str(one.study_id)
        if one.decision is ReviewDecision.REJECTED:
            return ExcludedStudy(key, REJECTED)
        if not one.consent:
            return ExcludedStudy(key, NO_CONSENT)
        if one.held:
            return ExcludedStudy(key, HELD)
        if self.reading.target == "findings" and not one.findings.strip():
            return ExcludedStudy(key, NO_FINDINGS)
        images = _films(one, blobs)
        if not images:
            return ExcludedStudy(key, FILM_GONE)
        known = Known(
            one.patient_name,
            one.patient_id,
            one.accession_number,
            one.birth_date,
            one.study_date,
        )
        findings, impression = (_plain(text, known) for text in (one.findings, one.impression))
        target = target_text(self.reading.target or "report", findings, impression)
        if not target:
            return ExcludedStudy(key, NOTHING)
        said = {
            "indication": one.indication if one.indication_source != _NO_SOURCE else "",
            "procedure": one.procedure,
            "prior_report": one.prior_report,
        }
        priors = {name: _plain(text, known) for name, text in said.items()}
        sources = {"indication": one.indication_source, "procedure": "header"}
        sources["prior_report"] = "records"
        patient = pseudonyms.of(_who(one))
        return Example(
            key=key,
            patient=patient,
            split=assign_validation(self.reading, patient, split_by_patient(self.reading, patient)),
            images=images,
            target=target,
            priors=Priors(**priors),
            prior_sources={name: sources[name] for name, text in priors.items() if text},
        )


def _standing(*, consented: bool) -> Iterator[LatestReview]:
    """All that stands, page by page; no transaction is open while a page is learnt from."""
    after = None
    while True:
        with unit_of_work() as session:
            page = reviews.latest_reviews(session, after, _PAGE, consented=consented)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].study_id


def _films(one: LatestReview, blobs: Blobs) -> tuple[ImageFile, ...]:
    """The films that the draft was made from, by our own ids; none where one of them is gone."""
    images = []
    for seen in one.images:
        path = blobs.path(seen.blob) if seen.blob else None
        if path is None or not path.is_file():
            if not (blobs.root / "instances").is_dir():
                raise CorpusError(f"{blobs.root} holds no films: mount the data folder's disk")
            return ()
        images.append(ImageFile(path, seen.position, str(seen.instance_id)))
    return tuple(images)


def _plain(text: str, known: Known) -> str:
    """The text de-identified, as one line; "" where nothing but marks is left."""
    left = deidentify(text, known)
    return " ".join(left.split()) if has_content(left) else ""


def _who(one: LatestReview) -> str:
    """What tells the patient from others: the id, else name and birth date, else the study.

    The id's issuer is left out: some senders of a hospital give it and some do not, and one patient
    in two splits does harm where two in one do none.
    """
    if one.patient_id.strip():
        return f"id {one.patient_id.strip()}"
    if name := one.patient_name.split("=")[0].strip(" ^"):
        return f"name {name} {one.birth_date.strip()}"
    return f"study {one.study_id}"

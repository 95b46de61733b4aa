"""Reads the signed reports of this system as a corpus, so that a department trains on its own.

Only studies with consent are read, and texts are de-identified on their way out
(`training.deid.deidentify`): an Example holds no name, id or date of a patient. Images are read
where they are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from model.case import Priors
from model.prompting.report_sections import divide_report
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import CorpusError
from records.reports import reading
from records.reviews import latest
from records.reviews.latest import LatestReview
from records.settings import settings
from records.states import ReviewDecision
from training.corpus.example import (
    SPLITS,
    CorpusOptions,
    Example,
    ExcludedStudy,
    ImageFile,
    target_text,
)
from training.corpus.splits import assign_validation, resolve_split, split_by_patient
from training.deid.deidentify import KnownIdentifiers, deidentify, has_content
from training.deid.pseudonyms import Pseudonyms, site_pseudonyms

NO_CONSENT, REJECTED, HELD = "no consent", "rejected", "a person must decide"
IMAGE_GONE = "film is gone"
NO_TEXT, NO_FINDINGS = "text is empty after de-identification", "no findings"
"""The reasons for which a reviewed study gives no example."""

PAGE_SIZE = 200
"""Rows of one query; each query has a transaction of its own."""
_NO_SOURCE = "none"
"""A draft's source of an indication that nobody gave."""


@dataclass(frozen=True, slots=True)
class SignedReports:
    """The signed reports of the database and data folder that the settings name.

    Each study gives its latest signed report, or else a final from elsewhere with consent.
    "patients" is the only split. A consent that is withdrawn while the corpus is read counts from
    the next page on.
    """

    options: CorpusOptions = field(default_factory=CorpusOptions)
    name: str = "signed"

    def __post_init__(self) -> None:
        resolve_split(self.name, self.options, ("patients",))

    @property
    def identity(self) -> dict[str, str]:
        """See `Corpus.identity`. Reports that are signed later show in the examples, not here."""
        return {"name": self.name}

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """See `Corpus.read`; what was signed here, then finals from elsewhere of other studies.

        Raises:
            CorpusError: the site's key of pseudonyms, or the folder of images, cannot be used.
            DatabaseDown: the database does not answer.
        """
        if split and split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        blobs = Blobs(settings().data_dir)
        pseudonyms = site_pseudonyms(settings().data_dir)
        for review in itertools.chain(
            _standing_reviews(consented=bool(split)), _finals_from_elsewhere()
        ):
            study = self._to_example(review, blobs, pseudonyms)
            if not split or (isinstance(study, Example) and study.split == split):
                yield study

    def _to_example(
        self, review: LatestReview, blobs: Blobs, pseudonyms: Pseudonyms
    ) -> Example | ExcludedStudy:
        key = str(review.study_id)
        if review.decision is ReviewDecision.REJECTED:
            return ExcludedStudy(key, REJECTED)
        if not review.consent:
            return ExcludedStudy(key, NO_CONSENT)
        if review.held:
            return ExcludedStudy(key, HELD)
        if self.options.target == "findings" and not review.findings.strip():
            return ExcludedStudy(key, NO_FINDINGS)
        images = _images(review, blobs)
        if not images:
            return ExcludedStudy(key, IMAGE_GONE)
        known = KnownIdentifiers(
            review.patient_name,
            review.patient_id,
            review.accession_number,
            review.birth_date,
            review.study_date,
        )
        findings, impression = (
            _clean_line(text, known) for text in (review.findings, review.impression)
        )
        target = target_text(self.options.target or "report", findings, impression)
        if not target:
            return ExcludedStudy(key, NO_TEXT)
        indication = review.indication if review.indication_source != _NO_SOURCE else ""
        priors = Priors(
            indication=_clean_line(indication, known),
            procedure=_clean_line(review.procedure, known),
            prior_report=_clean_line(review.prior_report, known),
        )
        sources = {
            "indication": review.indication_source,
            "procedure": "header",
            "prior_report": "records",
        }
        patient = pseudonyms.pseudonym(_patient_identity(review))
        return Example(
            key=key,
            patient=patient,
            split=assign_validation(self.options, patient, split_by_patient(self.options, patient)),
            images=images,
            target=target,
            priors=priors,
            prior_sources={
                name: source for name, source in sources.items() if getattr(priors, name)
            },
        )


def _standing_reviews(*, consented: bool) -> Iterator[LatestReview]:
    """Yield all standing reviews, page by page; no transaction stays open while a page is used."""
    after = None
    while True:
        with unit_of_work() as session:
            page = latest.latest_reviews(session, after, PAGE_SIZE, consented=consented)
        yield from page.reviews
        after = page.next_after
        if after is None:
            return


def _finals_from_elsewhere() -> Iterator[LatestReview]:
    """Yield the finals of other systems that may be trained on, as reviews; page by page."""
    after = None
    while True:
        with unit_of_work() as session:
            page = reading.list_consented_finals(session, after, PAGE_SIZE)
        for final in page.reviews:
            if final.impression:
                yield final
            else:
                sections = divide_report("", "", final.findings)
                yield replace(final, findings=sections.findings, impression=sections.impression)
        after = page.next_after
        if after is None:
            return


def _images(review: LatestReview, blobs: Blobs) -> tuple[ImageFile, ...]:
    """Return the images that the draft was made from; none of them if one is gone.

    Raises:
        CorpusError: the whole folder of images is missing.
    """
    images = []
    for used in review.images:
        path = blobs.path(used.blob) if used.blob else None
        if path is None or not path.is_file():
            if not (blobs.root / "instances").is_dir():
                raise CorpusError(f"{blobs.root} holds no films: mount the data folder's disk")
            return ()
        images.append(ImageFile(path, used.position, str(used.instance_id)))
    return tuple(images)


def _clean_line(text: str, known: KnownIdentifiers) -> str:
    """Return the de-identified text as one line; "" where nothing but marks is left."""
    clean = deidentify(text, known)
    return " ".join(clean.split()) if has_content(clean) else ""


def _patient_identity(review: LatestReview) -> str:
    """Return what identifies the patient: the id, else name and birth date, else the study.

    The id's issuer is left out: some senders of a hospital give it and some do not. One patient in
    two splits does harm, and two patients in one split do none.
    """
    if review.patient_id.strip():
        return f"id {review.patient_id.strip()}"
    if name := review.patient_name.split("=")[0].strip(" ^"):
        return f"name {name} {review.birth_date.strip()}"
    return f"study {review.study_id}"

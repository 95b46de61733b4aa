"""MIMIC-CXR-JPG as examples, by PhysioNet's own split. Knows how it is read, not how it is filed.

Films and reports are under PhysioNet's credentialed licence: whoever reads them has signed it.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from model.case import Priors
from model.prompting.oracle import Oracle
from model.prompting.prompt import Symptoms
from training.corpus.example import SPLITS, CorpusOptions, Example, ExcludedStudy, ImageFile
from training.corpus.files import in_folder
from training.corpus.image_selection import select_images
from training.corpus.mimic_files import (
    LABELS_BETWEEN,
    Sources,
    join,
    look_into,
    place_of,
    report_text,
)
from training.corpus.report_sections import ReportSections, read_sections, target_text
from training.corpus.splits import DEFAULT, assign_validation, resolve_split, split_by_patient

MIMIC_SPLITS = ("official", "patients")

NO_SPLIT, MIXED = "in no split", "in two splits or of two patients"
NO_REPORT, NO_FINDINGS = "no report", "no findings"
NOTHING, NO_FILES = "neither findings nor impression", "no films"

_SEEN_BY = ("", *SPLITS)
"""A report of one of these may be the prior report of studies in the same and in later ones."""

Label = Callable[[str], Symptoms]
"""Findings that a report says are there and are not there."""
PHYSIONETS = "PhysioNet's"


class MimicCxr:
    """MIMIC-CXR-JPG in a folder.

    needs_films: as `IuXray`. label: labels reports for the paper's template, from findings and
    impression (the paper: CheXbert); None takes PhysioNet's labels, which are CheXpert's.
    prior_reports: give the patient's report before this one as a prior.
    """

    name = "mimic_cxr"

    def __init__(
        self,
        folder: Path,
        reading: CorpusOptions = DEFAULT,
        *,
        needs_images: bool = True,
        label: Label | None = None,
        prior_reports: bool = True,
    ) -> None:
        """Look what is there; nothing is read yet.

        Raises:
            CorpusError: a file that is needed is missing, or the reading cannot be done.
        """
        self.split = resolve_split(self.name, reading, MIMIC_SPLITS)
        self.target = reading.target or "findings"
        self.reading, self.needs_images = reading, needs_images
        self.label, self.prior_reports = label, prior_reports
        self.sources: Sources = look_into(folder)
        self._tally: Counter[str] = Counter()

    @property
    def identity(self) -> dict[str, str]:
        """As `Corpus.identity`."""
        return in_folder(self.name, self.sources.folder, self.needs_images) | {
            "prior_reports": str(self.prior_reports),
            "label": PHYSIONETS if self.label is None else _qualified(self.label),
        }

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """As `Corpus.read`; patient by patient, of each in order of time."""
        if split and split not in SPLITS:
            raise ValueError(f"no such split: {split}")
        self._tally.clear()
        rows = self._index.execute("SELECT * FROM studies ORDER BY subject, taken, study")
        for _, of_patient in groupby(rows, key=itemgetter("subject")):
            earlier: list[_Study] = []
            for row in of_patient:
                study = _Study(self, row)
                if not split or study.split == split:
                    one = self._one(study, earlier)
                    if isinstance(one, Example) or not split:
                        yield one
                earlier.append(study)

    def remarks(self) -> dict[str, int]:
        """As `IuXray.remarks`."""
        index = self._index
        studies, patients = index.execute(
            "SELECT count(*), count(DISTINCT subject) FROM studies"
        ).fetchone()
        (images,) = index.execute("SELECT count(*) FROM films").fetchone()
        return {"studies": studies, "patients": patients, "films named": images, **self._tally}

    def _one(self, study: _Study, earlier: Sequence[_Study]) -> Example | ExcludedStudy:
        row = study.row
        key = f"s{row['study']}"
        if not row["split"]:
            return ExcludedStudy(key, NO_SPLIT)
        if row["mixed"]:
            return ExcludedStudy(key, MIXED)
        if study.sections is None:
            return ExcludedStudy(key, NO_REPORT)
        sections = study.sections
        target = target_text(self.target, sections.findings, sections.impression)
        if not target:
            return ExcludedStudy(key, NO_FINDINGS if self.target == "findings" else NOTHING)
        images = self._films(row)
        if not images:
            return ExcludedStudy(key, NO_FILES)
        priors, sources = self._priors(study, sections, earlier)
        return Example(
            key=key,
            patient=f"p{row['subject']}",
            split=study.split,
            images=images,
            target=target,
            priors=priors,
            prior_sources=sources,
            oracle=Oracle(symptoms=self._symptoms(row, sections)),
            oracle_template="oracle_mimic",
        )

    def split_of(self, study: sqlite3.Row) -> str:
        """The split of a row of `studies`; "" where it is in none."""
        patient = f"p{study['subject']}"
        official = str(study["split"] or "")
        if not official:
            return ""
        split = split_by_patient(self.reading, patient) if self.split == "patients" else official
        return assign_validation(self.reading, patient, split)

    def sections_of(self, study: sqlite3.Row) -> ReportSections | None:
        """The sections of its report: as the public script cut them where its table is there.

        The table has no indication; that is read from the report itself.
        """
        text = report_text(self.sources, study["subject"], study["study"])
        own = read_sections(text) if text is not None else None
        if study["cut"]:
            indication = own.indication if own else ""
            return ReportSections(indication, study["findings"], study["impression"])
        return own

    def _films(self, study: sqlite3.Row) -> tuple[ImageFile, ...]:
        folder = self.sources.images / place_of(study["subject"], study["study"])
        named = [
            ImageFile(folder / f"{image['dicom']}.jpg", image["position"], image["dicom"])
            for image in self._index.execute(
                "SELECT dicom, position FROM films WHERE study = ? ORDER BY dicom",
                (study["study"],),
            )
        ]
        there = [image for image in named if image.path.is_file()] if self.needs_images else named
        self._tally["films not there"] += len(named) - len(there)
        images = select_images(there)
        self._tally["films beyond the third, not read"] += len(there) - len(images)
        if images and all(image.position == "lateral" for image in images):
            self._tally["examples without a frontal film"] += 1
        return images

    def _priors(
        self, study: _Study, sections: ReportSections, earlier: Sequence[_Study]
    ) -> tuple[Priors, dict[str, str]]:
        """What a hospital has before the film is read, and where each is from."""
        said = {"indication": sections.indication, "procedure": study.row["procedure"] or ""}
        sources = {
            "indication": "INDICATION section",
            "procedure": "PerformedProcedureStepDescription of the film",
        }
        known = filter(study.may_know, reversed(earlier if self.prior_reports else ()))
        if before := next(known, None):
            said["prior_report"] = before.said
            sources["prior_report"] = f"study s{before.row['study']} of the same patient"
        return Priors(**said), {name: sources[name] for name, text in said.items() if text}

    def _symptoms(self, study: sqlite3.Row, sections: ReportSections) -> Symptoms:
        if self.label is not None:
            return self.label(f"{sections.findings} {sections.impression}".strip())
        present, absent = (
            tuple(filter(None, (study[how] or "").split(LABELS_BETWEEN)))
            for how in ("present", "absent")
        )
        return Symptoms(present, absent)

    @cached_property
    def _index(self) -> sqlite3.Connection:
        index = join(self.sources)
        weakref.finalize(self, index.close)
        return index


class _Study:
    """A study among those of its patient; its report is read when it is asked for, and once."""

    def __init__(self, corpus: MimicCxr, row: sqlite3.Row) -> None:
        self.row, self.split = row, corpus.split_of(row)
        self._corpus = corpus

    @cached_property
    def sections(self) -> ReportSections | None:
        return self._corpus.sections_of(self.row)

    @property
    def said(self) -> str:
        """What the next study is told of it; "" where that is nothing."""
        return (self.sections.impression or self.sections.findings) if self.sections else ""

    def may_know(self, other: _Study) -> bool:
        """Whether the other's report can be this one's prior report.

        It was earlier (of the same moment nobody knows which was first), it is one patient's, and
        no text to be scored on is shown to those that are learnt from.
        """
        return (
            bool(other.row["taken"])
            and other.row["taken"] < (self.row["taken"] or "")
            and not other.row["mixed"]
            and _SEEN_BY.index(other.split) <= _SEEN_BY.index(self.split)
            and bool(other.said)
        )


def _qualified(label: Label) -> str:
    """The name of a labeller in its module; of an object that labels, its class's."""
    named = label if hasattr(label, "__qualname__") else type(label)
    return f"{named.__module__}.{named.__qualname__}"

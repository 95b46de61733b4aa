"""Reads MIMIC-CXR-JPG as examples, by PhysioNet's own split or at random by patient.

Images and reports are under PhysioNet's credentialed licence: whoever reads them has signed it.
`mimic_files` reads the files.
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
from model.labels import Labeller, symptoms_of
from model.prompting.oracle import Oracle
from model.prompting.prior_report import prior_report_text
from model.prompting.prompt import Symptoms
from model.prompting.report_sections import ReportSections, read_sections
from training.corpus.example import (
    SPLITS,
    TRAIN,
    VALIDATE,
    CorpusOptions,
    Example,
    ExcludedStudy,
    ImageFile,
    target_text,
)
from training.corpus.files import folder_identity
from training.corpus.image_selection import select_images
from training.corpus.mimic_files import (
    LABEL_SEPARATOR,
    Sources,
    build_index,
    find_sources,
    report_text,
    study_folder,
)
from training.corpus.prior_reports import find_prior
from training.corpus.splits import (
    DEFAULT_OPTIONS,
    assign_validation,
    resolve_split,
    split_by_patient,
)

MIMIC_SPLITS = ("official", "patients")

NO_SPLIT, MIXED = "in no split", "in two splits or of two patients"
NO_REPORT, NO_FINDINGS = "no report", "no findings"
NO_TEXT, NO_FILES = "neither findings nor impression", "no films"

STUDIES = 227_835
"""Of the whole collection."""
PAPER = {TRAIN: 152_173, VALIDATE: 1_196}
"""The paper's reports for training and for testing ("Datasets"). They are what the official split
has with findings in its training and its validation part: the paper seems to have been tested on
`validate`, not on `test`."""

LabelFunction = Callable[[str], Symptoms]
"""Returns the findings that a report says are present and absent."""
PHYSIONET_LABELS = "PhysioNet's"


class LabelledBy:
    """Labels reports for the paper's template by a labeller, such as CheXbert."""

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller
        self.name = labeller.name

    def __call__(self, text: str) -> Symptoms:
        """Return the observations that are present and absent in a report."""
        return symptoms_of(self._labeller.label([text])[0])


class MimicCxr:
    """MIMIC-CXR-JPG in a folder."""

    name = "mimic_cxr"

    def __init__(
        self,
        folder: Path,
        options: CorpusOptions = DEFAULT_OPTIONS,
        *,
        needs_images: bool = True,
        label: LabelFunction | None = None,
        prior_reports: bool = True,
    ) -> None:
        """Look which files are present; nothing is read yet.

        Args:
            folder: The folder of the collection.
            options: How to read it.
            needs_images: As in `IuXray`.
            label: Labels reports for the paper's template, from findings and impression (the
                paper: CheXbert); None takes PhysioNet's labels, which are CheXpert's.
            prior_reports: Give the patient's previous report as a prior.

        Raises:
            CorpusError: a file that is needed is missing, or the options do not fit this corpus.
        """
        self.split = resolve_split(self.name, options, MIMIC_SPLITS)
        self.target = options.target or "findings"
        self.options, self.needs_images = options, needs_images
        self.label, self.prior_reports = label, prior_reports
        self.sources: Sources = find_sources(folder)
        self._tally: Counter[str] = Counter()
        self._with_findings: Counter[str] = Counter()

    @property
    def identity(self) -> dict[str, str]:
        """See `Corpus.identity`."""
        return folder_identity(self.name, self.sources.folder, self.needs_images) | {
            "prior_reports": str(self.prior_reports),
            "label": PHYSIONET_LABELS if self.label is None else _qualified_name(self.label),
        }

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """See `Corpus.read`; patient by patient, the studies of each in order of time."""
        if split and split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        self._tally.clear()
        self._with_findings.clear()
        rows = self._index.execute("SELECT * FROM studies ORDER BY subject, taken, study")
        for _, rows_of_patient in groupby(rows, key=itemgetter("subject")):
            earlier: list[_Study] = []
            for row in rows_of_patient:
                study = _Study(self, row)
                if not split or study.split == split:
                    result = self._to_example(study, earlier)
                    if isinstance(result, Example) or not split:
                        yield result
                earlier.append(study)

    def remarks(self) -> dict[str, int]:
        """See `IuXray.remarks`."""
        index = self._index
        studies, patients = index.execute(
            "SELECT count(*), count(DISTINCT subject) FROM studies"
        ).fetchone()
        (images,) = index.execute("SELECT count(*) FROM images").fetchone()
        remarks = {"studies": studies, "patients": patients, "films named": images, **self._tally}
        if studies >= STUDIES and self.target == "findings":
            for split, published in PAPER.items():
                counted = self._with_findings[split]
                if counted and counted != published:
                    remarks[f"findings in {split}, where the paper has {published:,}"] = counted
        return remarks

    def _to_example(self, study: _Study, earlier: Sequence[_Study]) -> Example | ExcludedStudy:
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
            return ExcludedStudy(key, NO_FINDINGS if self.target == "findings" else NO_TEXT)
        self._with_findings[str(row["split"])] += bool(sections.findings)
        images = self._images(row)
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

    def split_of(self, row: sqlite3.Row) -> str:
        """Return the split of a row of `studies`; "" where it is in none."""
        patient = f"p{row['subject']}"
        official = str(row["split"] or "")
        if not official:
            return ""
        split = split_by_patient(self.options, patient) if self.split == "patients" else official
        return assign_validation(self.options, patient, split)

    def sections_of(self, row: sqlite3.Row) -> ReportSections | None:
        """Return the sections of a study's report; None where it has no report.

        They are as the public script cut them where its table has the study. That table has no
        indication, which is read from the report itself.
        """
        text = report_text(self.sources, row["subject"], row["study"])
        sections = read_sections(text) if text is not None else None
        if row["cut"]:
            indication = sections.indication if sections else ""
            return ReportSections(indication, row["findings"], row["impression"])
        return sections

    def _images(self, row: sqlite3.Row) -> tuple[ImageFile, ...]:
        folder = self.sources.images / study_folder(row["subject"], row["study"])
        listed = [
            ImageFile(folder / f"{image['dicom']}.jpg", image["position"], image["dicom"])
            for image in self._index.execute(
                "SELECT dicom, position FROM images WHERE study = ? ORDER BY dicom",
                (row["study"],),
            )
        ]
        present = [i for i in listed if i.path.is_file()] if self.needs_images else listed
        self._tally["films not there"] += len(listed) - len(present)
        images = select_images(present)
        self._tally["films beyond the third, not read"] += len(present) - len(images)
        if images and all(image.position == "lateral" for image in images):
            self._tally["examples without a frontal film"] += 1
        return images

    def _priors(
        self, study: _Study, sections: ReportSections, earlier: Sequence[_Study]
    ) -> tuple[Priors, dict[str, str]]:
        """Return what a hospital has before the study is read, and where each prior is from."""
        texts = {"indication": sections.indication, "procedure": study.row["procedure"] or ""}
        sources = {
            "indication": "INDICATION section",
            "procedure": "PerformedProcedureStepDescription of the film",
        }
        if previous := find_prior(study, earlier if self.prior_reports else ()):
            texts["prior_report"] = previous.prior_text
            sources["prior_report"] = f"study s{previous.row['study']} of the same patient"
        return Priors(**texts), {name: sources[name] for name, text in texts.items() if text}

    def _symptoms(self, row: sqlite3.Row, sections: ReportSections) -> Symptoms:
        if self.label is not None:
            return self.label(f"{sections.findings} {sections.impression}".strip())
        present, absent = (
            tuple(filter(None, (row[column] or "").split(LABEL_SEPARATOR)))
            for column in ("present", "absent")
        )
        return Symptoms(present, absent)

    @cached_property
    def _index(self) -> sqlite3.Connection:
        index = build_index(self.sources)
        weakref.finalize(self, index.close)
        return index


class _Study:
    """A study among those of its patient. Its report is read once, when it is needed."""

    def __init__(self, corpus: MimicCxr, row: sqlite3.Row) -> None:
        self.row, self.split = row, corpus.split_of(row)
        self._corpus = corpus

    @property
    def taken(self) -> str:
        return self.row["taken"] or ""

    @property
    def is_certain(self) -> bool:
        return not self.row["mixed"]

    @cached_property
    def sections(self) -> ReportSections | None:
        return self._corpus.sections_of(self.row)

    @property
    def prior_text(self) -> str:
        """The text of this study as a prior report; "" where it has none."""
        if self.sections is None:
            return ""
        return prior_report_text(self.sections.findings, self.sections.impression)


def _qualified_name(label: LabelFunction) -> str:
    """Return the name of a label function: its own, else with its module, or its class's."""
    if isinstance(label, LabelledBy):
        return label.name
    named = label if hasattr(label, "__qualname__") else type(label)
    return f"{named.__module__}.{named.__qualname__}"

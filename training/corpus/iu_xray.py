"""Reads IU X-ray (Indiana University, Open-i) as examples and splits it.

Images and reports are CC BY-NC-ND: they may be used to repeat published figures, not to train a
product. `iu_files` reads the files.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from model.case import Priors
from model.prompting.oracle import Oracle
from records.errors import CorpusError
from training.corpus.example import (
    SPLITS,
    TEST,
    TRAIN,
    CorpusOptions,
    Example,
    ExcludedStudy,
    ImageFile,
    target_text,
)
from training.corpus.files import folder_identity
from training.corpus.image_selection import select_images
from training.corpus.iu_files import Sources, build_index, find_sources
from training.corpus.splits import (
    DEFAULT_OPTIONS,
    assign_validation,
    resolve_split,
    sample_patients,
    split_by_patient,
    uniform_draw,
)

REPORTS, WITH_FINDINGS = 3851, 3337
"""Of the whole collection: reports that have an image, and those of them that have findings."""
PAPER_TEST = 669
"""Of the 3,337, at random (the paper, "Datasets"); the other 2,668 are for training."""
R2GEN = {"train": 2069, "validate": 296, "test": 590}
"""The published split (Chen et al. 2020): annotation.json."""
IU_SPLITS = ("paper", "r2gen", "patients")

NO_IMAGE, NO_FINDINGS = "no film in the collection", "no findings"
NO_TEXT, NO_FILES = "neither findings nor impression", "no films"
NOT_R2GEN = "not in R2Gen's split"


class IuXray:
    """IU X-ray from whichever of its three forms is in a folder."""

    name = "iu_xray"

    def __init__(
        self, folder: Path, options: CorpusOptions = DEFAULT_OPTIONS, *, needs_images: bool = True
    ) -> None:
        """Look which files are present; nothing is read yet.

        Args:
            folder: The folder of the collection.
            options: How to read it.
            needs_images: Exclude reports none of whose images are present. Otherwise their images
                raise PixelError when they are read, and everything that needs only texts works.

        Raises:
            CorpusError: the folder holds no report, or cannot be read with these options.
        """
        self.folder, self.needs_images = folder, needs_images
        self.split = resolve_split(self.name, options, IU_SPLITS)
        self.target = options.target or "findings"
        self.options = options
        self.sources: Sources = find_sources(folder)
        if self.split == "r2gen" and self.sources.annotation is None:
            raise CorpusError(
                f"the split r2gen is in R2Gen's annotation.json; put it into {folder}"
            )
        if self.split == "paper" and self.sources.report_sources() == ["R2Gen"]:
            raise CorpusError(
                f"the paper's split is of all reports, and {folder} holds R2Gen's alone; put "
                "indiana_reports.csv or NLMCXR_reports.tgz there, or take the split r2gen"
            )
        self._tally: Counter[str] = Counter()

    @property
    def identity(self) -> dict[str, str]:
        """See `Corpus.identity`."""
        return folder_identity(self.name, self.folder, self.needs_images)

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """See `Corpus.read`; in order of the reports' numbers."""
        if split and split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        self._tally.clear()
        index, test_patients = self._index, self._paper_test_patients
        for report in index.execute("SELECT * FROM reports ORDER BY uid"):
            if study := self._to_example(report, test_patients, split):
                yield study

    def remarks(self) -> dict[str, int]:
        """Return what a person should know about the files and the last `read`."""
        index = self._index
        present, by_name = index.execute(
            "SELECT count(path), count(*) FILTER (WHERE image LIKE 'IM-%') FROM images"
        ).fetchone()
        reports, findings, patients = index.execute(
            "SELECT count(*), sum(findings <> ''), count(DISTINCT patient) FROM reports "
            "WHERE has_images"
        ).fetchone()
        conflicts = {
            f"reports whose {field} differ between sources": count
            for field, count in self._conflicts.items()
        }
        return {
            "reports with a film in the collection": reports,
            "of these with findings": findings or 0,
            "patients": patients,
            "films named": by_name,
            "films there": present,
            **conflicts,
            **self._tally,
        }

    def _to_example(
        self, report: sqlite3.Row, test_patients: set[str], wanted: str
    ) -> Example | ExcludedStudy | None:
        """Return what a report gives; None where the wanted split does not have it."""
        key = f"CXR{report['uid']}"
        target = target_text(self.target, report["findings"] or "", report["impression"] or "")
        reason = ""
        if not report["has_images"]:
            reason = NO_IMAGE
        elif not target:
            reason = NO_FINDINGS if self.target == "findings" else NO_TEXT
        elif self.split == "r2gen" and not report["r2gen"]:
            reason = NOT_R2GEN
        elif wanted and self._split_of(report, test_patients) != wanted:
            return None
        images = () if reason else self._images(report["uid"])
        if reason or not images:
            return None if wanted else ExcludedStudy(key, reason or NO_FILES)
        indication = report["indication"] or ""
        problems = (report["problems"] or "").split(";")
        return Example(
            key=key,
            patient=report["patient"],
            split=self._split_of(report, test_patients),
            images=images,
            target=target,
            priors=Priors(indication=indication),
            prior_sources={"indication": "INDICATION section"} if indication else {},
            oracle=Oracle(tuple(filter(None, problems)), report["image"] or ""),
            oracle_template="oracle_iu",
        )

    def _split_of(self, report: sqlite3.Row, test_patients: set[str]) -> str:
        patient = report["patient"]
        if self.split == "r2gen":
            split = report["r2gen"]
        elif self.split == "patients":
            split = split_by_patient(self.options, patient)
        else:
            split = TEST if patient in test_patients else TRAIN
        return assign_validation(self.options, patient, split)

    def _images(self, uid: int) -> tuple[ImageFile, ...]:
        """Return the images that are present; where none is, and none is needed, the named ones.

        R2Gen's numbered images are the same images under other names, and do not say which is
        which: they are taken where there are no others.
        """
        rows = self._index.execute(
            "SELECT * FROM images WHERE uid = ? ORDER BY image NOT LIKE 'IM-%', image", (uid,)
        ).fetchall()
        candidates = [row for row in rows if row["path"]]
        if not candidates and not self.needs_images:
            candidates = rows
        if candidates and candidates[0]["image"].startswith("IM-"):
            candidates = [row for row in candidates if row["image"].startswith("IM-")]
        images = select_images(
            [
                ImageFile(
                    Path(row["path"] or self.folder / row["name"]),
                    row["position"],
                    f"CXR{uid}_{row['image']}",
                )
                for row in candidates
            ]
        )
        self._tally["films beyond the third, not read"] += len(candidates) - len(images)
        if images and all(image.position == "lateral" for image in images):
            self._tally["examples without a frontal film"] += 1
        return images

    @property
    def _index(self) -> sqlite3.Connection:
        return self._index_and_conflicts[0]

    @property
    def _conflicts(self) -> Counter[str]:
        return self._index_and_conflicts[1]

    @cached_property
    def _index_and_conflicts(self) -> tuple[sqlite3.Connection, Counter[str]]:
        index, conflicts = build_index(self.sources)
        weakref.finalize(self, index.close)
        index.row_factory = sqlite3.Row
        _check_published_counts(index)
        return index, conflicts

    @cached_property
    def _paper_test_patients(self) -> set[str]:
        """The patients of the paper's test set; of the whole collection they have 669 reports.

        The draw depends neither on the target nor on which images are present, so a report is on
        the same side whatever the options are. Patients none of whose reports has findings, whom
        the target "report" adds, are drawn at the same rate.
        """
        if self.split != "paper":
            return set()
        rows = self._index.execute(
            "SELECT patient, sum(findings <> '') FROM reports WHERE has_images GROUP BY patient"
        ).fetchall()
        seed, share = self.options.seed, PAPER_TEST / WITH_FINDINGS
        counts = {patient: count for patient, count in rows if count}
        test = sample_patients(counts, round(sum(counts.values()) * share), seed, "paper")
        without_findings = {patient for patient, count in rows if not count}
        return test | {p for p in without_findings if uniform_draw(seed, "paper", p) < share}


def _check_published_counts(index: sqlite3.Connection) -> None:
    """Compare with the published counts where the whole collection is present.

    Raises:
        CorpusError: the counts differ.
    """
    reports, findings = index.execute(
        "SELECT count(*), coalesce(sum(findings <> ''), 0) FROM reports WHERE has_images"
    ).fetchone()
    if reports >= REPORTS and (reports, findings) != (REPORTS, WITH_FINDINGS):
        raise CorpusError(
            f"the whole of IU X-ray has {REPORTS:,} reports, {WITH_FINDINGS:,} with findings, and "
            f"here are {reports:,} and {findings:,}; fetch its tables again"
        )
    split = dict.fromkeys(R2GEN, 0) | dict(
        index.execute("SELECT r2gen, count(*) FROM reports WHERE r2gen <> '' GROUP BY r2gen")
    )
    if sum(split.values()) >= sum(R2GEN.values()) and split != R2GEN:
        published, counted = (
            "/".join(f"{counts[name]:,}" for name in R2GEN) for counts in (R2GEN, split)
        )
        raise CorpusError(
            f"R2Gen's split has {published} reports, and here are {counted}; fetch annotation.json "
            "again"
        )

"""IU X-ray (Indiana University, Open-i) as examples. Knows how it is split, not how it is filed.

Films and reports are CC BY-NC-ND: to repeat published figures with, not to train a product on.
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
)
from training.corpus.files import in_folder
from training.corpus.image_selection import select_images
from training.corpus.iu_files import Sources, join, look_into
from training.corpus.report_sections import target_text
from training.corpus.splits import (
    DEFAULT,
    assign_validation,
    place,
    resolve_split,
    sample_patients,
    split_by_patient,
)

REPORTS, WITH_FINDINGS = 3851, 3337
"""Of the whole collection: reports that have a film, and those of them that have findings."""
PAPER_TEST = 669
"""Of the 3,337, at random (the paper, "Datasets"); the other 2,668 are to learn from."""
R2GEN = {"train": 2069, "validate": 296, "test": 590}
"""The published split (Chen et al. 2020): annotation.json."""
IU_SPLITS = ("paper", "r2gen", "patients")

NO_FILM, NO_FINDINGS = "no film in the collection", "no findings"
NOTHING, NO_FILES = "neither findings nor impression", "no films"
NOT_R2GEN = "not in R2Gen's split"


class IuXray:
    """IU X-ray from whatever of its three forms is in a folder.

    needs_films: leave out reports none of whose films are there; otherwise their films raise
    PixelError when they are asked for, and all that needs words alone can be done.
    """

    name = "iu_xray"

    def __init__(
        self, folder: Path, reading: CorpusOptions = DEFAULT, *, needs_images: bool = True
    ) -> None:
        """Look what is there; nothing is read yet.

        Raises:
            CorpusError: the folder holds no report, or the reading cannot be done.
        """
        self.folder, self.needs_images = folder, needs_images
        self.split = resolve_split(self.name, reading, IU_SPLITS)
        self.target = reading.target or "findings"
        self.reading = reading
        self.sources: Sources = look_into(folder)
        if self.split == "r2gen" and self.sources.annotation is None:
            raise CorpusError(
                f"the split r2gen is in R2Gen's annotation.json; put it into {folder}"
            )
        if self.split == "paper" and self.sources.named() == ["R2Gen"]:
            raise CorpusError(
                f"the paper's split is of all reports, and {folder} holds R2Gen's alone; put "
                "indiana_reports.csv or NLMCXR_reports.tgz there, or take the split r2gen"
            )
        self._tally: Counter[str] = Counter()

    @property
    def identity(self) -> dict[str, str]:
        """As `Corpus.identity`."""
        return in_folder(self.name, self.folder, self.needs_images)

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """As `Corpus.read`; in order of the reports' numbers."""
        if split and split not in SPLITS:
            raise ValueError(f"no such split: {split}")
        self._tally.clear()
        index, test = self._index, self._paper_test
        for report in index.execute("SELECT * FROM reports ORDER BY uid"):
            if one := self._one(report, test, split):
                yield one

    def remarks(self) -> dict[str, int]:
        """What a person should know of the files and of the reading that went before."""
        index = self._index
        there, by_name = index.execute(
            "SELECT count(path), count(*) FILTER (WHERE image LIKE 'IM-%') FROM films"
        ).fetchone()
        reports, findings, patients = index.execute(
            "SELECT count(*), sum(findings <> ''), count(DISTINCT patient) FROM reports "
            "WHERE has_films"
        ).fetchone()
        differ = {f"reports whose {k} differ between sources": v for k, v in self._differ.items()}
        return {
            "reports with a film in the collection": reports,
            "of these with findings": findings or 0,
            "patients": patients,
            "films named": by_name,
            "films there": there,
            **differ,
            **self._tally,
        }

    def _one(
        self, report: sqlite3.Row, test: set[str], wanted: str
    ) -> Example | ExcludedStudy | None:
        """What a report gives; None where that was not asked for."""
        key = f"CXR{report['uid']}"
        target = target_text(self.target, report["findings"] or "", report["impression"] or "")
        reason = ""
        if not report["has_films"]:
            reason = NO_FILM
        elif not target:
            reason = NO_FINDINGS if self.target == "findings" else NOTHING
        elif self.split == "r2gen" and not report["r2gen"]:
            reason = NOT_R2GEN
        elif wanted and self._split_of(report, test) != wanted:
            return None
        images = () if reason else self._films(report["uid"])
        if reason or not images:
            return None if wanted else ExcludedStudy(key, reason or NO_FILES)
        indication = report["indication"] or ""
        problems = (report["problems"] or "").split(";")
        return Example(
            key=key,
            patient=report["patient"],
            split=self._split_of(report, test),
            images=images,
            target=target,
            priors=Priors(indication=indication),
            prior_sources={"indication": "INDICATION section"} if indication else {},
            oracle=Oracle(tuple(filter(None, problems)), report["image"] or ""),
            oracle_template="oracle_iu",
        )

    def _split_of(self, report: sqlite3.Row, test: set[str]) -> str:
        patient = report["patient"]
        if self.split == "r2gen":
            split = report["r2gen"]
        elif self.split == "patients":
            split = split_by_patient(self.reading, patient)
        else:
            split = TEST if patient in test else TRAIN
        return assign_validation(self.reading, patient, split)

    def _films(self, uid: int) -> tuple[ImageFile, ...]:
        """Those that are there; where none is and none is needed, those that are named.

        R2Gen's numbered films are the same films under other names, and do not say which is
        which: they are taken where there are no others.
        """
        rows = self._index.execute(
            "SELECT * FROM films WHERE uid = ? ORDER BY image NOT LIKE 'IM-%', image", (uid,)
        ).fetchall()
        kept = [row for row in rows if row["path"]]
        if not kept and not self.needs_images:
            kept = rows
        if kept and kept[0]["image"].startswith("IM-"):
            kept = [row for row in kept if row["image"].startswith("IM-")]
        images = select_images(
            [
                ImageFile(
                    Path(row["path"] or self.folder / row["name"]),
                    row["position"],
                    f"CXR{uid}_{row['image']}",
                )
                for row in kept
            ]
        )
        self._tally["films beyond the third, not read"] += len(kept) - len(images)
        if images and all(image.position == "lateral" for image in images):
            self._tally["examples without a frontal film"] += 1
        return images

    @property
    def _index(self) -> sqlite3.Connection:
        return self._joined[0]

    @property
    def _differ(self) -> Counter[str]:
        return self._joined[1]

    @cached_property
    def _joined(self) -> tuple[sqlite3.Connection, Counter[str]]:
        index, differ = join(self.sources)
        weakref.finalize(self, index.close)
        index.row_factory = sqlite3.Row
        _check_published(index)
        return index, differ

    @cached_property
    def _paper_test(self) -> set[str]:
        """The patients of the paper's test set. Of the whole collection, 669 reports.

        The draw does not ask what the target is or which films are there, so a report is on the
        same side in every reading. Patients none of whose reports has findings, which a reading
        of whole reports adds, are drawn at the same rate.
        """
        if self.split != "paper":
            return set()
        rows = self._index.execute(
            "SELECT patient, sum(findings <> '') FROM reports WHERE has_films GROUP BY patient"
        ).fetchall()
        seed, share = self.reading.seed, PAPER_TEST / WITH_FINDINGS
        drawn = {patient: count for patient, count in rows if count}
        test = sample_patients(drawn, round(sum(drawn.values()) * share), seed, "paper")
        rest = {patient for patient, count in rows if not count}
        return test | {patient for patient in rest if place(seed, "paper", patient) < share}


def _check_published(index: sqlite3.Connection) -> None:
    """The published counts, where the whole collection is there."""
    reports, findings = index.execute(
        "SELECT count(*), coalesce(sum(findings <> ''), 0) FROM reports WHERE has_films"
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
        published, found = (
            "/".join(f"{counts[name]:,}" for name in R2GEN) for counts in (R2GEN, split)
        )
        raise CorpusError(
            f"R2Gen's split has {published} reports, and here are {found}; fetch annotation.json "
            "again"
        )

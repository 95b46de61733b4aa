"""Reads a department's own reports as a corpus: a table of reports and the images beside it.

`folder_table` reads the table, `folder_index` joins its rows. Texts are de-identified on their way
out (`training.deid.deidentify`), by the form of identifiers and by what the table and the DICOM
headers say of the patient.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from model.case import Priors
from model.dicom.header import read_header
from model.dicom.indication import OrderText, find_indication, find_procedure
from model.dicom.instances import Instance, parse_instance
from model.dicom.pixels import shows_nothing
from model.dicom.reasons import SENTENCES, Reason
from model.dicom.views import ViewSettings, choose_views
from model.errors import EmptyImage, ModelError
from model.manifest import IntendedUse, Preprocessing
from model.prompting.prior_report import prior_report_text
from model.prompting.report_sections import (
    ReportSections,
    has_headings,
    read_sections,
)
from records.errors import CorpusError
from training.corpus.example import (
    SPLITS,
    CorpusOptions,
    Example,
    ExcludedStudy,
    ImageFile,
    target_text,
)
from training.corpus.files import folder_identity, to_one_line
from training.corpus.folder_index import build_index, is_dicom
from training.corpus.folder_table import find_table, suggest_column
from training.corpus.image_selection import select_images
from training.corpus.prior_reports import find_prior
from training.corpus.splits import (
    DEFAULT_OPTIONS,
    assign_validation,
    resolve_split,
    split_by_patient,
)
from training.corpus.table_rows import Fault
from training.deid.deidentify import KnownIdentifiers, deidentify, has_content

FOLDER_SPLITS = ("given", "patients")
"""given: as the table's column `split` says; a patient of whom it says nothing is drawn. patients:
all patients are drawn."""

WRONG_ROW = "a row of the study is wrong"
NO_REPORT, NO_FINDINGS = "no report", "no findings"
NO_TEXT = "neither findings nor impression"
NO_CONTENT = "text is empty after de-identification"
NO_FILES = "no films"
"""The reasons for which a study gives no example, beside those of the films themselves."""

SHOWN_FAULTS = 3
"""Faults that an error quotes; `nightdraft corpus check` lists all."""

# The department has chosen what lies in its folder, so a header that says little rules nothing out.
_USE = IntendedUse(
    modalities=("CR", "DX", "RG", "DR", "XR", "SC", "OT", ""), needs=(), least_age=0, max_views=3
)
_VIEW_SETTINGS = ViewSettings(unknown_chest="draft", unknown_species="draft")


@dataclass(frozen=True, slots=True)
class FolderImage(ImageFile):
    """An image of the folder. One that shows nothing is an error, whatever its format."""

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """See `StudyImage.pixels`."""
        # The class that `slots` makes is another than the one that super() would look for.
        pixels = ImageFile.pixels(self, preprocessing)
        if not is_dicom(self.path) and shows_nothing(pixels):
            raise EmptyImage(f"the film {self.path.name} shows nothing: it is almost of one grey")
        return pixels


class FolderCorpus:
    """Reports in a table, with their images."""

    name = "folder"

    def __init__(
        self, folder: Path, options: CorpusOptions = DEFAULT_OPTIONS, *, needs_images: bool = True
    ) -> None:
        """Find the table; nothing is read yet.

        Args:
            folder: The folder that the table lies in.
            options: How to read it.
            needs_images: Whether an image that is not there is a fault of its row.

        Raises:
            CorpusError: There is no table, or the options do not fit this corpus.
        """
        self.split = resolve_split(self.name, options, FOLDER_SPLITS)
        self.folder, self.options, self.needs_images = folder, options, needs_images
        self.target = options.target or "report"
        self.table = find_table(folder)
        self._tally: Counter[str] = Counter()

    @property
    def identity(self) -> dict[str, str]:
        """See `Corpus.identity`; another table is another corpus."""
        return folder_identity(self.name, self.folder, self.needs_images) | {
            "table": self._table_digest
        }

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """See `Corpus.read`; patient by patient, the studies of each in order of time.

        Raises:
            CorpusError: As `Corpus.read`; and of one split, a row of the table is wrong.
        """
        if split and split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        self._tally.clear()
        if split:
            self._check_faults()
        rows = self._index.execute("SELECT * FROM studies ORDER BY patient, date, number")
        for _, rows_of_patient in groupby(rows, key=itemgetter("patient")):
            of_patient = list(rows_of_patient)
            given = next((row["split"] for row in of_patient if row["split"]), "")
            earlier: list[_Study] = []
            for row in of_patient:
                study = _Study(self, row, self._split_of(row["patient"], given))
                if not split or study.split == split:
                    result = self._to_example(study, earlier)
                    if isinstance(result, Example) or not split:
                        yield result
                earlier.append(study)

    def faults(self) -> list[Fault]:
        """Return what is wrong in the table, by line."""
        return [
            Fault(*row)
            for row in self._index.execute("SELECT line, study, reason FROM faults ORDER BY line")
        ]

    def remarks(self) -> dict[str, int]:
        """Return what a person should know about the table and the last `read`."""
        (undated,) = self._index.execute(
            "SELECT count(*) FROM studies WHERE date = '' AND NOT wrong"
        ).fetchone()
        (images,) = self._index.execute("SELECT count(*) FROM images").fetchone()
        remarks = {"images named": images}
        if undated:
            remarks["studies without a date, which have no prior report"] = undated
        for name in self.table.unused:
            near = suggest_column(name)
            remarks[f"column {name!r} is not read" + (f" (is it {near}?)" if near else "")] = 1
        return remarks | dict(self._tally)

    def _check_faults(self) -> None:
        faults = self.faults()
        if not faults:
            return
        shown = "; ".join(f"line {f.line}: {f.reason}" for f in faults[:SHOWN_FAULTS])
        raise CorpusError(
            f"{self.table.path} has {len(faults)} wrong rows ({shown}"
            + ("; ..." if len(faults) > SHOWN_FAULTS else "")
            + f"); correct or remove them, `nightdraft corpus check folder {self.folder}` lists all"
        )

    def _split_of(self, patient: str, given: str) -> str:
        drawn = split_by_patient(self.options, patient)
        split = given if given and self.split == "given" else drawn
        return assign_validation(self.options, patient, split)

    def _to_example(self, study: _Study, earlier: list[_Study]) -> Example | ExcludedStudy:
        row = study.row
        key = row["study"]
        if row["wrong"]:
            return ExcludedStudy(key, WRONG_ROW)
        if not any(row[name] for name in ("report", "findings", "impression")):
            return ExcludedStudy(key, NO_REPORT)
        self._count_sections(study)
        raw = study.sections
        if not target_text(self.target, raw.findings, raw.impression):
            return ExcludedStudy(key, NO_FINDINGS if self.target == "findings" else NO_TEXT)
        target = target_text(
            self.target, study.without_names(raw.findings), study.without_names(raw.impression)
        )
        if not target:
            return ExcludedStudy(key, NO_CONTENT)
        chosen = study.images
        if isinstance(chosen, str):
            return ExcludedStudy(key, chosen)
        priors, sources = self._priors(study, earlier)
        self._tally["examples without a frontal film"] += all(
            image.position == "lateral" for image in chosen
        )
        return Example(
            key=key,
            patient=row["patient"],
            split=study.split,
            images=chosen,
            target=target,
            priors=priors,
            prior_sources=sources,
        )

    def _count_sections(self, study: _Study) -> None:
        self._tally["reports without findings"] += not study.sections.findings
        self._tally["reports without impression"] += not study.sections.impression
        if not study.has_headings:
            self._tally["reports without headings, taken for findings"] += 1

    def _priors(self, study: _Study, earlier: list[_Study]) -> tuple[Priors, dict[str, str]]:
        """Return what a hospital has before the study is read, and where each prior is from."""
        row = study.row
        texts, sources = {}, {}
        for name, candidates in {
            "indication": (
                ("column indication", row["indication"]),
                ("INDICATION section", study.sections.indication),
                ("header", study.order_text(find_indication)),
            ),
            "procedure": (
                ("column procedure", row["procedure"]),
                ("header", study.order_text(find_procedure)),
            ),
            "prior_report": (("column prior_report", row["prior_report"]),),
        }.items():
            for source, written in candidates:
                if text := study.without_names(written):
                    texts[name], sources[name] = text, source
                    break
        if "prior_report" not in texts and (previous := find_prior(study, earlier)):
            texts["prior_report"] = previous.prior_text
            sources["prior_report"] = f"study {previous.row['study']} of the same patient"
        return Priors(**texts), sources

    def images_of(self, row: sqlite3.Row) -> list[sqlite3.Row]:
        """Return the rows of `images` of a study, in the table's order."""
        return self._index.execute(
            "SELECT path, view FROM images WHERE study = ? ORDER BY rowid", (row["number"],)
        ).fetchall()

    @cached_property
    def _index(self) -> sqlite3.Connection:
        index = build_index(
            self.table, needs_images=self.needs_images, by_given_split=self.split == "given"
        )
        weakref.finalize(self, index.close)
        return index

    @cached_property
    def _table_digest(self) -> str:
        return sha256(self.table.path.read_bytes()).hexdigest()


class _Study:
    """A study among those of its patient. What its files say is read once, when it is needed."""

    def __init__(self, corpus: FolderCorpus, row: sqlite3.Row, split: str) -> None:
        self.row, self.split = row, split
        self._corpus = corpus

    @property
    def taken(self) -> str:
        return str(self.row["date"])

    @property
    def is_certain(self) -> bool:
        return not self.row["wrong"]

    @cached_property
    def prior_text(self) -> str:
        """The text of this study as a prior report; "" where it has none."""
        sections = self.sections
        return prior_report_text(
            self.without_names(sections.findings), self.without_names(sections.impression)
        )

    @cached_property
    def has_headings(self) -> bool:
        return not self.row["report"] or has_headings(self.row["report"])

    @cached_property
    def sections(self) -> ReportSections:
        """The sections as they were written: of their columns, or else of the whole report."""
        row = self.row
        own = [to_one_line(row[name]) for name in ("indication", "findings", "impression")]
        if not row["report"]:
            return ReportSections(*own)
        if not self.has_headings:
            whole = "" if own[1] or own[2] else to_one_line(row["report"])
            return ReportSections(own[0], own[1] or whole, own[2])
        read = read_sections(row["report"])
        return ReportSections(
            own[0] or read.indication, own[1] or read.findings, own[2] or read.impression
        )

    @cached_property
    def headers(self) -> dict[str, pydicom.Dataset | None]:
        """Path -> header of each DICOM file; None where it cannot be read."""
        headers: dict[str, pydicom.Dataset | None] = {}
        for image in self._corpus.images_of(self.row):
            if is_dicom(Path(image["path"])):
                try:
                    headers[image["path"]] = read_header(image["path"])
                except ModelError:
                    headers[image["path"]] = None
        return headers

    @cached_property
    def images(self) -> tuple[ImageFile, ...] | str:
        """The images to read, or why there are none.

        A view that the table gives is taken; other DICOM files are chosen as in serving.
        """
        listed = self._corpus.images_of(self.row)
        instances: list[Instance] = []
        images: list[ImageFile] = []
        for image in listed:
            path = Path(image["path"])
            if image["view"] == "unknown" and image["path"] in self.headers:
                header = self.headers[image["path"]]
                fault = Reason.UNREADABLE if header is None else None
                instances.append(parse_instance(header or {}, image["path"], fault))
            else:
                images.append(self._image(path, image["view"]))
        choice = choose_views(instances, _USE, _VIEW_SETTINGS)
        images += [self._image(Path(v.source), v.position.answer) for v in choice.views]
        if not images and instances:
            return SENTENCES[choice.reason] if choice.reason else NO_FILES
        return select_images(images) or NO_FILES

    def without_names(self, text: str) -> str:
        """Return a text as one line, de-identified; "" where nothing but marks is left."""
        for known in self._known_identifiers if text.strip() else ():
            text = deidentify(text, known)
        return to_one_line(text) if has_content(text) else ""

    def order_text(self, find: Callable[[list[pydicom.Dataset]], OrderText]) -> str:
        """Return a text of the order from the DICOM headers, as serving finds it; "" for none."""
        read = [header for header in self.headers.values() if header is not None]
        text = find(read)
        return "" if text.source == "none" else text.text

    @cached_property
    def _known_identifiers(self) -> list[KnownIdentifiers]:
        """What the table says of the patient and the study, and what the first header says."""
        row = self.row
        known = [
            KnownIdentifiers(
                row["patient_name"],
                row["patient"],
                row["accession_number"],
                row["birth_date"],
                row["date"][:8],
            )
        ]
        if header := next((h for h in self.headers.values() if h is not None), None):
            known.append(
                KnownIdentifiers(
                    *(
                        str(header.get(keyword) or "")
                        for keyword in (
                            "PatientName",
                            "PatientID",
                            "AccessionNumber",
                            "PatientBirthDate",
                            "StudyDate",
                        )
                    )
                )
            )
        return known

    def _image(self, path: Path, position: str) -> FolderImage:
        return FolderImage(path, position, path.name)

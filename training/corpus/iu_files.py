"""Joins the files of IU X-ray, in the three forms it is distributed in, into one index.

Kaggle's two tables, Open-i's XML and R2Gen's annotation.json hold the same reports. Every form that
is present is read; the first one that has a report counts, and differences to it are counted.
Images are found by their names, wherever in the folder they lie.
"""

from __future__ import annotations

import html
import json
import os
import re
import sqlite3
import tarfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records.errors import CorpusError
from training.corpus.files import create_index, fill_index, read_table, to_one_line

_SCHEMA = """
CREATE TABLE reports (
    uid INTEGER PRIMARY KEY, patient TEXT NOT NULL, r2gen TEXT NOT NULL, has_images INTEGER,
    findings TEXT, impression TEXT, indication TEXT, problems TEXT, image TEXT);
CREATE TABLE images (
    uid INTEGER, image TEXT, position TEXT NOT NULL DEFAULT 'unknown', name TEXT NOT NULL,
    path TEXT, PRIMARY KEY (uid, image)) WITHOUT ROWID;
"""
TEXT_FIELDS = ("findings", "impression", "indication", "problems", "image")
"""The texts of a report; NULL where a source does not have them."""
_SELECT_TEXTS = (
    "SELECT findings, impression, indication, problems, image FROM reports WHERE uid = ?"
)
_INSERT_REPORT = (
    "INSERT INTO reports VALUES (:uid, :patient, :r2gen, :has_images, :findings, :impression, "
    ":indication, :problems, :image)"
)
_REPORT_DEFAULTS = {"r2gen": "", "has_images": 0}

_IMAGE_NAME = re.compile(
    r"(?:CXR)?(?P<uid>\d{1,9})_(?:(?P=uid)_)?(?P<image>IM-\d[\d-]*)"
    r"(?i:\.dcm|\.png|\.jpe?g)*"
)
_R2GEN_ID = re.compile(r"CXR(?P<uid>\d{1,9})_(?:(?P=uid)_)?IM-\d[\d-]*")
_REPORT_NAME = re.compile(r"(?:CXR)?\d+\.xml")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
"""Of one image in several files, the first of these is read; the published scores are of PNG."""
_POSITIONS = {"frontal": "frontal", "lateral": "lateral"}
_MAX_XML_BYTES = 1_000_000
_MAX_NUMBER = 10**9


@dataclass
class Sources:
    """The files of IU X-ray in a folder.

    Attributes:
        reports: Kaggle's table of reports.
        projections: Kaggle's table of image positions.
        annotation: R2Gen's annotation.json.
        archive: Open-i's reports as one archive of XML.
        headers: Open-i's table of DICOM headers.
        unpacked: Open-i's reports in XML, unpacked; sorted.
        images: Image files; sorted by folder.
    """

    folder: Path
    reports: Path | None = None
    projections: Path | None = None
    annotation: Path | None = None
    archive: Path | None = None
    headers: Path | None = None
    unpacked: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)

    def report_sources(self) -> list[str]:
        """Return the names of the sources of reports that are present."""
        return [
            name
            for name, present in (
                ("Kaggle", self.reports),
                ("Open-i", self.archive or self.unpacked),
                ("R2Gen", self.annotation),
            )
            if present
        ]


def find_sources(folder: Path) -> Sources:
    """Find the files of IU X-ray in a folder and in all folders within.

    Raises:
        CorpusError: there is no such folder, or no report in it.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that IU X-ray lies in")
    sources = Sources(folder)
    visited: set[str] = set()
    for current, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        for name in sorted(names):
            _add_file(sources, Path(current) / name)
    if not sources.report_sources():
        raise CorpusError(
            f"{folder} holds no reports of IU X-ray; put indiana_reports.csv with "
            "indiana_projections.csv there, or NLMCXR_reports.tgz, or R2Gen's annotation.json"
        )
    return sources


def _add_file(sources: Sources, path: Path) -> None:
    name = path.name
    if name in ("indiana_reports.csv", "indiana_reports.csv.gz"):
        sources.reports = sources.reports or path
    elif name in ("indiana_projections.csv", "indiana_projections.csv.gz"):
        sources.projections = sources.projections or path
    elif name.startswith("annotation") and name.endswith(".json"):
        sources.annotation = sources.annotation or path
    elif name.startswith("NLMCXR_reports") and name.endswith((".tgz", ".tar.gz", ".tar")):
        sources.archive = sources.archive or path
    elif name.startswith("nlmcxr_dicom_metadata.csv"):
        sources.headers = sources.headers or path
    elif _REPORT_NAME.fullmatch(name):
        sources.unpacked.append(path)
    elif name.lower().endswith(_SUFFIXES):
        sources.images.append(path)


def build_index(sources: Sources) -> tuple[sqlite3.Connection, Counter[str]]:
    """Join all sources into one index, with the tables `reports` and `images`.

    Returns:
        The index, and for each text field in how many reports the sources differ.

    Raises:
        CorpusError: a file is not what it should be.
    """
    index, conflicts = create_index(_SCHEMA), Counter[str]()
    with fill_index(index):
        for report in _all_reports(sources):
            _add_report(index, report, conflicts)
        if sources.projections:
            for row in read_table(sources.projections, ("uid", "filename", "projection")):
                position = _POSITIONS.get(row["projection"].strip().lower(), "unknown")
                _add_image_name(index, row["filename"], position, str(sources.projections))
        for path in sources.images:
            _add_image_file(index, path)
        if sources.headers:
            _set_patients(index, sources.headers)
        index.execute("UPDATE reports SET has_images = 1 WHERE uid IN (SELECT uid FROM images)")
    return index, conflicts


def _all_reports(sources: Sources) -> Iterator[dict[str, Any]]:
    if sources.reports:
        yield from _read_kaggle(sources.reports)
    if sources.archive or sources.unpacked:
        for name, text in _xml_texts(sources):
            yield _parse_xml(name, text)
    if sources.annotation:
        yield from _read_r2gen(sources.annotation)


def _add_report(index: sqlite3.Connection, report: dict[str, Any], conflicts: Counter[str]) -> None:
    """Insert a report of one source; where another source has it already, count differences."""
    uid, images = report["uid"], report.pop("images", ())
    earlier = index.execute(_SELECT_TEXTS, (uid,)).fetchone()
    if earlier is None:
        defaults = dict.fromkeys(TEXT_FIELDS) | _REPORT_DEFAULTS
        index.execute(_INSERT_REPORT, defaults | report | {"patient": str(uid)})
    else:
        for name, text in zip(TEXT_FIELDS, earlier, strict=True):
            conflicts[name] += name in report and text is not None and report[name] != text
        if "r2gen" in report:
            index.execute("UPDATE reports SET r2gen = ? WHERE uid = ?", (report["r2gen"], uid))
    for image in images:
        _add_image_name(index, image, "unknown", f"the report {uid}")


def _read_kaggle(path: Path) -> Iterator[dict[str, Any]]:
    columns = ("uid", "Problems", "image", "indication", "findings", "impression")
    uids: set[int] = set()
    for row in read_table(path, columns):
        uid = _parse_number(row["uid"], path)
        if uid in uids:
            raise CorpusError(f"{path} holds the report {uid} twice; copy it again from its source")
        uids.add(uid)
        image = to_one_line(html.unescape(row["image"]))
        yield {
            "uid": uid,
            "has_images": 1,
            "findings": to_one_line(row["findings"]),
            "impression": to_one_line(row["impression"]),
            "indication": to_one_line(row["indication"]),
            "problems": ";".join(problem.strip() for problem in row["Problems"].split(";")),
            "image": "" if image == "Not Available." else image,
        }


def _xml_texts(sources: Sources) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each report in XML; an archive is read without unpacking it."""
    try:
        if sources.archive:
            with tarfile.open(sources.archive, "r|*") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None and _REPORT_NAME.fullmatch(Path(member.name).name):
                        yield member.name, file.read(_MAX_XML_BYTES)
            return
        for path in sources.unpacked:
            with path.open("rb") as opened:
                yield str(path), opened.read(_MAX_XML_BYTES)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise CorpusError(
            f"{sources.archive or sources.folder} cannot be read ({error}); fetch it again"
        ) from error


def _parse_xml(name: str, text: bytes) -> dict[str, Any]:
    try:
        # Expat itself stops entities that grow (2.4 and later), and takes none from outside.
        root = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # or no such encoding
        raise CorpusError(f"the report {name} is not XML ({error}); fetch it again") from error
    identity = root.find("uId")
    texts = {part.get("Label"): part.text for part in root.iter("AbstractText")}
    images = list(root.iter("parentImage"))
    return {
        "uid": _parse_number((identity.get("id") or "")[3:] if identity is not None else "", name),
        "findings": to_one_line(texts.get("FINDINGS")),
        "impression": to_one_line(texts.get("IMPRESSION")),
        "indication": to_one_line(texts.get("INDICATION")),
        # "Opacity/lung/base/left": the problem, then where and how.
        "problems": ";".join(
            (major.text or "").split("/")[0].strip() for major in root.iterfind("MeSH/major")
        ),
        "image": to_one_line(images[0].findtext("caption")) if images else "",
        "images": [image.get("id") or "" for image in images],
    }


def _read_r2gen(path: Path) -> Iterator[dict[str, Any]]:
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        for key, split in (("train", "train"), ("val", "validate"), ("test", "test")):
            for entry in splits[key]:
                match = _R2GEN_ID.fullmatch(entry["id"])
                if match is None:
                    raise CorpusError(f"{path} is not IU X-ray's: it holds {entry['id']!r}")
                images = list(entry["image_path"])
                # JSON can hold half a surrogate pair, which is no text: encoding it raises.
                "".join([entry["report"], *images]).encode()
                yield {
                    "uid": int(match["uid"]),
                    "r2gen": split,
                    "has_images": 1,
                    "findings": to_one_line(entry["report"]),
                    "images": images,
                }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(
            f"{path} is not R2Gen's annotation.json ({type(error).__name__}); fetch it again"
        ) from error


def _add_image_name(index: sqlite3.Connection, name: str, position: str, where: str) -> None:
    """Insert an image that a source names; only Kaggle's table knows the position."""
    parsed = _parse_image_name(name)
    if parsed is None:
        raise CorpusError(f"{where} names a film {name!r}, which is not a name of IU X-ray's")
    uid, image, _ = parsed
    index.execute(
        "INSERT INTO images (uid, image, position, name) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET position = excluded.position, name = excluded.name "
        "WHERE excluded.position <> 'unknown'",
        (uid, image, position, name),
    )


def _add_image_file(index: sqlite3.Connection, path: Path) -> None:
    """Insert the file of an image; of one image in several files, the first of _SUFFIXES stays."""
    parsed = _parse_image_name(f"{path.parent.name}/{path.name}")
    if parsed is None:
        return
    uid, image, rank = parsed
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise CorpusError(
            f"the film {os.fsencode(path)!r} lies in a folder whose name is not in UTF-8; rename it"
        ) from None
    earlier = index.execute(
        "SELECT path FROM images WHERE uid = ? AND image = ?", (uid, image)
    ).fetchone()
    if earlier and earlier[0] and _SUFFIXES.index(Path(earlier[0]).suffix.lower()) <= rank:
        return
    index.execute(
        "INSERT INTO images (uid, image, name, path) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET path = excluded.path",
        (uid, image, path.name, str(path)),
    )


def _parse_image_name(name: str) -> tuple[int, str, int] | None:
    """Return the report, the image and the rank of the file's suffix that a name stands for.

    "1_IM-0001-4001.dcm.png" (Kaggle), "CXR1_1_IM-0001-4001.png" (Open-i) and "CXR1_1_IM-0001/0.png"
    (R2Gen, which numbers the images of a report).
    """
    *folders, file = name.split("/")
    suffix = Path(file).suffix.lower()
    rank = _SUFFIXES.index(suffix) if suffix in _SUFFIXES else 0
    if match := _IMAGE_NAME.fullmatch(file):
        return int(match["uid"]), match["image"], rank
    if folders and (match := _R2GEN_ID.fullmatch(folders[-1])) and Path(file).stem.isdigit():
        return int(match["uid"]), Path(file).stem, rank
    return None


def _set_patients(index: sqlite3.Connection, headers: Path) -> None:
    """Set each patient from Patient ID (0010,0020) of the images' headers.

    In the published table it is the report's own number throughout.
    """
    for row in read_table(headers, ("imageid", "Patient ID")):
        parsed = _parse_image_name(row["imageid"])
        if parsed and row["Patient ID"].strip():
            index.execute(
                "UPDATE reports SET patient = ? WHERE uid = ?",
                (row["Patient ID"].strip(), parsed[0]),
            )


def _parse_number(text: str, where: object) -> int:
    with suppress(ValueError):
        if 0 <= (number := int(text)) < _MAX_NUMBER:
            return number
    raise CorpusError(
        f"{where} has a report of the number {text[:40]!r}; numbers of IU X-ray are whole and have "
        "at most nine digits"
    )

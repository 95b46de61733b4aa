"""IU X-ray's files, in the three forms it is passed on in, joined into one index.

Kaggle's two tables, Open-i's XML and R2Gen's annotation.json hold the same reports; whichever is
there is read, the first word counts, and where another says otherwise is counted. Films are found
by their names, wherever in the folder they lie. Knows no splits and makes no examples.
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
from training.corpus.files import filling, new_index, one_line, table

_SCHEMA = """
CREATE TABLE reports (
    uid INTEGER PRIMARY KEY, patient TEXT NOT NULL, r2gen TEXT NOT NULL, has_films INTEGER,
    findings TEXT, impression TEXT, indication TEXT, problems TEXT, image TEXT);
CREATE TABLE films (
    uid INTEGER, image TEXT, position TEXT NOT NULL DEFAULT 'unknown', name TEXT NOT NULL,
    path TEXT, PRIMARY KEY (uid, image)) WITHOUT ROWID;
"""
WORDS = ("findings", "impression", "indication", "problems", "image")
"""Of a report; those that a source does not have are NULL."""
_SAID = "SELECT findings, impression, indication, problems, image FROM reports WHERE uid = ?"
_NEW = (
    "INSERT INTO reports VALUES (:uid, :patient, :r2gen, :has_films, :findings, :impression, "
    ":indication, :problems, :image)"
)
_NEW_REPORT = {"r2gen": "", "has_films": 0}

_FILM = re.compile(
    r"(?:CXR)?(?P<uid>\d{1,9})_(?:(?P=uid)_)?(?P<image>IM-\d[\d-]*)"
    r"(?i:\.dcm|\.png|\.jpe?g)*"
)
_OF_R2GEN = re.compile(r"CXR(?P<uid>\d{1,9})_(?:(?P=uid)_)?IM-\d[\d-]*")
_REPORT = re.compile(r"(?:CXR)?\d+\.xml")
_KINDS = (".png", ".jpg", ".jpeg", ".dcm")
"""Of one film in several files, the first that is there: what the published scores are of."""
_POSITIONS = {"frontal": "frontal", "lateral": "lateral"}
_LONGEST_XML = 1_000_000
_NUMBERS = 10**9


@dataclass
class Sources:
    """What a folder holds. folders: of films and of all else, in order."""

    folder: Path
    reports: Path | None = None
    projections: Path | None = None
    annotation: Path | None = None
    archive: Path | None = None
    headers: Path | None = None
    unpacked: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)

    def named(self) -> list[str]:
        """The sources of reports that are there, by the name of each."""
        return [
            name
            for name, there in (
                ("Kaggle", self.reports),
                ("Open-i", self.archive or self.unpacked),
                ("R2Gen", self.annotation),
            )
            if there
        ]


def look_into(folder: Path) -> Sources:
    """What there is of IU X-ray in a folder and all folders within.

    Raises:
        CorpusError: there is no such folder, or no report in it.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that IU X-ray lies in")
    found = Sources(folder)
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in sorted(names):
            _sort_in(found, Path(here), name)
    if not found.named():
        raise CorpusError(
            f"{folder} holds no reports of IU X-ray; put indiana_reports.csv with "
            "indiana_projections.csv there, or NLMCXR_reports.tgz, or R2Gen's annotation.json"
        )
    return found


def _sort_in(found: Sources, here: Path, name: str) -> None:
    path = here / name
    if name in ("indiana_reports.csv", "indiana_reports.csv.gz"):
        found.reports = found.reports or path
    elif name in ("indiana_projections.csv", "indiana_projections.csv.gz"):
        found.projections = found.projections or path
    elif name.startswith("annotation") and name.endswith(".json"):
        found.annotation = found.annotation or path
    elif name.startswith("NLMCXR_reports") and name.endswith((".tgz", ".tar.gz", ".tar")):
        found.archive = found.archive or path
    elif name.startswith("nlmcxr_dicom_metadata.csv"):
        found.headers = found.headers or path
    elif _REPORT.fullmatch(name):
        found.unpacked.append(path)
    elif name.lower().endswith(_KINDS):
        found.images.append(path)


def join(found: Sources) -> tuple[sqlite3.Connection, Counter[str]]:
    """All sources in one index (`reports`, `films`), and where they say different things.

    Raises:
        CorpusError: a file is not what it should be.
    """
    index, differ = new_index(_SCHEMA), Counter[str]()
    with filling(index):
        for words in _all_reports(found):
            _add(index, words, differ)
        if found.projections:
            for row in table(found.projections, ("uid", "filename", "projection")):
                position = _POSITIONS.get(row["projection"].strip().lower(), "unknown")
                _name_film(index, row["filename"], position, str(found.projections))
        for path in found.images:
            _place_film(index, path)
        if found.headers:
            _name_patients(index, found.headers)
        index.execute("UPDATE reports SET has_films = 1 WHERE uid IN (SELECT uid FROM films)")
    return index, differ


def _all_reports(found: Sources) -> Iterator[dict[str, Any]]:
    if found.reports:
        yield from _of_kaggle(found.reports)
    if found.archive or found.unpacked:
        for name, text in _xml_texts(found):
            yield _of_xml(name, text)
    if found.annotation:
        yield from _of_r2gen(found.annotation)


def _add(index: sqlite3.Connection, words: dict[str, Any], differ: Counter[str]) -> None:
    """A report as one source gives it: new, or beside what another has said."""
    uid, images = words["uid"], words.pop("films", ())
    before = index.execute(_SAID, (uid,)).fetchone()
    if before is None:
        index.execute(_NEW, dict.fromkeys(WORDS) | _NEW_REPORT | words | {"patient": str(uid)})
    else:
        for name, said in zip(WORDS, before, strict=True):
            differ[name] += name in words and said is not None and words[name] != said
        if "r2gen" in words:
            index.execute("UPDATE reports SET r2gen = ? WHERE uid = ?", (words["r2gen"], uid))
    for image in images:
        _name_film(index, image, "unknown", f"the report {uid}")


def _of_kaggle(path: Path) -> Iterator[dict[str, Any]]:
    columns = ("uid", "Problems", "image", "indication", "findings", "impression")
    seen: set[int] = set()
    for row in table(path, columns):
        uid = _number(row["uid"], path)
        if uid in seen:
            raise CorpusError(f"{path} holds the report {uid} twice; copy it again from its source")
        seen.add(uid)
        image = one_line(html.unescape(row["image"]))
        yield {
            "uid": uid,
            "has_films": 1,
            "findings": one_line(row["findings"]),
            "impression": one_line(row["impression"]),
            "indication": one_line(row["indication"]),
            "problems": ";".join(problem.strip() for problem in row["Problems"].split(";")),
            "image": "" if image == "Not Available." else image,
        }


def _xml_texts(found: Sources) -> Iterator[tuple[str, bytes]]:
    """Name and content of each report in XML; an archive is read as it is, not unpacked."""
    try:
        if found.archive:
            with tarfile.open(found.archive, "r|*") as archive:
                for member in archive:
                    inside = archive.extractfile(member) if member.isfile() else None
                    if inside is not None and _REPORT.fullmatch(Path(member.name).name):
                        yield member.name, inside.read(_LONGEST_XML)
            return
        for path in found.unpacked:
            with path.open("rb") as opened:
                yield str(path), opened.read(_LONGEST_XML)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise CorpusError(
            f"{found.archive or found.folder} cannot be read ({error}); fetch it again"
        ) from error


def _of_xml(name: str, text: bytes) -> dict[str, Any]:
    try:
        # Expat itself stops entities that grow (2.4 and later), and takes none from outside.
        root = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # or no such encoding
        raise CorpusError(f"the report {name} is not XML ({error}); fetch it again") from error
    identity = root.find("uId")
    said = {part.get("Label"): part.text for part in root.iter("AbstractText")}
    images = list(root.iter("parentImage"))
    return {
        "uid": _number((identity.get("id") or "")[3:] if identity is not None else "", name),
        "findings": one_line(said.get("FINDINGS")),
        "impression": one_line(said.get("IMPRESSION")),
        "indication": one_line(said.get("INDICATION")),
        # "Opacity/lung/base/left": the problem, then where and how.
        "problems": ";".join(
            (major.text or "").split("/")[0].strip() for major in root.iterfind("MeSH/major")
        ),
        "image": one_line(images[0].findtext("caption")) if images else "",
        "films": [image.get("id") or "" for image in images],
    }


def _of_r2gen(path: Path) -> Iterator[dict[str, Any]]:
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        for split, ours in (("train", "train"), ("val", "validate"), ("test", "test")):
            for entry in splits[split]:
                match = _OF_R2GEN.fullmatch(entry["id"])
                if match is None:
                    raise CorpusError(f"{path} is not IU X-ray's: it holds {entry['id']!r}")
                images = list(entry["image_path"])
                # Half a character, which JSON can hold, is in no text.
                "".join([entry["report"], *images]).encode()
                yield {
                    "uid": int(match["uid"]),
                    "r2gen": ours,
                    "has_films": 1,
                    "findings": one_line(entry["report"]),
                    "films": images,
                }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(
            f"{path} is not R2Gen's annotation.json ({type(error).__name__}); fetch it again"
        ) from error


def _name_film(index: sqlite3.Connection, name: str, position: str, where: str) -> None:
    """A film that a source names; Kaggle's table says where it was taken from, others do not."""
    known = _known(name)
    if known is None:
        raise CorpusError(f"{where} names a film {name!r}, which is not a name of IU X-ray's")
    uid, image, _ = known
    index.execute(
        "INSERT INTO films (uid, image, position, name) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET position = excluded.position, name = excluded.name "
        "WHERE excluded.position <> 'unknown'",
        (uid, image, position, name),
    )


def _place_film(index: sqlite3.Connection, path: Path) -> None:
    """A film's file; of one film in several files, the first of _KINDS."""
    known = _known(f"{path.parent.name}/{path.name}")
    if known is None:
        return
    uid, image, kind = known
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise CorpusError(
            f"the film {os.fsencode(path)!r} lies in a folder whose name is not in UTF-8; rename it"
        ) from None
    before = index.execute(
        "SELECT path FROM films WHERE uid = ? AND image = ?", (uid, image)
    ).fetchone()
    if before and before[0] and _KINDS.index(Path(before[0]).suffix.lower()) <= kind:
        return
    index.execute(
        "INSERT INTO films (uid, image, name, path) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET path = excluded.path",
        (uid, image, path.name, str(path)),
    )


def _known(name: str) -> tuple[int, str, int] | None:
    """Report, film and kind of file that a name stands for.

    "1_IM-0001-4001.dcm.png" (Kaggle), "CXR1_1_IM-0001-4001.png" (Open-i) and "CXR1_1_IM-0001/0.png"
    (R2Gen, which numbers the films of a report).
    """
    *above, last = name.split("/")
    ending = Path(last).suffix.lower()
    kind = _KINDS.index(ending) if ending in _KINDS else 0
    if match := _FILM.fullmatch(last):
        return int(match["uid"]), match["image"], kind
    if above and (match := _OF_R2GEN.fullmatch(above[-1])) and Path(last).stem.isdigit():
        return int(match["uid"]), Path(last).stem, kind
    return None


def _name_patients(index: sqlite3.Connection, headers: Path) -> None:
    """Patient ID (0010,0020) of the films' headers; it is the report's own number throughout."""
    for row in table(headers, ("imageid", "Patient ID")):
        known = _known(row["imageid"])
        if known and row["Patient ID"].strip():
            index.execute(
                "UPDATE reports SET patient = ? WHERE uid = ?",
                (row["Patient ID"].strip(), known[0]),
            )


def _number(text: str, where: object) -> int:
    with suppress(ValueError):
        if 0 <= (number := int(text)) < _NUMBERS:
            return number
    raise CorpusError(
        f"{where} has a report of the number {text[:40]!r}; numbers of IU X-ray are whole and have "
        "at most nine digits"
    )

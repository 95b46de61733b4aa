"""Reads the files of a corpus: tables in CSV, plain or gzip, and an index that joins them.

A corpus is far larger than memory, and its tables are not in one order. So tables that must be
joined go into a SQLite database, which lies in the temporary folder and is removed when it closes.
"""

from __future__ import annotations

import csv
import gzip
import io
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from records.errors import CorpusError


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file whose header has at least these columns.

    Raises:
        CorpusError: the file cannot be read, or is not such a table.
    """
    try:
        with _open_text(path) as lines:
            rows = csv.DictReader(lines)
            missing = [column for column in columns if column not in (rows.fieldnames or ())]
            if missing:
                raise CorpusError(
                    f"{path} has no column {', '.join(map(repr, missing))}; copy it again from its "
                    "source"
                )
            for row in rows:
                if None in row or None in row.values():
                    raise CorpusError(
                        f"{path} has too few or too many fields at line {rows.line_num}; copy it "
                        "again from its source"
                    )
                yield row
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read ({error}); copy it again from its source") from (
            error
        )


def find_file(folder: Path, *names: str) -> Path | None:
    """Return the first of these files, plain or .gz, in the folder or up to two levels below."""
    for name in names:
        for pattern in (name, f"*/{name}", f"*/*/{name}"):
            for ending in ("", ".gz"):
                paths = sorted(path for path in folder.glob(pattern + ending) if path.is_file())
                if paths:
                    return paths[0]
    return None


def folder_identity(name: str, folder: Path, needs_images: bool) -> dict[str, str]:
    """Return the `Corpus.identity` of a corpus in a folder, however the folder was written.

    The keys are part of a prepared dataset's digest, so they stay as they are.
    """
    return {"name": name, "folder": str(folder.resolve()), "needs_films": str(needs_images)}


def create_index(schema: str) -> sqlite3.Connection:
    """Create an empty database with these tables; it is on disk for as long as it is open.

    It takes a few MB of memory, however much is in it (SQLite's page cache). Only one thread may
    use it at a time.
    """
    index = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    index.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + schema)
    return index


@contextmanager
def fill_index(index: sqlite3.Connection) -> Iterator[None]:
    """Write to an index in one transaction; close the index if that fails.

    Raises:
        CorpusError: the temporary folder is full.
    """
    try:
        index.execute("BEGIN")
        yield
        index.execute("COMMIT")
    except sqlite3.OperationalError as error:
        index.close()
        raise CorpusError(
            f"the index of the corpus cannot be kept in the temporary folder ({error}); make room "
            "there, or name another in TMPDIR"
        ) from error
    except BaseException:
        index.close()
        raise


def to_one_line(text: str | None) -> str:
    """Return the text with each run of white space as one space; None gives ""."""
    return " ".join((text or "").split())


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOBase]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines
    else:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield lines

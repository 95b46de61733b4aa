"""A corpus's files: tables in CSV, plain or gzip, and an index of them on disk. Knows no data set.

A corpus is far larger than memory, and its tables are not in one order. So what must be joined goes
into a SQLite database of its own, which lies in the temporary folder and goes when it is closed.
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


def table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV, which has a head with at least these columns.

    Raises:
        CorpusError: the file cannot be read, or is not such a table.
    """
    try:
        with _opened(path) as lines:
            rows = csv.DictReader(lines)
            lacks = [column for column in columns if column not in (rows.fieldnames or ())]
            if lacks:
                raise CorpusError(
                    f"{path} has no column {', '.join(map(repr, lacks))}; copy it again from its "
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


def one_of(folder: Path, *names: str) -> Path | None:
    """The first of these files, plain or with .gz, in the folder or in a folder within it."""
    for name in names:
        for pattern in (name, f"*/{name}", f"*/*/{name}"):
            for ending in ("", ".gz"):
                found = sorted(path for path in folder.glob(pattern + ending) if path.is_file())
                if found:
                    return found[0]
    return None


def in_folder(name: str, folder: Path, needs_images: bool) -> dict[str, str]:
    """The `Corpus.identity` of a corpus that lies in a folder, however the folder was named."""
    return {"name": name, "folder": str(folder.resolve()), "needs_films": str(needs_images)}


def new_index(schema: str) -> sqlite3.Connection:
    """An empty database with these tables, on disk for as long as it is open.

    Memory: a few MB, however much is in it (SQLite's page cache). One thread at a time.
    """
    index = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    index.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + schema)
    return index


@contextmanager
def filling(index: sqlite3.Connection) -> Iterator[None]:
    """One transaction for all that is put into an index, which is closed where that fails.

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


def one_line(text: str | None) -> str:
    """The text with each run of white space as one space."""
    return " ".join((text or "").split())


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines
    else:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield lines

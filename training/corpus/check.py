"""What a corpus holds, counted: examples, what is left out and why, doubles, pace. Knows no corpus.

A corpus is read once, as a stream; what must be counted apart (patients, texts) is counted in an
index on disk, so a corpus of any size can be checked.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from heapq import heappush, heappushpop
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from model.errors import PixelError
from model.manifest import Preprocessing
from training.corpus.example import SPLITS, Corpus, Example, ExcludedStudy
from training.corpus.files import filling, new_index
from training.corpus.page import draw_page

ON_A_PAGE = 8
ENDLESS_LIMIT = 200
"""Studies of each split that are read of a corpus without end, where no limit is given."""
FORMS = ("word for word", "lower case, no punctuation")
"""How texts are compared when doubles are counted."""

Told = Callable[[int], None]


@runtime_checkable
class HasRemarks(Protocol):
    """A corpus that has more to say of its files than examples can carry."""

    def remarks(self) -> dict[str, int]:
        """What a person should know, and how often."""
        ...


@dataclass
class CorpusSummary:
    """What was counted.

    patients: by split. in_two_splits: patients; there must be none. views: examples by number of
    films, and positions: films by position. left_out: reason -> (studies, the key of one). words:
    of the texts to write. doubles: form -> split -> {"elsewhere": examples whose text stands in
    another split too, "within": examples whose text stood in the same split before}.
    """

    corpus: str
    studies: int = 0
    examples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    patients: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    in_two_splits: int = 0
    views: dict[int, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    words: dict[str, float] = field(default_factory=dict)
    without_indication: int = 0
    with_prior_report: int = 0
    doubles: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)
    page: str = ""
    page_films_unreadable: int = 0
    page_films: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a corpus is read. first_s: seconds to the first example, its index among them."""

    first_s: float
    examples_per_s: float
    with_films_per_s: float
    films_per_s: float


_SCHEMA = "".join(
    f"CREATE TABLE {name} (one BLOB PRIMARY KEY, train INTEGER NOT NULL DEFAULT 0, "
    "validate INTEGER NOT NULL DEFAULT 0, test INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    for name in ("patients", "text0", "text1")
)


def check(
    corpus: Corpus,
    *,
    limit: int = 0,
    endless: bool = False,
    page: Path | None = None,
    told: Told = lambda _: None,
) -> CorpusSummary:
    """Read a corpus and count. limit: of studies, 0 reads all; of each split where it is endless.

    page: where the picture of some examples goes; they are chosen by their keys, so the same
    corpus gives the same page. told: hears how many studies more are read.

    Raises:
        CorpusError: as `Corpus.read`.
    """
    started = time.perf_counter()
    counted, lengths = CorpusSummary(corpus.name), Counter[int]()
    shown: list[tuple[int, int, Example]] = []
    index = new_index(_SCHEMA)
    with filling(index):
        for number, one in enumerate(_stream(corpus, limit, endless)):
            told(1)
            counted.studies += 1
            if isinstance(one, ExcludedStudy):
                count, key = counted.left_out.get(one.reason, (0, one.key))
                counted.left_out[one.reason] = (count + 1, key)
                continue
            lengths[len(one.target.split())] += 1
            _count(counted, one)
            for table, value in zip(("patients", "text0", "text1"), _values(one), strict=True):
                index.execute(
                    f"INSERT INTO {table} (one, {one.split}) VALUES (?, 1) "  # noqa: S608  ours
                    f"ON CONFLICT DO UPDATE SET {one.split} = {one.split} + 1",
                    (value,),
                )
            # The largest of the negated digests are the smallest: those stay.
            entry = (-int.from_bytes(_digest(one.key), "big"), number, one)
            heappush(shown, entry) if len(shown) < ON_A_PAGE else heappushpop(shown, entry)
    for split in SPLITS:
        counted.patients[split] = _sum(index, f"count(*) FILTER (WHERE {split})", "patients")
    counted.in_two_splits = _sum(
        index, "count(*) FILTER (WHERE (train > 0) + (validate > 0) + (test > 0) > 1)", "patients"
    )
    counted.doubles = {
        form: {
            split: {
                "elsewhere": _sum(
                    index, f"sum({split}) FILTER (WHERE train + validate + test > {split})", table
                ),
                "within": _sum(index, f"sum({split} - 1) FILTER (WHERE {split})", table),
            }
            for split in SPLITS
        }
        for form, table in zip(FORMS, ("text0", "text1"), strict=True)
    }
    index.close()
    counted.words = _lengths(lengths)
    if isinstance(corpus, HasRemarks):
        counted.remarks = corpus.remarks()
    if page is not None:
        examples = [example for _, _, example in sorted(shown, key=lambda entry: entry[1])]
        counted.page = str(page)
        counted.page_films = sum(len(example.images) for example in examples)
        counted.page_films_unreadable = draw_page(examples, f"Corpus {corpus.name}", page)
    counted.seconds = time.perf_counter() - started
    return counted


def pace(corpus: Corpus, how: Preprocessing, *, most: int = 500, images: int = 50) -> Pace:
    """Time the first `most` examples without their films, then the first `films` with them.

    Films that cannot be read count as read: what is wanted is the time that they take.
    """
    started = time.perf_counter()
    examples = (one for one in corpus.read() if isinstance(one, Example))
    first = next(examples, None)
    first_s = time.perf_counter() - started
    if first is None:
        return Pace(first_s, 0.0, 0.0, 0.0)
    started = time.perf_counter()
    kept = [first, *islice(examples, images - 1)]
    count = len(kept) + sum(1 for _ in islice(examples, most - len(kept)))
    # The first is read before this clock starts.
    word_s = (time.perf_counter() - started) / max(1, count - 1)
    started, looked = time.perf_counter(), 0
    for image in chain.from_iterable(example.images for example in kept):
        with suppress(PixelError):
            image.pixels(how)
        looked += 1
    film_s = (time.perf_counter() - started) / looked
    return Pace(first_s, 1 / word_s, 1 / (word_s + film_s * looked / len(kept)), 1 / film_s)


def _stream(corpus: Corpus, limit: int, endless: bool) -> Iterator[Example | ExcludedStudy]:
    if endless:
        return chain.from_iterable(
            islice(corpus.read(split), limit or ENDLESS_LIMIT) for split in SPLITS
        )
    return islice(corpus.read(), limit or None)


def _count(counted: CorpusSummary, example: Example) -> None:
    counted.examples[example.split] += 1
    counted.views[len(example.images)] = counted.views.get(len(example.images), 0) + 1
    for image in example.images:
        counted.positions[image.position] = counted.positions.get(image.position, 0) + 1
    counted.without_indication += not example.priors.indication
    counted.with_prior_report += bool(example.priors.prior_report)


def _values(example: Example) -> tuple[bytes, bytes, bytes]:
    """The patient and the two forms of the text, as digests: no text is kept."""
    bare = " ".join(re.sub(r"[^\w\s]", " ", example.target.lower()).split())
    return _digest(example.patient), _digest(example.target), _digest(bare)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()[:12]


def _sum(index: Any, what: str, table: str) -> int:
    return int(index.execute(f"SELECT {what} FROM {table}").fetchone()[0] or 0)  # noqa: S608  ours


def _lengths(lengths: Counter[int]) -> dict[str, float]:
    """Least, median, mean, 95th percentile and most of a histogram."""
    total = lengths.total()
    if not total:
        return {}
    ordered = sorted(lengths)

    def at(share: float) -> int:
        seen = 0
        for length in ordered:
            seen += lengths[length]
            if seen >= share * total:
                return length
        return ordered[-1]

    mean = sum(length * count for length, count in lengths.items()) / total
    return {
        "least": ordered[0],
        "median": at(0.5),
        "mean": round(mean, 1),
        "95 of 100": at(0.95),
        "most": ordered[-1],
    }

"""Summarises a corpus: counts of examples, exclusions and duplicate texts, and its reading speed.

A corpus is read once, as a stream. What must be counted by distinct value (patients, texts) is
counted in an index on disk, so a corpus of any size can be checked.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from heapq import heappush, heappushpop
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from model.errors import PixelError
from model.manifest import Preprocessing
from model.progress import ProgressCallback, no_progress
from training.corpus.example import SPLITS, Corpus, Example, ExcludedStudy
from training.corpus.files import create_index, fill_index
from training.corpus.page import draw_page
from training.corpus.table_rows import Fault

EXAMPLES_ON_PAGE = 8
ENDLESS_LIMIT = 200
"""Studies of each split that are read of an endless corpus, where no limit is given."""
TEXT_FORMS = ("word for word", "lower case, no punctuation")
"""The two ways in which texts are compared to count duplicates."""
_PREPROCESSING = Preprocessing(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""For images that are only tried."""


@runtime_checkable
class HasRemarks(Protocol):
    """A corpus that has more to report of its files than its examples carry."""

    def remarks(self) -> dict[str, int]:
        """What a person should know -> how often it occurs."""
        ...


@runtime_checkable
class HasFaults(Protocol):
    """A corpus whose rows can be wrong."""

    def faults(self) -> list[Fault]:
        """What is wrong, by line."""
        ...


@dataclass
class CorpusSummary:
    """The counts of a corpus. The field names are the keys of `nightdraft corpus check --json`.

    Attributes:
        patients: By split.
        in_two_splits: Patients in more than one split; there must be none.
        views: Number of images -> examples that have so many.
        positions: View position -> images.
        left_out: Reason -> (excluded studies, the key of one of them).
        words: Lengths of the target texts.
        faults: Rows that are wrong, with their line, study and reason.
        images_read: Images that were read whole; 0 where that was not asked for.
        images_unreadable: The key of the study and the reason, for each image that cannot be read.
        doubles: Form of the text -> split -> {"elsewhere": examples whose text is in another split
            too, "within": examples whose text was in the same split before}.
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
    faults: list[Fault] = field(default_factory=list)
    images_read: int = 0
    images_unreadable: list[tuple[str, str]] = field(default_factory=list)
    page: str = ""
    page_films_unreadable: int = 0
    page_films: int = 0
    seconds: float = 0.0

    @property
    def is_faultless(self) -> bool:
        """Whether no row is wrong and no image was found that cannot be read."""
        return not (self.faults or self.images_unreadable)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a corpus is read; the field names are JSON keys.

    Attributes:
        first_s: Seconds to the first example, including the time to build the index.
        examples_per_s: Without images.
        with_films_per_s: Examples with their images.
        films_per_s: Images alone.
    """

    first_s: float
    examples_per_s: float
    with_films_per_s: float
    films_per_s: float


_SCHEMA = "".join(
    f"CREATE TABLE {name} (value BLOB PRIMARY KEY, train INTEGER NOT NULL DEFAULT 0, "
    "validate INTEGER NOT NULL DEFAULT 0, test INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    for name in ("patients", "text0", "text1")
)


def summarise_corpus(
    corpus: Corpus,
    *,
    limit: int = 0,
    endless: bool = False,
    page: Path | None = None,
    read_images: bool = False,
    progress: ProgressCallback = no_progress,
) -> CorpusSummary:
    """Read a corpus and count what it holds.

    Args:
        corpus: The corpus.
        limit: Studies to read, of each split if the corpus is endless; 0 reads all.
        endless: Whether the corpus never ends.
        page: Where to draw a picture of some examples. They are chosen by their keys, so the same
            corpus gives the same page.
        read_images: Read every image whole, to find those that cannot be read.
        progress: Is called for each study that was read; the total is not known.

    Raises:
        CorpusError: as `Corpus.read`.
    """
    started = time.perf_counter()
    summary, lengths = CorpusSummary(corpus.name), Counter[int]()
    page_heap: list[tuple[int, int, Example]] = []
    index = create_index(_SCHEMA)
    with fill_index(index):
        for number, study in enumerate(_stream(corpus, limit, endless)):
            progress(f"reading {corpus.name}", number + 1, None)
            summary.studies += 1
            if isinstance(study, ExcludedStudy):
                count, key = summary.left_out.get(study.reason, (0, study.key))
                summary.left_out[study.reason] = (count + 1, key)
                continue
            lengths[len(study.target.split())] += 1
            _count_example(summary, study)
            if read_images:
                _read_images(summary, study)
            split = study.split
            for table, value in zip(("patients", "text0", "text1"), _digests(study), strict=True):
                index.execute(
                    f"INSERT INTO {table} (value, {split}) VALUES (?, 1) "  # noqa: S608  ours
                    f"ON CONFLICT DO UPDATE SET {split} = {split} + 1",
                    (value,),
                )
            # The heap keeps the largest of the negated digests: the smallest digests.
            entry = (-int.from_bytes(_digest(study.key), "big"), number, study)
            if len(page_heap) < EXAMPLES_ON_PAGE:
                heappush(page_heap, entry)
            else:
                heappushpop(page_heap, entry)
    for split in SPLITS:
        summary.patients[split] = _query(index, f"count(*) FILTER (WHERE {split})", "patients")
    summary.in_two_splits = _query(
        index, "count(*) FILTER (WHERE (train > 0) + (validate > 0) + (test > 0) > 1)", "patients"
    )
    summary.doubles = {
        form: {
            split: {
                "elsewhere": _query(
                    index, f"sum({split}) FILTER (WHERE train + validate + test > {split})", table
                ),
                "within": _query(index, f"sum({split} - 1) FILTER (WHERE {split})", table),
            }
            for split in SPLITS
        }
        for form, table in zip(TEXT_FORMS, ("text0", "text1"), strict=True)
    }
    index.close()
    summary.words = _describe_lengths(lengths)
    if isinstance(corpus, HasFaults):
        summary.faults = corpus.faults()
    if isinstance(corpus, HasRemarks):
        summary.remarks = corpus.remarks()
    if page is not None:
        examples = [example for _, _, example in sorted(page_heap, key=lambda entry: entry[1])]
        summary.page = str(page)
        summary.page_films = sum(len(example.images) for example in examples)
        summary.page_films_unreadable = draw_page(examples, f"Corpus {corpus.name}", page)
    summary.seconds = time.perf_counter() - started
    return summary


def measure_pace(
    corpus: Corpus, preprocessing: Preprocessing, *, max_examples: int = 500, with_images: int = 50
) -> Pace:
    """Measure how fast a corpus is read.

    The first `max_examples` are read without their images, then the images of the first
    `with_images` of them. Images that cannot be read count as read, since it is their time that is
    measured.
    """
    started = time.perf_counter()
    examples = (study for study in corpus.read() if isinstance(study, Example))
    first = next(examples, None)
    first_s = time.perf_counter() - started
    if first is None:
        return Pace(first_s, 0.0, 0.0, 0.0)
    started = time.perf_counter()
    first_examples = [first, *islice(examples, with_images - 1)]
    count = len(first_examples) + sum(
        1 for _ in islice(examples, max_examples - len(first_examples))
    )
    # The first example was read before this clock started.
    example_s = (time.perf_counter() - started) / max(1, count - 1)
    started, image_count = time.perf_counter(), 0
    for image in chain.from_iterable(example.images for example in first_examples):
        with suppress(PixelError):
            image.pixels(preprocessing)
        image_count += 1
    image_s = (time.perf_counter() - started) / image_count
    both_s = example_s + image_s * image_count / len(first_examples)
    return Pace(first_s, 1 / example_s, 1 / both_s, 1 / image_s)


def _stream(corpus: Corpus, limit: int, endless: bool) -> Iterator[Example | ExcludedStudy]:
    if endless:
        return chain.from_iterable(
            islice(corpus.read(split), limit or ENDLESS_LIMIT) for split in SPLITS
        )
    return islice(corpus.read(), limit or None)


def _count_example(summary: CorpusSummary, example: Example) -> None:
    summary.examples[example.split] += 1
    summary.views[len(example.images)] = summary.views.get(len(example.images), 0) + 1
    for image in example.images:
        summary.positions[image.position] = summary.positions.get(image.position, 0) + 1
    summary.without_indication += not example.priors.indication
    summary.with_prior_report += bool(example.priors.prior_report)


def _read_images(summary: CorpusSummary, example: Example) -> None:
    for image in example.images:
        summary.images_read += 1
        try:
            image.pixels(_PREPROCESSING)
        except PixelError as error:
            summary.images_unreadable.append((example.key, f"{image.source}: {error}"))


def _digests(example: Example) -> tuple[bytes, bytes, bytes]:
    """Return digests of the patient and of the text in its two forms, so that no text is kept."""
    bare = " ".join(re.sub(r"[^\w\s]", " ", example.target.lower()).split())
    return _digest(example.patient), _digest(example.target), _digest(bare)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()[:12]


def _query(index: Any, expression: str, table: str) -> int:
    statement = f"SELECT {expression} FROM {table}"  # noqa: S608  ours
    return int(index.execute(statement).fetchone()[0] or 0)


def _describe_lengths(lengths: Counter[int]) -> dict[str, float]:
    """Return the least, median, mean, 95th percentile and most of a histogram of lengths."""
    total = lengths.total()
    if not total:
        return {}
    ordered = sorted(lengths)

    def percentile(share: float) -> int:
        count = 0
        for length in ordered:
            count += lengths[length]
            if count >= share * total:
                return length
        return ordered[-1]

    mean = sum(length * count for length, count in lengths.items()) / total
    return {
        "least": ordered[0],
        "median": percentile(0.5),
        "mean": round(mean, 1),
        "95 of 100": percentile(0.95),
        "most": ordered[-1],
    }

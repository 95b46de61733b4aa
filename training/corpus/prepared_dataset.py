"""Prepares a split of a corpus for training: texts in one file, decoded images in another.

Images are decoded once, by all cores, and not again in each epoch. A training run then reads a few
hundred kilobytes for each example from a mapped file. In memory there is only the offset of each
example.

<folder>/examples.jsonl   one line for each example
<folder>/starts.npy       (n,) int64, where each line begins
<folder>/views.u8         (images, S, S) uint8
<folder>/shelf.json       what it was made from; written last, so a folder without it is incomplete
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from model.case import Priors
from model.errors import PixelError
from model.manifest import Preprocessing
from model.progress import ProgressCallback, no_progress
from model.prompting.oracle import Oracle
from model.prompting.prompt import Symptoms
from records.errors import CorpusError, DiskFull
from training.corpus.example import Example, ExcludedStudy

CHUNK_SIZE = 32
"""Examples that a process prepares at a time."""

PreparedExample = tuple[Example, list[NDArray[np.uint8]]] | ExcludedStudy


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that was decoded in advance; `row` is its index in views.u8."""

    views: NDArray[np.uint8]
    row: int
    position: str
    source: str

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """See `StudyImage.pixels`; only the size that was prepared can be read."""
        image = self.views[self.row]
        size = preprocessing.size
        if image.shape != (size, size):
            raise PixelError(
                f"the prepared corpus holds films of {image.shape[0]} pixels, not {size}"
            )
        return np.array(image)


class PreparedDataset(Sequence[Example]):
    """The prepared examples by index, in the corpus's order. `prepare_dataset` makes one."""

    def __init__(self, folder: Path) -> None:
        """Open a complete prepared dataset.

        Raises:
            CorpusError: the folder is incomplete, or is no prepared dataset.
        """
        try:
            self.about: dict[str, Any] = json.loads((folder / "shelf.json").read_text("utf-8"))
            self._starts = np.load(folder / "starts.npy")
            self._lines = np.memmap(folder / "examples.jsonl", np.uint8, "r")
            count, size = int(self.about["films"]), int(self.about["size"])
            self._views: NDArray[np.uint8] = (
                np.memmap(folder / "views.u8", np.uint8, "r", shape=(count, size, size))
                if count
                else np.empty((0, size, size), np.uint8)
            )
        except (OSError, ValueError, KeyError) as error:
            raise CorpusError(
                f"{folder} is not a complete prepared corpus: remove it, it is made again"
            ) from error
        self._symptoms: Sequence[Symptoms] | None = None

    def with_symptoms(self, symptoms: Sequence[Symptoms]) -> PreparedDataset:
        """The same dataset, whose examples have these symptoms, in their order."""
        if len(symptoms) != len(self):
            raise ValueError(f"there are {len(symptoms)} symptoms for {len(self)} examples")
        other = copy.copy(self)
        other._symptoms = symptoms
        return other

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) the number of bytes of each example's texts."""
        return np.asarray(np.diff(self._starts, append=len(self._lines)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        stop = int(self._starts[index + 1]) if index < len(self) - 1 else len(self._lines)
        fields = json.loads(self._lines[int(self._starts[index]) : stop].tobytes())
        return self._parse(fields, None if self._symptoms is None else self._symptoms[index])

    def _parse(self, fields: dict[str, Any], seen: Symptoms | None) -> Example:
        oracle = fields.pop("oracle")
        if oracle is not None:
            symptoms = Symptoms(*(tuple(oracle["symptoms"][k]) for k in ("present", "absent")))
            oracle = Oracle(tuple(oracle["problems"]), oracle["image"], symptoms)
        images = tuple(PreparedImage(self._views, *image) for image in fields.pop("films"))
        truth = fields.pop("truth")
        return Example(
            **fields | {"priors": Priors(**fields["priors"])},
            images=images,
            oracle=oracle,
            truth=None if truth is None else frozenset(truth),
            symptoms=seen,
        )


def prepare_dataset(
    folder: Path,
    examples: Iterable[Example | ExcludedStudy],
    preprocessing: Preprocessing,
    identity: dict[str, Any],
    progress: ProgressCallback = no_progress,
    *,
    processes: int | None = None,
) -> PreparedDataset:
    """Open the prepared dataset in a folder; prepare it first if it is not there.

    A dataset that is incomplete or of another identity is replaced.

    Args:
        folder: Where it is kept.
        examples: The studies of the split; not read if the dataset is there.
        preprocessing: How images are prepared.
        identity: Everything that the examples depend on: corpus, options, limit.
        progress: Is called with the number of studies that are done; the total is not known
            while preparing.
        processes: Worker processes; None takes one for each core, 0 prepares in this process.

    Raises:
        CorpusError: the corpus gives no example at all.
        DiskFull: the disk is full; nothing of the dataset is left behind.
    """
    if dataset := open_prepared(folder, preprocessing, identity):
        progress("preparing studies", len(dataset), len(dataset))
        return dataset
    partial = folder.with_name(folder.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        return _write_dataset(
            folder, partial, examples, preprocessing, identity, progress, processes
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room to prepare the films at {folder}: make room there") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_prepared(
    folder: Path, preprocessing: Preprocessing, identity: dict[str, Any]
) -> PreparedDataset | None:
    """Return the prepared dataset in a folder if it is complete and of this identity, else None."""
    if not (folder / "shelf.json").is_file():
        return None
    dataset = PreparedDataset(folder)
    expected = _digest(_full_identity(preprocessing, identity))
    return dataset if dataset.about["digest"] == expected else None


def _full_identity(preprocessing: Preprocessing, identity: dict[str, Any]) -> dict[str, Any]:
    return {**identity, "size": preprocessing.size, "resize": preprocessing.resize}


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _write_dataset(
    folder: Path,
    partial: Path,
    examples: Iterable[Example | ExcludedStudy],
    preprocessing: Preprocessing,
    identity: dict[str, Any],
    progress: ProgressCallback,
    processes: int | None,
) -> PreparedDataset:
    partial.mkdir(parents=True)
    starts: list[int] = []
    image_count, reasons = 0, Counter[str]()
    with (
        (partial / "examples.jsonl").open("wb") as lines,
        (partial / "views.u8").open("wb") as views,
    ):
        prepared_studies = _prepare_all(examples, preprocessing, processes)
        for done, prepared in enumerate(prepared_studies, start=1):
            progress("preparing studies", done, None)
            if isinstance(prepared, ExcludedStudy):
                reasons[prepared.reason] += 1
                continue
            example, pixels = prepared
            starts.append(lines.tell())
            lines.write(_to_json(example, image_count).encode() + b"\n")
            for image in pixels:
                views.write(image.tobytes())
            image_count += len(pixels)
        for file in (lines, views):
            file.flush()
            os.fsync(file.fileno())
    if not starts:
        summary = (
            ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "it is empty"
        )
        raise CorpusError(f"the corpus gives nothing to learn from: {summary}")
    np.save(partial / "starts.npy", np.array(starts, np.int64))
    full = _full_identity(preprocessing, identity)
    about = {
        "digest": _digest(full),
        "films": image_count,
        "size": preprocessing.size,
        "left_out": dict(reasons),
    }
    (partial / "shelf.json").write_text(json.dumps({**about, "of": full}, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return PreparedDataset(folder)


def _to_json(example: Example, first_row: int) -> str:
    """Return an example as a line of examples.jsonl; its images begin at `first_row`."""
    fields = {
        "key": example.key,
        "patient": example.patient,
        "split": example.split,
        "target": example.target,
        "priors": asdict(example.priors),
        "prior_sources": example.prior_sources,
        "oracle": None if example.oracle is None else asdict(example.oracle),
        "oracle_template": example.oracle_template,
        "truth": None if example.truth is None else sorted(example.truth),
        "films": [
            [first_row + n, image.position, image.source] for n, image in enumerate(example.images)
        ],
    }
    return json.dumps(fields, ensure_ascii=False)


def _prepare_all(
    examples: Iterable[Example | ExcludedStudy], preprocessing: Preprocessing, processes: int | None
) -> Iterator[PreparedExample]:
    """Yield every study with its pixels, in order; a bounded number of chunks is worked ahead."""
    count = len(os.sched_getaffinity(0)) if processes is None else processes
    # Spawned and not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn")) if count else nullcontext()
    with pool as executor:
        stream = iter(examples)
        chunks = iter(lambda: list(islice(stream, CHUNK_SIZE)), [])
        if not isinstance(executor, Executor):
            for chunk in chunks:
                yield from _prepare_chunk(chunk, preprocessing)
            return
        pending = [
            executor.submit(_prepare_chunk, chunk, preprocessing)
            for chunk in islice(chunks, 4 * count)
        ]
        while pending:
            yield from pending.pop(0).result()
            pending += [
                executor.submit(_prepare_chunk, chunk, preprocessing) for chunk in islice(chunks, 1)
            ]


def _prepare_chunk(
    chunk: list[Example | ExcludedStudy], preprocessing: Preprocessing
) -> list[PreparedExample]:
    prepared: list[PreparedExample] = []
    for study in chunk:
        if isinstance(study, ExcludedStudy):
            prepared.append(study)
            continue
        try:
            pixels = [image.pixels(preprocessing) for image in study.images]
        except PixelError:
            prepared.append(ExcludedStudy(study.key, "a film cannot be read"))
            continue
        # Pixels are returned beside the example; what they were read from stays in this process.
        images = tuple(_DetachedImage(image.position, image.source) for image in study.images)
        prepared.append((replace(study, images=images), pixels))
    return prepared


@dataclass(frozen=True, slots=True)
class _DetachedImage:
    """The position and source of an image whose pixels are passed beside it."""

    position: str
    source: str

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:  # noqa: ARG002
        raise PixelError("the pixels of this image are in the prepared dataset")

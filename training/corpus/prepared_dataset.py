"""A split of a corpus put ready to learn from: words in one file, films prepared in another.

Films are decoded once, by all cores, and not again each time round: a training run then reads a
few hundred kilobytes an example from a mapped file. Nothing of the corpus is held in memory but
where each example begins. Knows no network; what it prepares is as a bundle reads films.

<shelf>/examples.jsonl   a line an example
<shelf>/starts.npy       (n,) int64, where each line begins
<shelf>/views.u8         (films, S, S) uint8
<shelf>/shelf.json       what it was made of; written last, so a shelf without it is not whole
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from model.prompting.oracle import Oracle
from model.prompting.prompt import Symptoms
from records.errors import CorpusError, DiskFull
from training.corpus.example import Example, ExcludedStudy

PIECE = 32
"""Examples that a process prepares at a time."""

Prepared = tuple[Example, list[NDArray[np.uint8]]] | ExcludedStudy


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A prepared film. row: its place in views.u8."""

    views: NDArray[np.uint8]
    row: int
    position: str
    source: str

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        """As `example.Film.pixels`; it was prepared in advance, and for one size."""
        image = self.views[self.row]
        if image.shape != (how.size, how.size):
            raise PixelError(f"the shelf holds films of {image.shape[0]} pixels, not {how.size}")
        return np.array(image)


class PreparedDataset(Sequence[Example]):
    """Examples by their place, in the corpus's order. Make one with `shelve`."""

    def __init__(self, folder: Path) -> None:
        """Open a whole shelf.

        Raises:
            CorpusError: it is not whole, or not a shelf.
        """
        try:
            self.about: dict[str, Any] = json.loads((folder / "shelf.json").read_text("utf-8"))
            self._starts = np.load(folder / "starts.npy")
            self._lines = np.memmap(folder / "examples.jsonl", np.uint8, "r")
            images, size = int(self.about["films"]), int(self.about["size"])
            self._views: NDArray[np.uint8] = (
                np.memmap(folder / "views.u8", np.uint8, "r", shape=(images, size, size))
                if images
                else np.empty((0, size, size), np.uint8)
            )
        except (OSError, ValueError, KeyError) as error:
            raise CorpusError(
                f"{folder} is not a whole shelf: remove it, it is made again"
            ) from error

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) bytes of each example's words."""
        return np.asarray(np.diff(self._starts, append=len(self._lines)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        stop = int(self._starts[place + 1]) if place < len(self) - 1 else len(self._lines)
        return self._read(json.loads(self._lines[int(self._starts[place]) : stop].tobytes()))

    def _read(self, said: dict[str, Any]) -> Example:
        oracle = said.pop("oracle")
        if oracle is not None:
            symptoms = Symptoms(*(tuple(oracle["symptoms"][k]) for k in ("present", "absent")))
            oracle = Oracle(tuple(oracle["problems"]), oracle["image"], symptoms)
        images = tuple(PreparedImage(self._views, *image) for image in said.pop("films"))
        truth = said.pop("truth")
        return Example(
            **said | {"priors": Priors(**said["priors"])},
            images=images,
            oracle=oracle,
            truth=None if truth is None else frozenset(truth),
        )


def prepare_dataset(
    folder: Path,
    examples: Iterable[Example | ExcludedStudy],
    how: Preprocessing,
    identity: dict[str, Any],
    told: Callable[[int], None] = lambda _: None,
    *,
    processes: int | None = None,
) -> PreparedDataset:
    """The shelf in a folder, made now if it is not there whole and of the same identity.

    identity: all that the examples depend on: corpus, reading, limit. told: hears how many more
    examples are done. processes: None takes one a core; 0 prepares in this one.

    Raises:
        CorpusError: the corpus gives no example at all.
        DiskFull: no room; nothing is left of it.
    """
    if shelf := open_prepared(folder, how, identity):
        told(len(shelf))
        return shelf
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        return _make(folder, fresh, examples, how, identity, told, processes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room to prepare the films at {folder}: make room there") from error
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def open_prepared(
    folder: Path, how: Preprocessing, identity: dict[str, Any]
) -> PreparedDataset | None:
    """The shelf in a folder, if it is there whole and of that identity."""
    if not (folder / "shelf.json").is_file():
        return None
    shelf = PreparedDataset(folder)
    return shelf if shelf.about["digest"] == _digest(_of(how, identity)) else None


def _of(how: Preprocessing, identity: dict[str, Any]) -> dict[str, Any]:
    return {**identity, "size": how.size, "resize": how.resize}


def _digest(of: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _make(
    folder: Path,
    fresh: Path,
    examples: Iterable[Example | ExcludedStudy],
    how: Preprocessing,
    identity: dict[str, Any],
    told: Callable[[int], None],
    processes: int | None,
) -> PreparedDataset:
    fresh.mkdir(parents=True)
    starts: list[int] = []
    images, left = 0, Counter[str]()
    with (fresh / "examples.jsonl").open("wb") as lines, (fresh / "views.u8").open("wb") as views:
        for prepared in _prepared(examples, how, processes):
            told(1)
            if isinstance(prepared, ExcludedStudy):
                left[prepared.reason] += 1
                continue
            example, pixels = prepared
            starts.append(lines.tell())
            lines.write(_line(example, images).encode() + b"\n")
            for image in pixels:
                views.write(image.tobytes())
            images += len(pixels)
        for file in (lines, views):
            file.flush()
            os.fsync(file.fileno())
    if not starts:
        why = ", ".join(f"{count} {reason}" for reason, count in left.items()) or "it is empty"
        raise CorpusError(f"the corpus gives nothing to learn from: {why}")
    np.save(fresh / "starts.npy", np.array(starts, np.int64))
    of = _of(how, identity)
    about = {"digest": _digest(of), "films": images, "size": how.size, "left_out": dict(left)}
    (fresh / "shelf.json").write_text(json.dumps({**about, "of": of}, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return PreparedDataset(folder)


def _line(example: Example, row: int) -> str:
    said = {
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
            [row + n, image.position, image.source] for n, image in enumerate(example.images)
        ],
    }
    return json.dumps(said, ensure_ascii=False)


def _prepared(
    examples: Iterable[Example | ExcludedStudy], how: Preprocessing, processes: int | None
) -> Iterator[Prepared]:
    """Every example with its films, in order, a bounded number of pieces ahead."""
    count = len(os.sched_getaffinity(0)) if processes is None else processes
    # Spawned and not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn")) if count else nullcontext()
    with pool as running:
        stream = iter(examples)
        pieces = iter(lambda: list(islice(stream, PIECE)), [])
        if not isinstance(running, Executor):
            for piece in pieces:
                yield from _prepare(piece, how)
            return
        waiting = [running.submit(_prepare, piece, how) for piece in islice(pieces, 4 * count)]
        while waiting:
            yield from waiting.pop(0).result()
            waiting += [running.submit(_prepare, piece, how) for piece in islice(pieces, 1)]


def _prepare(piece: list[Example | ExcludedStudy], how: Preprocessing) -> list[Prepared]:
    done: list[Prepared] = []
    for one in piece:
        if isinstance(one, ExcludedStudy):
            done.append(one)
            continue
        try:
            pixels = [image.pixels(how) for image in one.images]
        except PixelError:
            done.append(ExcludedStudy(one.key, "a film cannot be read"))
            continue
        # The films go back as pixels; what they were read from stays here.
        images = tuple(_Gone(image.position, image.source) for image in one.images)
        done.append((replace(one, images=images), pixels))
    return done


@dataclass(frozen=True, slots=True)
class _Gone:
    """A film whose pixels are elsewhere."""

    position: str
    source: str

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:  # noqa: ARG002
        raise PixelError("its pixels are on the shelf")

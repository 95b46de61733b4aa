"""`nightdraft bench feed`: studies a second that a training run is fed, from a shelf and without.

The same studies, DICOM files of drawn phantoms, as batches of the paper's size and films of 224
pixels: their films prepared once (training.corpus.prepared_dataset), beside their films decoded each time. One
core each, no network: what a run must not be faster than, or it waits. Knows no rates and no loss.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import CLIP_MEAN, CLIP_STD, SIZES, build_random
from nightdraft.bench.machine import machine_facts, summarise
from training.corpus.example import TRAIN, CorpusOptions, Example, ImageFile
from training.corpus.phantom_corpus import as_example
from training.corpus.phantoms import Phantom
from training.corpus.phantoms_dicom import write_phantoms
from training.corpus.prepared_dataset import prepare_dataset
from training.finetuning.batches import BatchLoader, SampleTransform

SIZE = 224
BATCH = 3
HOW = Preprocessing(SIZE, CLIP_MEAN, CLIP_STD)


def measure(studies: int, pixels: int, runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Time both ways in turns. pixels: a side of the films in the files."""
    tiny = SIZES["tiny"]
    model = build_random(replace(tiny, vision={**tiny.vision, "image_size": SIZE}))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as folder:
            say(f"writing {studies} studies as files")
            written = write_phantoms(Path(folder) / "films", range(studies), size=pixels)
            examples = [_in_files(one, paths) for one, paths in written]
            say("preparing them on a shelf")
            started = time.perf_counter()
            shelf = prepare_dataset(Path(folder) / "shelf", iter(examples), HOW, {}, processes=0)
            prepared = studies / (time.perf_counter() - started)
            ways: dict[str, Sequence[Example]] = {"shelf": shelf, "files": examples}
            pace: dict[str, list[float]] = {name: [] for name in ways}
            for run in range(runs):
                for name, source in ways.items():
                    pace[name].append(_pace(model, source, studies))
                say(f"run {run + 1} of {runs}")
            # The shelf's files are mapped: let go of them before their folder goes.
            del shelf, ways, source
    finally:
        torch.set_num_threads(threads)
    return {
        **machine_facts(),
        "studies": studies,
        "pixels": pixels,
        "runs": runs,
        "shelf": summarise(pace["shelf"]),
        "files": summarise(pace["files"]),
        "preparing": round(prepared, 1),
        "ratio": round(summarise(pace["shelf"])["median"] / summarise(pace["files"])["median"], 2),
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    table = Table(box=None, header_style="bold")
    table.add_column("films")
    table.add_column("studies/s of one core", justify="right")
    for name, words in (("shelf", "prepared once"), ("files", "decoded each time")):
        table.add_row(words, f"{measured[name]['median']:,.0f}")
    table.add_row("preparing them", f"{measured['preparing']:,.0f}")
    return Group(
        Text(
            f"{measured['studies']} studies of films of {measured['pixels']} pixels, as batches of "
            f"{BATCH}, films of {SIZE}, turned and exposed; median of {measured['runs']} runs, in "
            f"turns; the shelf is {measured['ratio']:.1f} times as fast"
        ),
        table,
    )


def _in_files(one: Phantom, paths: list[Path]) -> Example:
    """A phantom whose films are its files."""
    example = as_example(one, TRAIN, CorpusOptions())
    images = tuple(
        ImageFile(path, image.position, path.stem)
        for path, image in zip(paths, example.images, strict=True)
    )
    return replace(example, images=images)


def _pace(model: ClinicalBLIP, source: Sequence[Example], studies: int) -> float:
    loader = BatchLoader(
        model,
        source,
        SampleTransform(),
        priors=True,
        batch_size=BATCH,
        seed=0,
        max_target_tokens=150,
    )
    batches = max(1, studies // BATCH)
    started = time.perf_counter()
    for number in range(batches):
        loader.batch(number)
    return batches * BATCH / (time.perf_counter() - started)

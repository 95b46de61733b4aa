"""`nightdraft bench feed`: the pace at which examples are made for a training.

The same studies, DICOM files of drawn phantoms, are made into batches of the paper's size with
views of 224 pixels: from a prepared dataset, and from the files, decoded each time. One core does
it, and there is no network. A training that learns faster than this pace has to wait.
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
PREPROCESSING = Preprocessing(SIZE, CLIP_MEAN, CLIP_STD)


def measure(studies: int, pixels: int, runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Time both sources in turns.

    Args:
        studies: Number of phantoms.
        pixels: Side of the images in the files.
        runs: Runs of each source.
        log: Gets lines for a person.
    """
    tiny = SIZES["tiny"]
    model = build_random(replace(tiny, vision={**tiny.vision, "image_size": SIZE}))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as folder:
            log(f"writing {studies} studies as files")
            written = write_phantoms(Path(folder) / "films", range(studies), size=pixels)
            examples = [_in_files(study, paths) for study, paths in written]
            log("preparing their images")
            started = time.perf_counter()
            dataset = prepare_dataset(
                Path(folder) / "shelf", iter(examples), PREPROCESSING, {}, processes=0
            )
            prepared = studies / (time.perf_counter() - started)
            sources: dict[str, Sequence[Example]] = {"shelf": dataset, "files": examples}
            pace: dict[str, list[float]] = {name: [] for name in sources}
            for run in range(runs):
                for name, source in sources.items():
                    pace[name].append(_pace(model, source, studies))
                log(f"run {run + 1} of {runs}")
            # The dataset's files are mapped; release them before their folder is removed.
            del dataset, sources, source
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
    for name, label in (("shelf", "prepared once"), ("files", "decoded each time")):
        table.add_row(label, f"{measured[name]['median']:,.0f}")
    table.add_row("preparing them", f"{measured['preparing']:,.0f}")
    return Group(
        Text(
            f"{measured['studies']} studies of films of {measured['pixels']} pixels, as batches of "
            f"{BATCH}, films of {SIZE}, rotated and exposed anew; median of {measured['runs']} "
            f"runs, in turns; prepared films are {measured['ratio']:.1f} times as fast"
        ),
        table,
    )


def _in_files(study: Phantom, paths: list[Path]) -> Example:
    """A phantom whose images are files."""
    example = as_example(study, TRAIN, CorpusOptions())
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

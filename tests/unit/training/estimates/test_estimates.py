"""What is counted, planned and added up before a training, without a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model.errors import PixelError
from model.manifest import Preprocessing, resolve
from model.network.sizes import CLIP_MEAN, CLIP_STD, config_of
from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, VALIDATE, Example, ExcludedStudy
from training.estimates import machine
from training.estimates.disk import bundle_bytes, checkpoint_bytes
from training.estimates.dry_run import hours_of
from training.estimates.example_counts import count_examples
from training.estimates.step_timing import StepTimes, decode, examples_needed
from training.finetuning.config import TrainingConfig
from training.finetuning.stages import STAGE1
from training.memory.plan import MemoryPlan, MemorySettings, plan_memory

CONFIG = TrainingConfig(steps=1000, batch=3, accumulation=4, save_every=200)
PLAN = MemoryPlan("stage2", MemorySettings(), 9_000, 10, 10, 20, 500, 1)


class Film:
    position, source = "frontal", "a film"

    def __init__(self, *, readable: bool = True) -> None:
        self.readable = readable

    def pixels(self, preprocessing: Preprocessing) -> Any:
        if not self.readable:
            raise PixelError("the film cannot be read")
        return np.zeros((preprocessing.size, preprocessing.size), np.uint8)


def example(number: int, split: str = TRAIN, **options: Any) -> Example:
    return Example(str(number), f"P{number}", split, (Film(**options),), "Clear lungs.")


class Listed:
    name = "listed"

    def __init__(self, studies: list[Example | ExcludedStudy]) -> None:
        self.studies = studies

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        return (s for s in self.studies if not split or getattr(s, "split", "") == split)


def data(studies: list[Example | ExcludedStudy], limit: int = 0) -> Any:
    return SimpleNamespace(corpus=Listed(studies), limit=limit, endless=False)


def test_examples_are_counted_by_split_and_drawn_of_those_that_are_trained_on() -> None:
    studies = [
        *(example(n) for n in range(50)),
        *(example(n, VALIDATE) for n in range(50, 1_060)),
        *(example(n, TEST) for n in range(2_000, 2_007)),
        ExcludedStudy("a", "no findings"),
        ExcludedStudy("b", "no findings"),
    ]
    counts = count_examples(data(studies), 20)
    # No more than 1,000 validation examples are ever read.
    assert counts.by_split == {TRAIN: 50, VALIDATE: 1_000, TEST: 7}
    assert counts.left_out == {"no findings": 2}
    keys = {int(e.key) for e in counts.drawn}
    assert len(keys) == 20
    assert max(keys) < 50
    assert max(keys) - min(keys) > 20  # not the first twenty
    limited = count_examples(data(studies, limit=8), 20)
    assert limited.by_split[TRAIN] == 8
    assert [int(e.key) for e in limited.drawn] == list(range(8))


def test_films_that_cannot_be_read_are_counted() -> None:
    preprocessing = Preprocessing(8, CLIP_MEAN, CLIP_STD)
    drawn = [example(1), example(2, readable=False), example(3)]
    decoded = decode(drawn, preprocessing)
    assert [e.key for e in decoded.examples] == ["1", "3"]
    assert (decoded.unreadable, decoded.films) == (1, 1.0)
    with pytest.raises(CorpusError, match="no film of 1 examples can be read"):
        decode(drawn[1:2], preprocessing)


def test_enough_examples_for_all_timed_steps_but_no_more_than_fit_in_memory() -> None:
    assert examples_needed(CONFIG, 1) == 11 * 12
    assert examples_needed(replace(CONFIG, batch=64), 4) == 256


def test_hours_are_steps_times_what_was_measured_and_validations() -> None:
    times = StepTimes((2.0, 3.0, 4.0), 0.0)
    hours = hours_of(times, CONFIG)
    assert (hours.expected, hours.fastest, hours.slowest) == pytest.approx(
        (3_000 / 3600, 2_000 / 3600, 4_000 / 3600)
    )
    # One validation of 60 s at the end, or one after every 300 of 1,000 steps and at the end.
    validated = StepTimes((3.0,), 60.0)
    assert hours_of(validated, CONFIG).expected == pytest.approx(3_060 / 3600)
    often = replace(CONFIG, validate_every=300)
    assert hours_of(validated, often).expected == pytest.approx(3_240 / 3600)


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ({}, 3),  # the new one beside the two that are kept
        ({"steps": 300}, 2),
        ({"save_every": 0}, 1),
    ],
)
def test_the_disk_holds_one_checkpoint_more_than_are_kept(
    options: dict[str, int], copies: int
) -> None:
    config = replace(CONFIG, **options)
    assert checkpoint_bytes(config, PLAN) == copies * 30
    # The weights of the best step are in each checkpoint, too.
    assert checkpoint_bytes(replace(config, best_checkpoint=True), PLAN) == copies * 40


def test_a_bundle_has_the_bytes_that_are_planned() -> None:
    from model.bundling.store import read_network_config

    folder = resolve("demo")
    network = read_network_config(folder, folder / "language", folder / "asking").config
    written = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    assert bundle_bytes(network) == pytest.approx(written, rel=0.02)
    assert bundle_bytes(config_of("full")) == pytest.approx(16e9, rel=0.02)


def test_a_containers_limit_is_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    whole = machine.device_memory(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    limited = machine.device_memory(torch.device("cpu"))
    assert (limited.kind, limited.total_bytes, limited.free_bytes) == ("RAM", 1_000_000, 500_000)
    (tmp_path / "memory.max").write_text("max\n")
    unlimited = machine.device_memory(torch.device("cpu"))
    assert unlimited.total_bytes == whole.total_bytes


def test_room_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert machine.free_disk(tmp_path / "not" / "there") > 0


@pytest.mark.slow
def test_on_a_cpu_the_frozen_weights_are_float32_whatever_is_computed_in() -> None:
    def weights(**settings: Any) -> int:
        small = MemorySettings(batch=1, views=1, prompt_tokens=16, target_tokens=8, **settings)
        return plan_memory(STAGE1, config_of("tiny"), small, rules="cpu").weights

    full = weights(precision="float32")
    assert weights(precision="bfloat16", weights="float32") == full
    assert weights(precision="bfloat16") < 0.6 * full

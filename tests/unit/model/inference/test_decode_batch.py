"""The decode batch as it runs on a GPU, without one: graphs are recorded, and replayed on the CPU.

A graph that is captured runs nothing; a replay runs the steps of its size. As on a GPU, the host
looks at the results of one round only after the next one has been enqueued.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.case import Case
from model.decoding import Decoding
from model.inference.decode_batch import STEPS_PER_GRAPH, DecodeBatch
from model.inference.decoder import Decoder
from model.inference.device_guard import device_guard, on_own_device
from model.inference.engine import Engine
from model.inference.model_runner import ModelRunner
from model.inference.step_graphs import StepGraphs, halved, parts_of
from model.inference.types import Finished, RequestOutput
from model.network.clinicalblip import ClinicalBLIP
from tests.support.paths import ROOT
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")
INSTRUCTION = "Write the report."


def cases(count: int) -> list[tuple[Case, str]]:
    return [(replace(phantom(n).case(112), key=f"k{n}"), INSTRUCTION) for n in range(count)]


class RecordedGraph:
    """Stands for a CUDA graph."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        for step in self.steps:
            step()


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[DecodeBatch], dict[str, Any]]:
    """Let a batch on the CPU work as on a GPU; return what was seen of its captures."""
    seen: dict[str, Any] = {"modes": [], "pools": [], "captured": 0}
    capturing: list[RecordedGraph] = []

    @contextmanager
    def capture(
        graph: RecordedGraph, pool: object, stream: object, capture_error_mode: str
    ) -> Iterator[None]:
        assert stream is not None
        seen["modes"].append(capture_error_mode)
        seen["pools"].append(pool)
        seen["captured"] += 1
        capturing.append(graph)
        yield
        capturing.pop()

    class Stream:
        def __init__(self, device: torch.device | None = None) -> None:
            assert device is not None

        def wait_stream(self, other: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())

    def install(batch: DecodeBatch) -> dict[str, Any]:
        real = batch._steps_of_a_round

        def steps(*size: int) -> None:
            if capturing:
                capturing[-1].steps.append(lambda: real(*size))
            else:
                real(*size)

        shape = batch._decoder.shape
        batch._on_gpu = True
        batch.steps_per_round = STEPS_PER_GRAPH
        batch._graphs = StepGraphs(
            CPU, batch.slots, shape.target_length, shape.source_length, steps
        )
        return seen

    return install


def texts_of(engine: Engine, requests: list[tuple[Case, str]]) -> dict[str, tuple[str, ...]]:
    outputs = list(engine.write(requests))
    assert all(isinstance(output, RequestOutput) for output in outputs)
    return {w.key: w.tokens for w in outputs if isinstance(w, RequestOutput)}


def test_all_graphs_are_captured_at_the_warm_up_and_few(
    untrained: ClinicalBLIP, as_on_gpu: Callable[[DecodeBatch], dict[str, Any]]
) -> None:
    decoding = Decoding(12)
    expected = texts_of(Engine(untrained, CPU, decoding, 9), cases(14))
    engine = Engine(untrained, CPU, decoding, 9)
    seen = as_on_gpu(engine.runner.batch)
    shown: list[tuple[float, float | None]] = []
    engine.warm_up(lambda _, done, total: shown.append((done, total)))
    captured = engine.runner.batch.captured_graphs
    assert seen["captured"] == captured == len(shown) == shown[-1][1] <= 27
    # Another thread pins memory while a graph is captured.
    assert set(seen["modes"]) == {"thread_local"}
    assert seen["pools"] == [None, *["pool"] * (captured - 1)]
    assert texts_of(engine, cases(14)) == expected
    assert texts_of(engine, cases(14)[::-1]) == expected
    assert seen["captured"] == captured  # none while studies ran


def test_sequences_are_dropped_and_the_graphs_stay(
    untrained: ClinicalBLIP, as_on_gpu: Callable[[DecodeBatch], dict[str, Any]]
) -> None:
    decoding = Decoding(12)
    expected = texts_of(Engine(untrained, CPU, decoding, 4), cases(6))
    engine = Engine(untrained, CPU, decoding, 4)
    seen = as_on_gpu(engine.runner.batch)
    engine.warm_up()
    captured = seen["captured"]
    unfinished = engine.write(cases(6))
    next(unfinished)
    unfinished.close()
    assert engine.runner.batch.free_slots == 4
    assert texts_of(engine, cases(6)) == expected
    assert seen["captured"] == captured


def test_the_sizes_are_few_and_the_greatest_holds_all() -> None:
    assert halved(256) == [64, 128, 256]
    assert halved(9) == [4, 5, 9]
    assert halved(4) == [4]
    assert halved(1) == [1]
    assert parts_of(150) == [64, 112, 150]
    assert parts_of(12) == [12]
    assert parts_of(224) == [80, 160, 224]


class Texts:
    """A batch that is driven round by round."""

    def __init__(self, model: ClinicalBLIP, slots: int, limits: list[int]) -> None:
        self.runner = ModelRunner(model, CPU, Decoding(16, ban_eos=True), slots)
        self.batch = self.runner.batch
        inputs = model.gather([c for c, _ in cases(len(limits))], [INSTRUCTION] * len(limits))
        with torch.inference_mode():
            self.hidden = self.runner.encode(inputs).hidden
        self.mask, self.lengths = inputs.attention_mask, inputs.attention_mask.sum(1).tolist()
        self.limits = limits

    @torch.inference_mode()
    def admit(self, *numbers: int) -> None:
        rows = list(numbers)
        self.batch.admit(
            rows,
            self.hidden[rows],
            self.mask[rows],
            [self.lengths[n] for n in rows],
            [self.limits[n] for n in rows],
        )

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        return self.batch.step()

    def finish(self) -> dict[int, Finished]:
        finished: dict[int, Finished] = {}
        while self.batch.active_ids:
            finished |= {each.request_id: each for each in self.step()}
        return finished


def test_what_is_no_number_stays_with_its_study_when_that_moves(
    untrained: ClinicalBLIP, as_on_gpu: Callable[[DecodeBatch], dict[str, Any]]
) -> None:
    limits = [2, 2, 2, 2, 16, *[12] * 5]
    texts = Texts(untrained, 8, limits)
    as_on_gpu(texts.batch)
    texts.runner.warm_up()
    texts.admit(0, 1, 2, 3, 4)
    texts.step()
    finished = texts.step()  # the four short ones have left; study 4 is alone, in the fifth slot
    assert [each.request_id for each in finished] == [0, 1, 2, 3]
    with torch.inference_mode():
        for keys, values in texts.batch._decoder._caches.self_attention:
            keys[4] = values[4] = torch.nan  # as a step computes it, which the host has not seen
    texts.admit(5, 6, 7)
    texts.step()
    texts.admit(8, 9)  # one of them takes a slot that study 4 has left
    outcome = texts.finish()
    assert outcome[4].non_finite
    for number in range(5, 10):
        alone = Texts(untrained, 1, limits)
        alone.admit(number)
        expected = alone.finish()[number]
        assert not outcome[number].non_finite
        assert outcome[number].token_ids == expected.token_ids


def test_a_slot_is_as_new_for_the_next_study(untrained: ClinicalBLIP) -> None:
    texts = Texts(untrained, 2, [6, 6])
    with torch.inference_mode():
        caches = texts.batch._decoder._caches
        for pair in (*caches.self_attention, *caches.cross_attention):
            for tensor in pair:
                tensor.fill_(torch.nan)
    texts.admit(0, 1)
    assert not any(each.non_finite for each in texts.finish().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_biases_have_rows_that_a_gpu_reads_without_a_copy(
    untrained: ClinicalBLIP, dtype: torch.dtype
) -> None:
    language = untrained.network.language_model
    decoder = Decoder(language, 2, 1, target_length=150, source_length=150)
    for tokens in (64, 149, 150):
        bias = decoder._self_bias(torch.tensor([0, tokens - 1]), tokens)
        assert bias.shape == (2, language.config.num_heads, 1, tokens)
        assert all(stride % 16 == 0 for stride in bias.stride()[:-1])
        whole = decoder._self_bias(torch.tensor([0, tokens - 1]), 150)
        assert torch.equal(bias, whole[..., :tokens])
    cross = decoder._caches.cross_bias[:, :, :, :100]
    assert all(stride % 16 == 0 for stride in cross.stride()[:-1])


# ---- The device's index ----


def test_a_gpu_by_its_index_becomes_the_current_one() -> None:
    guard = device_guard(torch.device("cuda:1"))
    assert isinstance(guard, torch.cuda.device)
    assert guard.idx == 1
    assert isinstance(device_guard(CPU), nullcontext)


def test_what_uses_the_device_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[str] = []

    @contextmanager
    def guard(device: torch.device) -> Iterator[None]:
        current.append(str(device))
        yield
        current.append("left")

    monkeypatch.setattr("model.inference.device_guard.device_guard", guard)

    class Runner:
        device = torch.device("cuda:1")

        @on_own_device
        def work(self, number: int, *, more: int) -> int:
            assert current[-1] == "cuda:1"
            return number + more

    assert Runner().work(1, more=2) == 3
    assert current == ["cuda:1", "left"]


UNGUARDED = {
    "Stream", "current_stream", "synchronize", "mem_get_info", "memory_allocated",
    "max_memory_allocated", "reset_peak_memory_stats", "get_device_name", "memory_reserved",
}  # fmt: skip
"""Calls of torch.cuda that take a device, and the current one without it."""


def test_every_call_of_torch_cuda_names_its_device() -> None:
    without = []
    for path in (ROOT / "model").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if owner == "torch.cuda" and node.func.attr in UNGUARDED and not node.args:
                without.append(f"{path.name}:{node.lineno} {node.func.attr}")
    assert without == []

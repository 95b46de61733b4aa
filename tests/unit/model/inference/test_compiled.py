"""Compiled layers: kept where they encode faster, and removed without a trace elsewhere."""

from __future__ import annotations

import pytest
import torch

from model.bench.workload import make_workload
from model.decoding import Decoding, Serving
from model.errors import DeviceError
from model.inference import compiled, packed
from model.inference.device_tuning import tune_for_device
from model.inference.engine import Engine
from model.inference.types import RequestOutput
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import build_random

CPU = torch.device("cpu")
TRACED = "aot_eager"
"""Traced and run by torch's own kernels: needs no C++ compiler."""


def layer_count(model: ClinicalBLIP) -> int:
    config = model.config
    return config.vision_config.num_hidden_layers + config.text_config.num_layers


def set_times(monkeypatch: pytest.MonkeyPatch, *milliseconds: float) -> None:
    times = iter(milliseconds)

    def timed(work) -> float:  # type: ignore[no-untyped-def]
        work()
        return next(times)

    monkeypatch.setattr(compiled, "time_milliseconds", timed)


@pytest.mark.slow
def test_what_reads_faster_is_kept_and_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    model = build_random("tiny")
    cases = make_workload(model, 5, views=2, longest=40).cases
    before = {output.key: output for output in Engine(model, CPU, Decoding(12), 3).write(cases)}
    set_times(monkeypatch, 2.0, 1.0)
    calls: list[tuple[str, float, float | None]] = []
    engine = Engine(model, CPU, Decoding(12), 3, group_size=2)
    outcome = engine.compile(lambda *call: calls.append(call), TRACED)
    assert outcome == {"eager_ms": 2.0, "compiled_ms": 1.0, "kept": True}
    assert compiled.compiled_layer_count(model.network) == layer_count(model)
    assert calls[-1] == ("compiling", 10, 10)
    for output in engine.write(cases):
        eager = before[output.key]
        assert isinstance(output, RequestOutput)
        assert isinstance(eager, RequestOutput)
        assert output.tokens == eager.tokens
        assert output.logprobs == pytest.approx(eager.logprobs, abs=1e-3)


@pytest.mark.slow
def test_what_reads_no_faster_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    model = build_random("tiny")
    set_times(monkeypatch, 1.0, 1.0)
    assert Engine(model, CPU, Decoding(4), 1).compile(backend=TRACED)["kept"] is False
    assert compiled.compiled_layer_count(model.network) == 0


def test_without_a_compiler_all_is_as_before() -> None:
    torch.compiler.reset()
    model = build_random("tiny")

    def broken(*_: object) -> None:
        raise RuntimeError("no C++ compiler")

    engine = Engine(model, CPU, Decoding(4), 2)
    outcome = engine.compile(backend=broken)  # type: ignore[arg-type]
    assert outcome["kept"] is False
    assert outcome["why"] == "BackendCompilerFailed"
    assert compiled.compiled_layer_count(model.network) == 0
    cases = make_workload(model, 3, longest=4).cases
    assert all(isinstance(output, RequestOutput) for output in engine.write(cases))


@pytest.mark.slow
def test_no_numbers_are_run_again_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    model = build_random("tiny", dtype=torch.float16)
    language = model.network.language_model
    language.lm_head.weight = torch.nn.Parameter(language.lm_head.weight.detach() * 16384.0)
    engine = Engine(model, CPU, Decoding(6), 2)
    set_times(monkeypatch, 2.0, 1.0)
    assert engine.compile(backend=TRACED)["kept"] is True
    drafts = list(engine.write(make_workload(model, 3, longest=6).cases))
    assert all(isinstance(output, RequestOutput) and output.rerun == "float32" for output in drafts)


def test_packed_layers_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MIN_WEIGHTS", 0)
    model = build_random("tiny")
    tune_for_device(model, CPU)
    with pytest.raises(DeviceError, match="for a GPU"):
        Engine(model, CPU, Decoding(4), 1).compile()


def test_on_a_cpu_the_setting_changes_nothing() -> None:
    engine, _ = Engine.load("demo", "cpu", Serving(slots=1, compiled=True))
    assert compiled.compiled_layer_count(engine.runner.model.network) == 0

"""The engine on a GPU: CUDA graphs write what `generate` writes, and no case is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.bench.workload import Workload, make_workload
from model.case import FailedCase
from model.decoding import Decoding
from model.inference.engine import Engine
from model.inference.model_runner import ModelRunner
from model.inference.types import RequestOutput
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import build_random

pytestmark = pytest.mark.gpu

DECODINGS = (
    Decoding(40),
    Decoding(40, no_repeat_ngram=2),
    Decoding(40, beams=3),
    Decoding(40, beams=5, length_penalty=2.0, no_repeat_ngram=3),
)


def make_studies(model: ClinicalBLIP, studies: int) -> Workload:
    """Studies of one, two and three views."""
    workload = make_workload(model, studies, views=3, longest=40)
    cases = [
        (replace(case, views=case.views[: 1 + n % 3]), t)
        for n, (case, t) in enumerate(workload.cases)
    ]
    return Workload(tuple(cases), workload.lengths)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("slots", [3, 8])
def test_in_float64_the_tokens_are_those_of_generate(
    device: torch.device, decoding: Decoding, slots: int
) -> None:
    model = build_random("tiny", dtype=torch.float64, device=device)
    workload = make_studies(model, 11)
    expected = {}
    for case, text in workload.cases:
        inputs = model.gather([case], [text]).to(device)
        expected[case.key] = model.generate(inputs, decoding)[0]
    for order in (workload.cases, workload.cases[::-1]):
        engine = Engine(model, device, decoding, slots)
        drafts = {output.key: output for output in engine.write(order)}
        assert len(drafts) == len(expected)
        for key, output in drafts.items():
            assert isinstance(output, RequestOutput)
            assert output.tokens == expected[key].tokens
            assert output.logprobs == pytest.approx(expected[key].logprobs, abs=1e-5)


def test_some_steps_are_one_graph(device: torch.device) -> None:
    model = build_random("tiny", dtype=torch.float16, device=device)
    engine = Engine(model, device, Decoding(40, ban_eos=True), 8)
    engine.warm_up()
    assert sum(1 for _ in engine.write(make_studies(model, 20).cases)) == 20
    if device.type == "cuda":
        assert engine.runner.batch.captured_graphs > 0
        assert engine.runner.batch.steps_per_round > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_drafts_all(device: torch.device, dtype: torch.dtype) -> None:
    model = build_random("tiny", dtype=dtype, device=device)
    workload = make_studies(model, 20)
    drafts = list(Engine(model, device, Decoding(40), 8).write(workload.cases))
    assert {output.key for output in drafts} == set(workload.lengths)
    assert all(isinstance(output, RequestOutput) and output.rerun == "" for output in drafts)


def test_no_numbers_are_run_again_in_float32(device: torch.device) -> None:
    model = build_random("tiny", dtype=torch.float16, device=device)
    language = model.network.language_model
    language.lm_head.weight = torch.nn.Parameter(language.lm_head.weight.detach() * 16384.0)
    engine = Engine(model, device, Decoding(20), 4)
    drafts = list(engine.write(make_studies(model, 9).cases))
    assert all(isinstance(output, RequestOutput) and output.rerun == "float32" for output in drafts)
    assert engine.counters.reruns == 9


def test_poison_in_the_middle_of_64_is_alone(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_random("tiny", dtype=torch.float16, device=device)
    workload = make_studies(model, 64)
    gather = ModelRunner.gather

    def gathered(self, requests):  # type: ignore[no-untyped-def]
        inputs = gather(self, requests)
        if any(request.case.key == "31" for request in requests):
            return replace(inputs, pixels=torch.full_like(inputs.pixels, torch.nan))
        return inputs

    monkeypatch.setattr(ModelRunner, "gather", gathered)
    drafts = {
        output.key: output
        for output in Engine(model, device, Decoding(30), 16).write(workload.cases)
    }
    failed = [key for key, output in drafts.items() if isinstance(output, FailedCase)]
    assert len(drafts) == 64
    # The values reached the other cases of its group too, so each is encoded again, alone.
    assert failed == ["31"]


def test_memory_that_runs_out_halves_the_slots_and_loses_no_case(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("a CPU has no such limit")
    model = build_random("mid", dtype=torch.float16, device=device)
    _, total_bytes = torch.cuda.mem_get_info()
    allocated_bytes = torch.cuda.memory_allocated()
    try:
        # Room for the weights and about ten slots.
        slot = Engine(model, device, Decoding(150, ban_eos=True), 1).plan.bytes_per_slot
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (allocated_bytes + 1.5e9 + 10 * slot) / total_bytes)
        )
        engine = Engine(model, device, Decoding(150, ban_eos=True), 4096)
        assert engine.slots < 4096
        workload = make_workload(model, 40, longest=40)
        outputs = list(engine.write(workload.cases))
        assert sum(isinstance(output, RequestOutput) for output in outputs) == 40
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

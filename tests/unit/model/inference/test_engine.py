"""The engine: slots, order, cases that fail alone, memory that runs out, faults of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.case import Case, FailedCase, View
from model.decoding import Decoding
from model.errors import CaseError, DeviceError
from model.inference.decode_batch import DecodeBatch
from model.inference.engine import Engine
from model.inference.model_runner import ModelRunner
from model.inference.types import Finished, RequestOutput
from model.network.clinicalblip import ClinicalBLIP, Inputs
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")
INSTRUCTION = "Write the report."
SIX = Decoding(6)


def cases(count: int) -> list[tuple[Case, str]]:
    return [(replace(phantom(n).case(112), key=f"k{n}"), INSTRUCTION) for n in range(count)]


def run(model: ClinicalBLIP, requests: list[tuple[Case, str]], slots: int = 4) -> dict[str, object]:
    return {w.key: w for w in Engine(model, CPU, SIX, slots).write(requests)}


@pytest.fixture
def failing_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[Inputs], Exception | None]], list[int]]:
    """Make encoding raise what a function returns; give the sizes of the groups that were tried."""

    def install(fault: Callable[[Inputs], Exception | None]) -> list[int]:
        sizes: list[int] = []
        real = ModelRunner.encode

        def encode(self: ModelRunner, inputs: Inputs) -> torch.Tensor:
            sizes.append(len(inputs.input_ids))
            error = fault(inputs)
            if error is not None:
                raise error
            return real(self, inputs)

        monkeypatch.setattr(ModelRunner, "encode", encode)
        return sizes

    return install


@pytest.fixture
def failing_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[DecodeBatch], Exception | None]], list[int]]:
    """Make a decode step raise what a function returns; give the active sequences of each step."""

    def install(fault: Callable[[DecodeBatch], Exception | None]) -> list[int]:
        active_counts: list[int] = []
        real = DecodeBatch.step

        def step(self: DecodeBatch) -> list[Finished]:
            active_counts.append(len(self.active_ids))
            error = fault(self)
            if error is not None:
                raise error
            return real(self)

        monkeypatch.setattr(DecodeBatch, "step", step)
        return active_counts

    return install


def test_every_case_is_drafted_with_any_number_of_slots(untrained: ClinicalBLIP) -> None:
    requests = cases(5)
    two_slots, eight_slots = run(untrained, requests, 2), run(untrained, requests, 8)
    assert set(two_slots) == set(eight_slots) == {f"k{n}" for n in range(5)}
    for key, output in two_slots.items():
        other = eight_slots[key]
        assert isinstance(output, RequestOutput)
        assert isinstance(other, RequestOutput)
        assert output.tokens == other.tokens
        assert len(output.tokens) == len(output.logprobs)
        assert output.prompt == INSTRUCTION
        assert output.seconds["generate"] > 0


def test_no_more_cases_are_pulled_than_there_is_room_for(untrained: ClinicalBLIP) -> None:
    read: list[str] = []

    def source() -> Iterator[tuple[Case, str]]:
        for case, instruction in cases(9):
            read.append(case.key)
            yield case, instruction

    stream = Engine(untrained, CPU, Decoding(4), 2, group_size=1).write(source())
    next(stream)
    assert read == ["k0", "k1", "k2", "k3"]


def test_none_is_not_the_end_while_something_is_in_flight(untrained: ClinicalBLIP) -> None:
    requests: list[tuple[Case, str] | None] = [*cases(1), None, None, *cases(3)[1:], None]
    late_requests = [(replace(phantom(9).case(112), key="too-late"), INSTRUCTION)]
    source = iter([*requests, *[None] * 50, *late_requests])
    drafted = [output.key for output in Engine(untrained, CPU, SIX, 2).write(source)]
    assert sorted(drafted) == ["k0", "k1", "k2"]
    assert list(source)[-1] == late_requests[0]


def test_nothing_at_first_is_the_end(untrained: ClinicalBLIP) -> None:
    assert list(Engine(untrained, CPU, SIX, 2).write([None, *cases(1)])) == []
    assert list(Engine(untrained, CPU, SIX, 2).write([])) == []


def test_an_engine_serves_one_stream_after_another(untrained: ClinicalBLIP) -> None:
    engine = Engine(untrained, CPU, SIX, 2)
    unfinished = engine.write(cases(5))
    next(unfinished)
    unfinished.close()
    drafted = {w.key: w for w in engine.write(cases(3))}
    assert drafted.keys() == {"k0", "k1", "k2"}
    assert {k: w.tokens for k, w in drafted.items() if isinstance(w, RequestOutput)} == {
        k: w.tokens for k, w in run(untrained, cases(3)).items() if isinstance(w, RequestOutput)
    }


def test_a_case_can_have_a_limit_of_its_own(untrained: ClinicalBLIP) -> None:
    limits = {"k0": 2, "k1": 5, "k2": 99}
    endless = Decoding(6, ban_eos=True)
    engine = Engine(untrained, CPU, endless, 2, token_limit=lambda case: limits[case.key])
    lengths = {w.key: len(w.tokens) for w in engine.write(cases(3)) if isinstance(w, RequestOutput)}
    assert lengths == {"k0": 2, "k1": 5, "k2": 6}
    assert engine.counters.tokens == 13
    assert engine.counters.studies == 3


def test_slots_are_busy_while_there_is_work(untrained: ClinicalBLIP) -> None:
    engine = Engine(untrained, CPU, Decoding(8, ban_eos=True), 3)
    before = engine.counters
    list(engine.write(cases(9)))
    after = engine.counters
    # Two steps run while the slots are filled one after another; then no slot is ever empty until
    # nothing is left to start.
    assert after.steps <= 26
    assert after.occupancy(before) >= 72 / 78
    assert after.occupancy(after.copy()) == 0.0
    assert after.encode_seconds > 0
    assert after.decode_seconds > 0


def test_an_unreadable_case_fails_alone(untrained: ClinicalBLIP) -> None:
    requests = cases(4)
    requests[1] = (Case("k1", (View(np.zeros((8, 8), np.uint8), "frontal"),)), INSTRUCTION)
    requests[2] = (Case("k2", ()), INSTRUCTION)
    out = run(untrained, requests)
    assert {key for key, output in out.items() if isinstance(output, FailedCase)} == {"k1", "k2"}
    assert isinstance(out["k1"], FailedCase)
    assert isinstance(out["k1"].error, CaseError)


def test_poison_breaks_its_group_and_then_fails_alone(untrained, failing_encoder) -> None:  # type: ignore[no-untyped-def]
    requests = cases(4)
    poison = untrained.gather([requests[2][0]], [INSTRUCTION]).pixels[0]

    def fault(inputs: Inputs) -> Exception | None:
        poisoned = any(torch.equal(image, poison) for image in inputs.pixels)
        return RuntimeError("index out of range in self") if poisoned else None

    sizes = failing_encoder(fault)
    engine = Engine(untrained, CPU, SIX, 4, group_size=4)
    out = {output.key: output for output in engine.write(requests)}
    assert sizes == [4, 1, 1, 1, 1]
    assert {key for key, output in out.items() if isinstance(output, RequestOutput)} == {
        "k0",
        "k1",
        "k3",
    }
    failed = out["k2"]
    assert isinstance(failed, FailedCase)
    assert isinstance(failed.error, CaseError)
    # The text of a library's error may quote what the case holds; its type is enough.
    assert "RuntimeError" in str(failed.error)
    assert "index out of range" not in str(failed.error)


def test_a_case_that_breaks_the_decoder_is_found_and_fails_alone(untrained, failing_steps) -> None:  # type: ignore[no-untyped-def]
    requests = cases(6)
    broken: list[int] = []

    def fault(batch: DecodeBatch) -> Exception | None:
        # The third case that is pulled has the number 2, whatever its slot is.
        if 2 in batch.active_ids:
            broken.append(len(batch.active_ids))
            return RuntimeError("shapes do not match")
        return None

    failing_steps(fault)
    out = run(untrained, requests)
    assert broken == [3, 1]
    assert {key for key, output in out.items() if isinstance(output, FailedCase)} == {"k2"}
    assert out.keys() == {f"k{n}" for n in range(6)}


def test_the_first_study_steps_before_all_free_slots_are_filled(
    untrained: ClinicalBLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    for name in ("encode", "step"):
        real = getattr(ModelRunner, name)

        def recorded(self: ModelRunner, *given: object, real=real, name=name) -> object:  # type: ignore[no-untyped-def]
            events.append(name)
            return real(self, *given)

        monkeypatch.setattr(ModelRunner, name, recorded)
    list(Engine(untrained, CPU, SIX, 4).write(cases(4)))
    assert events[:6] == ["encode", "step", "encode", "step", "encode", "step"]


@pytest.mark.parametrize("passes", [True, False], ids=["it passes", "it stays"])
def test_a_fault_with_one_study_on_board_is_tried_once_more(
    untrained, failing_encoder, failing_steps, passes: bool
) -> None:  # type: ignore[no-untyped-def]
    def failing() -> Callable[[object], Exception | None]:
        tries: list[int] = []

        def fault(_: object) -> Exception | None:
            tries.append(1)
            return RuntimeError("in passing") if len(tries) == 1 or not passes else None

        return fault

    expected = RequestOutput if passes else FailedCase
    active_counts = failing_steps(failing())
    (output,) = run(untrained, cases(1)).values()
    assert isinstance(output, expected)
    assert active_counts[:2] == [1, 1]
    assert passes or len(active_counts) == 2
    failing_steps(lambda _: None)
    sizes = failing_encoder(failing())
    (output,) = run(untrained, cases(1)).values()
    assert isinstance(output, expected)
    assert sizes == [1, 1]


def test_a_value_that_is_no_number_fails_its_case_alone(
    untrained: ClinicalBLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = cases(5)
    real = untrained.gather

    def gather(group: list[Case], instructions: list[str]) -> Inputs:
        inputs = real(group, instructions)
        row = 0
        for case in group:
            if case.key == "k1":
                inputs.pixels[row] = float("nan")
            row += len(case.views)
        return inputs

    expected = run(untrained, requests, 2)
    monkeypatch.setattr(untrained, "gather", gather)
    # With two slots, another case takes the slot of the one that failed.
    out = run(untrained, requests, 2)
    failed = out["k1"]
    assert isinstance(failed, FailedCase)
    assert "not a number" in str(failed.error)
    for key in ("k0", "k2", "k3", "k4"):
        output, other = out[key], expected[key]
        assert isinstance(output, RequestOutput)
        assert isinstance(other, RequestOutput)
        assert output.tokens == other.tokens


def test_memory_that_runs_out_while_reading_halves_the_group(untrained, failing_encoder) -> None:  # type: ignore[no-untyped-def]
    sizes = failing_encoder(
        lambda inputs: torch.OutOfMemoryError("no room") if len(inputs.input_ids) > 2 else None
    )
    engine = Engine(untrained, CPU, SIX, 8, group_size=8)
    out = list(engine.write(cases(8)))
    assert len(out) == 8
    assert all(isinstance(output, RequestOutput) for output in out)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    sizes.clear()
    list(engine.write(cases(4)))
    assert sizes == [2, 2]


def test_memory_that_runs_out_while_writing_halves_the_slots(untrained, failing_steps) -> None:  # type: ignore[no-untyped-def]
    active_counts = failing_steps(
        lambda batch: torch.OutOfMemoryError("no room") if len(batch.active_ids) > 2 else None
    )
    engine = Engine(untrained, CPU, SIX, 8)
    out = list(engine.write(cases(9)))
    assert {output.key for output in out if isinstance(output, RequestOutput)} == {
        f"k{n}" for n in range(9)
    }
    # With three studies memory ran out, with eight slots and again with four.
    assert active_counts[:3] == [1, 2, 3]
    assert active_counts.count(3) == 2
    assert max(active_counts) == 3
    assert engine.slots == 2


def test_no_memory_for_one_case_is_the_devices_fault(
    untrained, failing_encoder, failing_steps
) -> None:  # type: ignore[no-untyped-def]
    full = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    failing_steps(lambda _: full)
    with pytest.raises(DeviceError, match="no memory for one case"):
        run(untrained, cases(4))
    failing_encoder(lambda _: full)
    with pytest.raises(DeviceError, match="no memory for one case"):
        run(untrained, cases(4))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), torch.AcceleratorError("lost")],
)
def test_a_device_fault_is_nobodys_case(
    untrained, failing_encoder, failing_steps, error: Exception
) -> None:  # type: ignore[no-untyped-def]
    active_counts = failing_steps(lambda _: error)
    with pytest.raises(DeviceError):
        run(untrained, cases(4))
    assert active_counts == [1]
    sizes = failing_encoder(lambda _: error)
    with pytest.raises(DeviceError):
        run(untrained, cases(4))
    assert sizes == [1]


def test_settings_name_what_shapes_the_text(untrained: ClinicalBLIP) -> None:
    engine = Engine(untrained, CPU, SIX, 1)
    assert engine.settings == {"max_new_tokens": 6, "beams": 1, "dtype": "float32"}
    assert engine.device_name == "cpu"
    beams = Engine(untrained, CPU, Decoding(6, beams=3, no_repeat_ngram=2), 1).settings
    assert beams["beams"] == 3
    assert beams["no_repeat_ngram"] == 2
    assert "length_penalty" in beams
    with pytest.raises(ValueError, match="one or more"):
        Engine(untrained, CPU, SIX, -1)

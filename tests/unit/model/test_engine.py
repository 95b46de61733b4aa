"""Batches: poison stays alone, memory that runs out halves them, a sick device condemns nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.case import Case, FailedCase, View
from model.clinicalblip import ClinicalBLIP, Generated, Inputs
from model.engine import Engine, Written
from model.errors import CaseError, DeviceError
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")
ASK = "Write the report."
Generate = Callable[[Inputs, int], list[Generated]]


def cases(count: int) -> list[tuple[Case, str]]:
    return [(replace(phantom(n).case(112), key=f"k{n}"), ASK) for n in range(count)]


def run(model: ClinicalBLIP, asked: list[tuple[Case, str]], batch: int = 4) -> dict[str, object]:
    return {w.key: w for w in Engine(model, CPU, 6, batch).write(asked)}


@pytest.fixture
def breaking(
    untrained: ClinicalBLIP, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Inputs], Exception | None]], list[int]]:
    """Make the network raise what the given function returns; the batch sizes that were tried."""

    def install(fault: Callable[[Inputs], Exception | None]) -> list[int]:
        sizes: list[int] = []
        real: Generate = untrained.generate

        def generate(inputs: Inputs, most: int) -> list[Generated]:
            sizes.append(len(inputs.words))
            error = fault(inputs)
            if error is not None:
                raise error
            return real(inputs, most)

        monkeypatch.setattr(untrained, "generate", generate)
        return sizes

    return install


def test_every_case_is_drafted_whatever_the_batch(untrained: ClinicalBLIP) -> None:
    asked = cases(5)
    small, large = run(untrained, asked, 2), run(untrained, asked, 8)
    assert list(small) == [f"k{n}" for n in range(5)]
    for key, one in small.items():
        other = large[key]
        assert isinstance(one, Written)
        assert isinstance(other, Written)
        assert one.tokens == other.tokens
        assert len(one.tokens) == len(one.logprobs)
        assert one.prompt == ASK
        assert one.seconds["generate"] > 0


def test_drafts_go_out_before_the_next_batch_is_read(untrained: ClinicalBLIP) -> None:
    read: list[str] = []

    def reading():  # type: ignore[no-untyped-def]
        for case, ask in cases(6):
            read.append(case.key)
            yield case, ask

    stream = Engine(untrained, CPU, 4, 2).write(reading())
    next(stream)
    assert read == ["k0", "k1"]


def test_an_unreadable_case_fails_alone(untrained: ClinicalBLIP) -> None:
    asked = cases(4)
    asked[1] = (Case("k1", (View(np.zeros((8, 8), np.uint8), "frontal"),)), ASK)
    asked[2] = (Case("k2", ()), ASK)
    out = run(untrained, asked)
    assert {key for key, one in out.items() if isinstance(one, FailedCase)} == {"k1", "k2"}
    assert isinstance(out["k1"], FailedCase)
    assert isinstance(out["k1"].error, CaseError)


def test_poison_breaks_the_batch_and_then_fails_alone(untrained, breaking) -> None:  # type: ignore[no-untyped-def]
    asked = cases(4)
    poison = asked[2][0].views[0].pixels
    mark = untrained.gather([asked[2][0]], [ASK]).pixels[0]

    def fault(inputs: Inputs) -> Exception | None:
        found = any(torch.equal(film, mark) for film in inputs.pixels)
        return RuntimeError("index out of range in self") if found else None

    sizes = breaking(fault)
    out = run(untrained, asked)
    assert poison.size
    assert sizes == [4, 1, 1, 1, 1]
    assert [type(one) for one in out.values()] == [Written, Written, FailedCase, Written]
    failed = out["k2"]
    assert isinstance(failed, FailedCase)
    assert isinstance(failed.error, CaseError)
    # A foreign error's words may quote what the case holds; its type is enough.
    assert "RuntimeError" in str(failed.error)
    assert "index out of range" not in str(failed.error)


def test_a_value_that_is_no_number_fails_its_case_alone(
    untrained: ClinicalBLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cases(3)
    real = untrained.gather

    def gather(some: list[Case], asks: list[str]) -> Inputs:
        inputs = real(some, asks)
        row = 0
        for case in some:
            if case.key == "k1":
                inputs.pixels[row] = float("nan")
            row += len(case.views)
        return inputs

    monkeypatch.setattr(untrained, "gather", gather)
    out = run(untrained, asked)
    failed = out["k1"]
    assert isinstance(failed, FailedCase)
    assert "not a number" in str(failed.error)
    assert isinstance(out["k0"], Written)
    assert isinstance(out["k2"], Written)


def test_memory_that_runs_out_halves_the_batch_for_good(untrained, breaking) -> None:  # type: ignore[no-untyped-def]
    sizes = breaking(
        lambda inputs: torch.OutOfMemoryError("no room") if len(inputs.words) > 2 else None
    )
    out = run(untrained, cases(8), batch=8)
    assert all(isinstance(one, Written) for one in out.values())
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    engine = Engine(untrained, CPU, 6, 8)
    list(engine.write(cases(8)))
    sizes.clear()
    list(engine.write(cases(4)))
    assert sizes == [2, 2]


def test_no_memory_for_one_case_is_the_devices_fault(untrained, breaking) -> None:  # type: ignore[no-untyped-def]
    breaking(lambda _: RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(DeviceError, match="no memory for one case"):
        run(untrained, cases(4))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), torch.AcceleratorError("lost")],
)
def test_a_device_fault_is_nobodys_case(untrained, breaking, error: Exception) -> None:  # type: ignore[no-untyped-def]
    sizes = breaking(lambda _: error)
    with pytest.raises(DeviceError):
        run(untrained, cases(4))
    assert sizes == [4]


def test_settings_name_what_shapes_the_text(untrained: ClinicalBLIP) -> None:
    engine = Engine(untrained, CPU, 6)
    assert engine.settings == {"max_new_tokens": 6, "beams": 1, "dtype": "float32"}
    assert engine.device_name == "cpu"
    with pytest.raises(ValueError, match="at least one"):
        Engine(untrained, CPU, 6, 0)

"""Many drafts at once on one device. Knows no prompts' making, no sections and no rows.

For now whole batches through transformers' `generate`. The face (`write`, `settings`) is made for
a streaming engine too: pairs come in one by one and drafts go out as they fall ready.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model.bundle import choose_device, load_bundle
from model.case import Case, FailedCase
from model.clinicalblip import ClinicalBLIP
from model.errors import CaseError, DeviceError
from model.manifest import Manifest

Asked = tuple[Case, str]
"""A case and its instruction."""


@dataclass(frozen=True)
class Written:
    """What was written for one case. seconds: its share of its batch's time, by stage."""

    key: str
    prompt: str
    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    seconds: dict[str, float]
    cut: bool


class Engine:
    """A network on a device, drafting `batch` cases at once."""

    def __init__(
        self, model: ClinicalBLIP, device: torch.device, max_new_tokens: int, batch: int = 8
    ) -> None:
        if batch < 1:
            raise ValueError("a batch has at least one case")
        self._model = model
        self._device = device
        self._max_new_tokens = max_new_tokens
        self._batch = batch

    @classmethod
    def load(
        cls, bundle: str | Path, device: str | None = None, batch: int = 8
    ) -> tuple[Engine, Manifest]:
        """The engine of a bundle.

        Raises:
            BundleError, DeviceError: as `model.bundle.load_bundle`.
        """
        chosen = choose_device(device)
        model, manifest = load_bundle(bundle, chosen)
        return cls(model, chosen, manifest.max_new_tokens, batch), manifest

    @property
    def settings(self) -> dict[str, object]:
        """What shapes the text besides bundle and case."""
        return {"max_new_tokens": self._max_new_tokens, "beams": 1, "dtype": self.dtype_name}

    @property
    def dtype_name(self) -> str:
        """The number format of the weights, as "float32"."""
        return str(self._model.network.dtype).removeprefix("torch.")

    @property
    def device_name(self) -> str:
        """The device as a person knows it."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return str(self._device)

    def fits(self, instruction: str) -> bool:
        """Whether the network can take the whole instruction."""
        return self._model.fits(instruction)

    def write(self, asked: Iterable[Asked]) -> Iterator[Written | FailedCase]:
        """Draft each case; one that fails comes back as FailedCase, its batch mates drafted.

        Raises:
            DeviceError: the device failed; what was not yet given back is to be drafted again.
        """
        ready: list[Asked] = []
        for case, instruction in asked:
            try:
                self._model.check(case)
            except CaseError as error:
                yield FailedCase(case.key, error)
                continue
            ready.append((case, instruction))
            if len(ready) >= self._batch:
                yield from self._write_all(ready)
                ready = []
        if ready:
            yield from self._write_all(ready)

    def _write_all(self, asked: list[Asked]) -> Iterator[Written | FailedCase]:
        """One batch; in halves if memory runs out, one by one if a case breaks it."""
        try:
            written = self._write_batch(asked)
        except Exception as error:
            if _is_out_of_memory(error):
                if len(asked) == 1:
                    raise DeviceError(f"{self.device_name} has no memory for one case") from error
                self._batch = part = (len(asked) + 1) // 2
            elif _is_device_fault(error):
                raise DeviceError(f"{self.device_name} failed: {error}") from error
            elif len(asked) == 1:
                yield FailedCase(asked[0][0].key, _as_case_error(error))
                return
            else:
                part = 1
        else:
            yield from written
            return
        # Outside the handler, so that the failed batch's tensors are no longer held by it.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        for start in range(0, len(asked), part):
            yield from self._write_all(asked[start : start + part])

    def _write_batch(self, asked: list[Asked]) -> list[Written]:
        started = time.perf_counter()
        inputs = self._model.gather([c for c, _ in asked], [text for _, text in asked])
        inputs = inputs.to(self._device)
        gathered = time.perf_counter()
        drafts = self._model.generate(inputs, self._max_new_tokens)
        done = time.perf_counter()
        seconds = {
            "gather": (gathered - started) / len(asked),
            "generate": (done - gathered) / len(asked),
        }
        return [
            Written(
                key=case.key,
                prompt=instruction,
                text=draft.text,
                tokens=draft.tokens,
                logprobs=draft.logprobs,
                seconds=dict(seconds),
                cut=draft.cut,
            )
            for (case, instruction), draft in zip(asked, drafts, strict=True)
        ]


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _is_device_fault(error: Exception) -> bool:
    """Faults of driver or hardware; torch raises some of them as RuntimeError with a known text."""
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError)
        and any(sign in str(error) for sign in ("CUDA error", "cuDNN error", "CUBLAS_STATUS"))
    )


def _as_case_error(error: Exception) -> CaseError:
    if isinstance(error, CaseError):
        return error
    # Of a foreign error the type alone: its words may quote what the case holds.
    failed = CaseError(f"the network failed on this case ({type(error).__name__})")
    failed.__cause__ = error
    return failed

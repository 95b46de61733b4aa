"""The batching strategies that are compared, each over the same studies.

One study at a time with `generate` is what a plain Celery task would do. `generate` over static
batches is the common improvement, where every study waits for the longest of its batch. The engine
batches continuously.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import torch

from model.bench.workload import Workload
from model.case import FailedCase
from model.decoding import Decoding
from model.errors import ModelError
from model.inference.engine import Engine
from model.network.clinicalblip import ClinicalBLIP


@dataclass(frozen=True)
class StrategyResult:
    """The measurement of one strategy over one workload.

    Attributes:
        name: The strategy: "one at a time", "static batch" or "engine".
        concurrency: Studies in the decoder at once.
        studies: Studies drafted.
        tokens: Tokens generated.
        seconds: Seconds in all; `encode` and `decode` are parts of it.
        encode: Seconds in the encoders.
        decode: Seconds in the decoder.
        occupancy: The share of rows that generated a token of a draft.
        peak: Bytes at most, of the process on a CPU, of the device's allocator on a GPU.
        planned: Bytes that the engine planned for; 0 for other strategies.
    """

    name: str
    concurrency: int
    studies: int
    tokens: int
    seconds: float
    encode: float
    decode: float
    occupancy: float
    peak: int
    planned: int = 0

    @property
    def studies_per_second(self) -> float:
        """Studies a second over the whole time."""
        return self.studies / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """New tokens a second over the whole time."""
        return self.tokens / self.seconds

    @property
    def decoded_per_second(self) -> float:
        """New tokens a second of decoding alone."""
        return self.tokens / self.decode

    def as_json(self) -> dict[str, float | int | str]:
        """The measurement as the JSON file has it."""
        return {
            "way": self.name,
            "together": self.concurrency,
            "studies": self.studies,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "encode_seconds": round(self.encode, 3),
            "decode_seconds": round(self.decode, 3),
            "studies_per_second": round(self.studies_per_second, 4),
            "tokens_per_second": round(self.tokens_per_second, 2),
            "decoded_tokens_per_second": round(self.decoded_per_second, 2),
            "busy": round(self.occupancy, 3),
            "peak_mb": self.peak // 1_000_000,
            "planned_mb": self.planned // 1_000_000,
        }


@torch.inference_mode()
def run_generate(
    model: ClinicalBLIP, device: torch.device, workload: Workload, batch_size: int
) -> StrategyResult:
    """Draft with transformers' `generate`, in batches in the order in which studies come.

    Raises:
        ModelError: `generate` wrote another number of tokens than was requested.
    """
    language = model.network.language_model
    encode = decode = 0.0
    rows = 0
    _reset_peak(device)
    run_started = time.perf_counter()
    for start in range(0, len(workload.cases), batch_size):
        batch = workload.cases[start : start + batch_size]
        longest = max(workload.lengths[case.key] for case, _ in batch)
        started = _synchronized_time(device)
        inputs = model.gather([c for c, _ in batch], [text for _, text in batch]).to(device)
        embeddings, _ = model.encode_images(inputs)
        encoder_output = language.encoder(
            inputs_embeds=model.embed(inputs, embeddings), attention_mask=inputs.attention_mask
        )
        encoded = _synchronized_time(device)
        out = language.generate(
            encoder_outputs=encoder_output,
            attention_mask=inputs.attention_mask,
            **Decoding(longest, ban_eos=True).for_generate(),
        )
        new = out[:, 1:].tolist()
        ended = _synchronized_time(device)
        if any(len(row) != longest for row in new):
            raise ModelError("generate wrote another number of tokens than was requested")
        encode += encoded - started
        decode += ended - encoded
        rows += longest * len(batch)
    return StrategyResult(
        "one at a time" if batch_size == 1 else "static batch",
        batch_size,
        len(workload.cases),
        workload.tokens,
        time.perf_counter() - run_started,
        encode,
        decode,
        workload.tokens / rows,
        _peak(device),
    )


def run_engine(engine: Engine, device: torch.device, workload: Workload) -> StrategyResult:
    """Draft with the engine, all studies in one stream.

    Raises:
        ModelError: A case failed, or the engine wrote another number of tokens than the workload
            requests.
    """
    before = engine.counters
    _reset_peak(device)
    started = _synchronized_time(device)
    tokens = 0
    for output in engine.write(workload.cases):
        if isinstance(output, FailedCase):
            raise output.error
        tokens += len(output.tokens)
    seconds = _synchronized_time(device) - started
    after = engine.counters
    if tokens != workload.tokens:
        raise ModelError(f"the engine wrote {tokens} tokens instead of {workload.tokens}")
    return StrategyResult(
        "engine",
        engine.slots,
        len(workload.cases),
        tokens,
        seconds,
        after.encode_seconds - before.encode_seconds,
        after.decode_seconds - before.decode_seconds,
        after.occupancy(before),
        _peak(device),
        engine.plan.peak,
    )


def make_engine(
    model: ClinicalBLIP, device: torch.device, workload: Workload, slots: int, longest: int
) -> Engine:
    """An engine that generates exactly as many tokens as the workload requests."""
    return Engine(
        model,
        device,
        Decoding(longest, ban_eos=True),
        slots,
        token_limit=lambda case: workload.lengths[case.key],
    )


def _synchronized_time(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else 1024 * resident

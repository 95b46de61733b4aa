"""The ways to draft that are measured side by side, each over the same studies. Knows no rates.

One at a time with `generate` is what a plain Celery task would do; `generate` in batches is the
common improvement, where all wait for the longest; the engine is ours.
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
class Measured:
    """One way over one workload. Seconds of the whole; encode and decode are parts of it.

    busy: the share of rows that wrote a token of a draft. peak: bytes, of the process on a CPU, of
    the device's allocator on a GPU. planned: what the engine planned for, 0 for other ways.
    """

    name: str
    together: int
    studies: int
    tokens: int
    seconds: float
    encode: float
    decode: float
    busy: float
    peak: int
    planned: int = 0

    @property
    def studies_per_second(self) -> float:
        """Pace."""
        return self.studies / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Of new text, over the whole time."""
        return self.tokens / self.seconds

    @property
    def decoded_per_second(self) -> float:
        """Tokens a second of decoding alone."""
        return self.tokens / self.decode

    def as_table(self) -> dict[str, float | int | str]:
        """For the JSON."""
        return {
            "way": self.name,
            "together": self.together,
            "studies": self.studies,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "encode_seconds": round(self.encode, 3),
            "decode_seconds": round(self.decode, 3),
            "studies_per_second": round(self.studies_per_second, 4),
            "tokens_per_second": round(self.tokens_per_second, 2),
            "decoded_tokens_per_second": round(self.decoded_per_second, 2),
            "busy": round(self.busy, 3),
            "peak_mb": self.peak // 1_000_000,
            "planned_mb": self.planned // 1_000_000,
        }


@torch.inference_mode()
def by_generate(
    model: ClinicalBLIP, device: torch.device, workload: Workload, batch: int
) -> Measured:
    """Transformers' `generate` over batches of so many, in the order in which studies come."""
    language = model.network.language_model
    encode = decode = 0.0
    rows = 0
    _reset_peak(device)
    began = time.perf_counter()
    for start in range(0, len(workload.asked), batch):
        asked = workload.asked[start : start + batch]
        longest = max(workload.lengths[case.key] for case, _ in asked)
        started = _now(device)
        inputs = model.gather([c for c, _ in asked], [text for _, text in asked]).to(device)
        shown, _ = model.encode_images(inputs)
        read = language.encoder(
            inputs_embeds=model.embed(inputs, shown), attention_mask=inputs.attention_mask
        )
        encoded = _now(device)
        out = language.generate(
            encoder_outputs=read,
            attention_mask=inputs.attention_mask,
            **Decoding(longest, ban_eos=True).for_generate(),
        )
        new = out[:, 1:].tolist()
        ended = _now(device)
        if any(len(row) != longest for row in new):
            raise ModelError("generate wrote another number of tokens than it was asked for")
        encode += encoded - started
        decode += ended - encoded
        rows += longest * len(asked)
    name = "one at a time" if batch == 1 else "static batch"
    return Measured(
        name,
        batch,
        len(workload.asked),
        workload.tokens,
        time.perf_counter() - began,
        encode,
        decode,
        workload.tokens / rows,
        _peak(device),
    )


def by_engine(engine: Engine, device: torch.device, workload: Workload) -> Measured:
    """The engine, one stream of all."""
    before = engine.counters
    _reset_peak(device)
    began = _now(device)
    written = 0
    for one in engine.write(workload.asked):
        if isinstance(one, FailedCase):
            raise one.error
        written += len(one.tokens)
    seconds = _now(device) - began
    now = engine.counters
    if written != workload.tokens:
        raise ModelError(f"the engine wrote {written} tokens instead of {workload.tokens}")
    return Measured(
        "engine",
        engine.slots,
        len(workload.asked),
        written,
        seconds,
        now.encode_seconds - before.encode_seconds,
        now.decode_seconds - before.decode_seconds,
        now.occupancy(before),
        _peak(device),
        engine.plan.peak,
    )


def make_engine(
    model: ClinicalBLIP, device: torch.device, workload: Workload, slots: int, most: int
) -> Engine:
    """An engine that writes just as many tokens as the workload says."""
    return Engine(
        model,
        device,
        Decoding(most, ban_eos=True),
        slots,
        token_limit=lambda case: workload.lengths[case.key],
    )


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kept if sys.platform == "darwin" else 1024 * kept

"""Runs one loaded network on one device: everything that the scheduler asks of it.

The runner turns cases into tensors, encodes groups of them, owns the `DecodeBatch` that generates
their texts, and shrinks groups and slots where memory runs out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from model.case import MAX_VIEWS, Case, FailedCase, View
from model.decoding import Decoding
from model.errors import CaseError, DeviceError
from model.inference.counters import EngineCounters
from model.inference.decode_batch import DecodeBatch, to_device
from model.inference.decoder import HALF_DTYPES, CacheShape
from model.inference.device_clock import DeviceClock
from model.inference.faults import as_case_error, is_device_fault, is_out_of_memory
from model.inference.slot_planner import SlotPlan, plan_slots
from model.inference.types import (
    EncodedGroup,
    EncodedRequest,
    Finished,
    Request,
    RequestOutput,
)
from model.inference.upcast import upcast
from model.network.clinicalblip import ClinicalBLIP, Inputs

SLOTS_ON_CPU = 16
GROUP_SIZE_ON_GPU = 16
"""Studies that are encoded at once. On a CPU they are encoded one by one, because one study keeps
all cores busy."""
NOT_A_NUMBER = "the network gave a value that is not a number"


class ModelRunner:
    """A network on a device, with the slots of its decoder.

    Attributes:
        model: The network.
        device: Where the network lies.
        decoding: How tokens are chosen.
        group_size: Studies that are encoded at once; halved when memory runs out.
        plan: What the slots were planned to take of the device's memory.
        batch: The slots. Replaced by a new batch when slots are halved or reset.
    """

    def __init__(
        self,
        model: ClinicalBLIP,
        device: torch.device,
        decoding: Decoding,
        slots: int = 0,
        *,
        group_size: int = 0,
        token_limit: Callable[[Case], int] | None = None,
    ) -> None:
        """Plan the slots and allocate them.

        Args:
            model: The network, already on the device.
            device: Where the network lies.
            decoding: How tokens are chosen.
            slots: Sequences that are generated at once; 0 chooses by the memory that is free.
            group_size: Studies that are encoded at once; 0 chooses by the device.
            token_limit: Gives fewer new tokens for a case than `decoding` allows.

        Raises:
            DeviceError: There is no memory for a single case.
        """
        self.model = model
        self.device = device
        self.decoding = decoding
        self._token_limit = token_limit
        self.group_size = group_size or (GROUP_SIZE_ON_GPU if device.type == "cuda" else 1)
        self._source_length = (
            MAX_VIEWS * model.config.num_query_tokens + model.max_instruction_tokens
        )
        # A tokenizer keeps its padding and truncation as state, which two threads must not share.
        self._tokenizing = threading.Lock()
        self._counters = EngineCounters()
        self._encode_clock, self._decode_clock = DeviceClock(device), DeviceClock(device)
        self.plan = self._plan(slots)
        self.batch = self._make_batch(self.plan.slots)

    # ---- What it is ----

    @property
    def slots(self) -> int:
        """Sequences that the decoder generates at once."""
        return self.batch.slots

    @property
    def free_slots(self) -> int:
        """How many slots are free."""
        return self.batch.free_slots

    @property
    def counters(self) -> EngineCounters:
        """A copy of the counts of everything done so far."""
        counters = self._counters.copy()
        counters.encode_seconds = self._encode_clock.seconds
        counters.decode_seconds = self._decode_clock.seconds
        return counters

    @property
    def device_name(self) -> str:
        """The device's name for people: the GPU's model, or "cpu"."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return str(self.device)

    # ---- From a case to a text ----

    def fits(self, instruction: str) -> bool:
        """Whether the network can take the whole instruction."""
        with self._tokenizing:
            return self.model.fits(instruction)

    def check(self, case: Case) -> None:
        """Refuse a case that the network cannot read.

        Raises:
            CaseError: As `ClinicalBLIP.check`.
        """
        self.model.check(case)

    def limit(self, case: Case) -> int:
        """Most new tokens of a case."""
        maximum = self.decoding.max_new_tokens
        return (
            maximum if self._token_limit is None else max(1, min(maximum, self._token_limit(case)))
        )

    def gather(self, requests: Sequence[Request]) -> Inputs:
        """The tensors of a group; for a GPU in pinned memory, which it copies from by itself."""
        with self._tokenizing:
            inputs = self.model.gather([r.case for r in requests], [r.prompt for r in requests])
        if self.device.type != "cuda":
            return inputs
        return replace(inputs, **{name: t.pin_memory() for name, t in vars(inputs).items()})

    @torch.inference_mode()
    def encode(self, inputs: Inputs) -> EncodedGroup:
        """Encode a group: T5's encoder has then read images and instruction."""
        with self._encode_clock:
            moved = inputs.to(self.device)
            embeddings, queries = self.model.encode_images(moved)
            scores = self.model.score_findings(moved, queries)
            encoded = self.model.network.language_model.encoder(
                inputs_embeds=self.model.embed(moved, embeddings),
                attention_mask=moved.attention_mask,
            )
        return EncodedGroup(encoded.last_hidden_state, scores)

    @torch.inference_mode()
    def score_findings(self, case: Case, instruction: str) -> dict[str, float]:
        """Score one case with the finding head, without writing anything; as `RequestOutput`."""
        inputs = self.gather([Request(0, case, instruction, 1, 0.0)]).to(self.device)
        _, queries = self.model.encode_images(inputs)
        scores = self.model.score_findings(inputs, queries)
        return {} if scores is None else self._by_observation(scores[0])

    def _by_observation(self, scores: torch.Tensor | None) -> dict[str, float]:
        if scores is None or self.model.finding_head is None or not torch.isfinite(scores).all():
            return {}
        return dict(zip(self.model.finding_head.observations, scores.tolist(), strict=True))

    @torch.inference_mode()
    def admit(self, encoded: Sequence[EncodedRequest]) -> None:
        """Give encoded requests their slots; there must be as many free ones."""
        longest = max(len(each.mask) for each in encoded)
        hidden = torch.stack([_padded(each.hidden, longest) for each in encoded])
        mask = torch.stack([_padded(each.mask, longest) for each in encoded])
        with self._decode_clock:
            self.batch.admit(
                [each.request.id for each in encoded],
                hidden,
                to_device(mask, self.device),
                [each.length for each in encoded],
                [each.request.max_new_tokens for each in encoded],
            )

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Run a few decode steps for all active slots; return the finished sequences."""
        batch, counters = self.batch, self._counters
        steps, tokens = batch.steps, batch.tokens
        with self._decode_clock:
            finished = batch.step()
        counters.steps += batch.steps - steps
        counters.slot_steps += (batch.steps - steps) * batch.slots
        counters.tokens += batch.tokens - tokens
        counters.busy_slot_steps += batch.tokens - tokens
        return finished

    def output(self, request: Request, finished: Finished) -> RequestOutput | FailedCase:
        """The text of a finished request.

        Where half precision gave a value that is not a number, the request is run again in
        float32. It has failed where that gives no numbers either.
        """
        self._counters.studies += 1
        now = time.perf_counter()
        seconds = {
            "gather": request.gathered_at - request.arrived_at,
            "encode": request.admitted_at - request.gathered_at,
            "generate": now - request.admitted_at,
        }
        rerun = ""
        if finished.non_finite:
            if self.model.dtype not in HALF_DTYPES:
                return FailedCase(request.case.key, CaseError(NOT_A_NUMBER))
            try:
                finished = self.rerun(request)
            except Exception as error:
                if is_out_of_memory(error) or is_device_fault(error):
                    raise
                return FailedCase(request.case.key, as_case_error(error))
            rerun = "float32"
            seconds["rerun"] = time.perf_counter() - now
            self._counters.reruns += 1
        tokenizer = self.model.language_tokenizer
        with self._tokenizing:
            pieces = tokenizer.convert_ids_to_tokens(list(finished.token_ids))
            text = tokenizer.decode(list(finished.token_ids), skip_special_tokens=True).strip()
        return RequestOutput(
            key=request.case.key,
            prompt=request.prompt,
            text=text,
            tokens=tuple(pieces),
            logprobs=finished.logprobs,
            seconds=seconds,
            cut=finished.cut,
            rerun=rerun,
            finding_scores=self._by_observation(request.finding_scores),
        )

    def rerun(self, request: Request) -> Finished:
        """Run the request alone, with `generate`, in float32 whatever format the weights have.

        Raises:
            CaseError: Float32 gives a value that is not a number, too.
        """
        inputs = self.gather([request]).to(self.device)
        limited = replace(self.decoding, max_new_tokens=request.max_new_tokens)
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            # Compiled layers would not see the weights that are widened as they run.
            with (
                torch.compiler.set_stance("force_eager"),
                upcast(self.model.network, torch.float32),
            ):
                (generated,) = self.model.generate(inputs, limited)
                if self.model.finding_head is not None:
                    with torch.inference_mode():
                        _, queries = self.model.encode_images(inputs)
                        scores = self.model.score_findings(inputs, queries)
                    request.finding_scores = None if scores is None else scores[0]
        finally:
            torch.set_float32_matmul_precision(precision)
        return Finished(
            request.id, generated.ids, generated.logprobs, generated.cut, non_finite=False
        )

    # ---- Memory ----

    def halve_slots(self) -> None:
        """Drop all active sequences and go on with half as many slots.

        Raises:
            DeviceError: There is only one slot.
        """
        self._replace_batch(self._half(self.batch.slots))

    def halve_group(self) -> None:
        """Encode half as many studies at once from now on.

        Raises:
            DeviceError: They are encoded one by one already.
        """
        self.group_size = self._half(self.group_size)
        self._free_memory()

    def reset(self) -> None:
        """Drop all active sequences."""
        self._replace_batch(self.batch.slots)

    def largest_inputs(self, count: int, views: int) -> Inputs:
        """A group of black images with the longest instruction, for measuring and warming up."""
        size = self.model.preprocessing.size
        view = View(np.zeros((size, size), np.uint8), "frontal")
        case = Case("warm-up", (view,) * views)
        request = Request(0, case, "x " * self.model.max_instruction_tokens, 1, 0.0)
        return self.gather([request] * count)

    def _half(self, count: int) -> int:
        if count == 1:
            raise DeviceError(f"{self.device_name} has no memory for one case")
        return (count + 1) // 2

    def _replace_batch(self, slots: int) -> None:
        # The old caches are freed first: there is no room for both.
        del self.batch
        self._free_memory()
        self.batch = self._make_batch(slots)

    def _free_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _make_batch(self, slots: int) -> DecodeBatch:
        """A batch of `slots` slots, or fewer where memory runs out while it is allocated.

        Raises:
            DeviceError: There is no memory for a single slot.
        """
        language = self.model.network.language_model
        while True:
            try:
                return DecodeBatch(language, self.decoding, slots, self._source_length)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if slots == 1:
                    raise DeviceError(f"{self.device_name} has no memory for one case") from error
            slots = (slots + 1) // 2
            self._free_memory()

    def _plan(self, requested: int) -> SlotPlan:
        """The slots for this device, and what they are planned to take."""
        config = self.model.config.text_config
        shape = CacheShape(
            config.num_decoder_layers,
            config.num_heads,
            config.d_kv,
            self.decoding.max_new_tokens,
            self._source_length,
        )
        itemsize = self.model.dtype.itemsize
        bytes_per_slot = shape.bytes_per_slot(self.decoding.beams, itemsize)
        # Logits, their float32 copy, and the two tensors that the sampler makes of them.
        bytes_per_slot += self.decoding.beams * config.vocab_size * (itemsize + 3 * 4)
        weights = _bytes_of(self.model.network)
        if self.device.type != "cuda":
            return SlotPlan(requested or SLOTS_ON_CPU, weights, 0, bytes_per_slot)
        encoder = self._encoder_peak()
        free, _ = torch.cuda.mem_get_info(self.device)
        return plan_slots(free, weights, encoder, bytes_per_slot, requested)

    def _encoder_peak(self) -> int:
        """Bytes that the largest group takes while it is encoded, measured by encoding one."""
        while True:
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            try:
                self.encode(self.largest_inputs(self.group_size, MAX_VIEWS))
                torch.cuda.synchronize(self.device)
            except torch.OutOfMemoryError:
                self.halve_group()
                continue
            return torch.cuda.max_memory_allocated(self.device) - before


def _bytes_of(network: nn.Module) -> int:
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _padded(row: torch.Tensor, length: int) -> torch.Tensor:
    """(L, ...) with zeros behind it, (length, ...)."""
    if len(row) == length:
        return row
    return torch.cat([row, row.new_zeros(length - len(row), *row.shape[1:])])

"""Studies stream in, drafts stream out, and the device always has work.

A case is pulled when there is room for it; its group is made into tensors by a thread while the
device runs; ViT, Q-Former and T5's encoder read a group at once; each study of it takes the next
free slot of the decoder (`model.inference.decode_batch`) and leaves it when its text ends. Memory that runs out
halves what is run at once; a device that fails is nobody's fault, and what was not given back is to
be drafted again. Knows no prompts' making, no sections and no rows.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.bundling.store import choose_device, load_bundle
from model.case import MAX_VIEWS, Case, FailedCase, View
from model.decoding import Decoding, Serving
from model.errors import CaseError, DeviceError
from model.inference.compiled import try_compiled
from model.inference.counters import Tally
from model.inference.decode_batch import Flight, Landed, to_device
from model.inference.decoder import HALVES, Shape
from model.inference.device_clock import Clock
from model.inference.device_tuning import dtype_named, make_fit
from model.inference.faults import as_case_error, is_device_fault, is_out_of_memory
from model.inference.int8 import Int8Linear
from model.inference.packed import PackedLinear
from model.inference.scheduler import Asked, Read, Stream, Study
from model.inference.slot_planner import Plan, plan_slots
from model.inference.upcast import upcast
from model.manifest import Manifest
from model.network.clinicalblip import ClinicalBLIP, Inputs
from model.progress import ProgressCallback, no_progress

SLOTS_ON_CPU = 16
GROUP_ON_GPU = 16
"""Studies that are read at once. On a CPU one by one: its cores are busy with one."""
NOT_A_NUMBER = "the network gave a value that is not a number"


@dataclass(frozen=True)
class Written:
    """What was written for one case. seconds: waited for each stage, mates' work among it.

    rerun: the number format in which the study was run again, or "".
    """

    key: str
    prompt: str
    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    seconds: dict[str, float]
    cut: bool
    rerun: str = ""


class Engine:
    """A network on a device, with a number of slots. One stream (`write`) at a time."""

    def __init__(
        self,
        model: ClinicalBLIP,
        device: torch.device,
        decoding: Decoding | None = None,
        slots: int = 0,
        *,
        group: int = 0,
        limit_of: Callable[[Case], int] | None = None,
    ) -> None:
        """slots: 0 chooses from the memory that is free. limit_of: fewer new tokens for a case."""
        if slots < 0 or group < 0:
            raise ValueError("slots are one or more, or 0 to choose")
        self._model = model
        self._device = device
        self._decoding = decoding or Decoding()
        self._limit_of = limit_of
        self._group = group or (GROUP_ON_GPU if device.type == "cuda" else 1)
        self._words = MAX_VIEWS * model.config.num_query_tokens + model.most_tokens
        # Tokenizers keep their padding and cutting inside: two threads would trip over them.
        self._tokenizing = threading.Lock()
        self._counts = Tally()
        self.numbers = itertools.count()
        self._encoding, self._flying = Clock(device), Clock(device)
        self.plan = self._plan(slots)
        self._flight = self._make_flight(self.plan.slots)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: str | None = None,
        serving: Serving | None = None,
        progress: ProgressCallback = no_progress,
    ) -> tuple[Engine, Manifest]:
        """The engine of a bundle. progress: is called while it loads and warms up.

        Raises:
            BundleError, DeviceError: as `model.bundling.store.load_bundle`.
        """
        serving = serving or Serving()
        chosen = choose_device(device)
        model, manifest = load_bundle(bundle, chosen, dtype_named(serving.dtype, chosen), progress)
        if chosen.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        decoding = Decoding(max_new_tokens=manifest.max_new_tokens, beams=serving.beams)
        make_fit(model, chosen, int8=serving.int8)
        engine = cls(model, chosen, decoding, serving.slots)
        if serving.compiled and chosen.type == "cuda":
            engine.compile(progress)
        engine.warm_up(progress)
        return engine, manifest

    @property
    def settings(self) -> dict[str, object]:
        """What shapes the text besides bundle and case."""
        said: dict[str, object] = {
            "max_new_tokens": self._decoding.max_new_tokens,
            "beams": self._decoding.beams,
            "dtype": self.dtype_name,
        }
        if self._decoding.beams > 1:
            said["length_penalty"] = self._decoding.length_penalty
        if self._decoding.no_repeat_ngram:
            said["no_repeat_ngram"] = self._decoding.no_repeat_ngram
        if any(isinstance(module, Int8Linear) for module in self._model.modules()):
            said["int8"] = True
        return said

    @property
    def slots(self) -> int:
        """Studies that the decoder writes at once."""
        return self._flight.slots

    @property
    def tally(self) -> Tally:
        """Counts of all that was done, as they stand."""
        now = self._counts.copy()
        now.encode_seconds, now.decode_seconds = self._encoding.seconds, self._flying.seconds
        return now

    @property
    def dtype_name(self) -> str:
        """The number format of the weights, as "float32"."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def device_name(self) -> str:
        """The device as a person knows it."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return str(self._device)

    def fits(self, instruction: str) -> bool:
        """Whether the network can take the whole instruction."""
        with self._tokenizing:
            return self._model.fits(instruction)

    def compile(
        self, progress: ProgressCallback = no_progress, backend: str = "inductor"
    ) -> dict[str, object]:
        """Compile what reads a group, and keep that where it is faster; as `try_compiled`.

        Raises:
            DeviceError: the layers are packed or rounded for a CPU, which no compiler takes.
        """
        if any(isinstance(one, PackedLinear | Int8Linear) for one in self._model.modules()):
            raise DeviceError("compiling is for a GPU: on a CPU packed weights are faster")

        def read() -> None:
            for count, views in ((self._group, MAX_VIEWS), (1, 1)):
                self.encode(self._largest(count, views))
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)

        return try_compiled(self._model.network, read, progress, backend)

    def warm_up(self, progress: ProgressCallback = no_progress) -> None:
        """Choose and compile kernels before the first study."""
        self._flight.warm_up(progress)

    def write(self, asked: Iterable[Asked | None]) -> Iterator[Written | FailedCase]:
        """Draft each case, as they fall ready; one that fails comes back as FailedCase.

        asked: is looked at in the caller's thread, only while there is room. None says that there
        is nothing just now: what is in flight goes on, and after some steps it is asked again; with
        nothing in flight, it is the end.

        Raises:
            DeviceError: the device failed; what was not yet given back is to be drafted again.
        """
        with ThreadPoolExecutor(1, "gather") as thread:
            stream = Stream(self, thread, iter(asked))
            try:
                yield from stream.run()
            finally:
                # A caller that goes away, and a device that failed, leave nobody on board.
                if self._flight.on_board:
                    self._flight = self._make_flight(self._flight.slots)

    # ---- What a stream asks of it ----

    def check(self, case: Case) -> None:
        """Refuse a case that the network cannot read.

        Raises:
            CaseError: as `ClinicalBLIP.check`.
        """
        self._model.check(case)

    def limit(self, case: Case) -> int:
        """Most new tokens of a case."""
        most = self._decoding.max_new_tokens
        return most if self._limit_of is None else max(1, min(most, self._limit_of(case)))

    def gather(self, studies: Sequence[Study]) -> Inputs:
        """Tensors of a group, in memory that the device can copy from by itself."""
        with self._tokenizing:
            inputs = self._model.gather([s.case for s in studies], [s.prompt for s in studies])
        if self._device.type != "cuda":
            return inputs
        return replace(inputs, **{name: t.pin_memory() for name, t in vars(inputs).items()})

    @torch.inference_mode()
    def encode(self, inputs: Inputs) -> torch.Tensor:
        """(B, L, W): what T5's encoder makes of a group."""
        with self._encoding:
            moved = inputs.to(self._device)
            shown, _ = self._model.see(moved)
            read = self._model.network.language_model.encoder(
                inputs_embeds=self._model.embed(moved, shown), attention_mask=moved.words_mask
            )
        hidden: torch.Tensor = read.last_hidden_state
        return hidden

    @torch.inference_mode()
    def board(self, ready: Sequence[Read]) -> None:
        """Give studies that are read their slots; there must be as many."""
        longest = max(len(one.mask) for one in ready)
        hidden = torch.stack([_padded(one.hidden, longest) for one in ready])
        mask = torch.stack([_padded(one.mask, longest) for one in ready])
        with self._flying:
            self._flight.board(
                [one.study.number for one in ready],
                hidden,
                to_device(mask, self._device),
                [one.length for one in ready],
                [one.study.limit for one in ready],
            )

    @torch.inference_mode()
    def fly(self) -> list[Landed]:
        """Some steps of all on board; who landed."""
        flight, counts = self._flight, self._counts
        steps, tokens = flight.steps, flight.tokens
        with self._flying:
            landed = flight.fly()
        counts.steps += flight.steps - steps
        counts.slot_steps += (flight.steps - steps) * flight.slots
        counts.tokens += flight.tokens - tokens
        counts.busy_slot_steps += flight.tokens - tokens
        return landed

    @property
    def free(self) -> int:
        """Slots that are free."""
        return self._flight.free

    @property
    def group(self) -> int:
        """Studies that are read at once."""
        return self._group

    def written(self, study: Study, landed: Landed) -> Written | FailedCase:
        """What came of a study; run again in float32 where half precision gave no numbers."""
        self._counts.studies += 1
        now = time.perf_counter()
        seconds = {
            "gather": study.gathered - study.since,
            "encode": study.boarded - study.gathered,
            "generate": now - study.boarded,
        }
        rerun = ""
        if landed.bad:
            if self._model.dtype not in HALVES:
                return FailedCase(study.case.key, CaseError(NOT_A_NUMBER))
            try:
                landed = self._run_again(study)
            except Exception as error:
                if is_out_of_memory(error) or is_device_fault(error):
                    raise
                return FailedCase(study.case.key, as_case_error(error))
            if landed.bad:
                return FailedCase(study.case.key, CaseError(f"{NOT_A_NUMBER}, in float32 too"))
            rerun = "float32"
            seconds["rerun"] = time.perf_counter() - now
            self._counts.reruns += 1
        tokenizer = self._model.language
        with self._tokenizing:
            pieces = tokenizer.convert_ids_to_tokens(list(landed.ids))
            text = tokenizer.decode(list(landed.ids), skip_special_tokens=True).strip()
        return Written(
            key=study.case.key,
            prompt=study.prompt,
            text=text,
            tokens=tuple(pieces),
            logprobs=landed.logs,
            seconds=seconds,
            cut=landed.cut,
            rerun=rerun,
        )

    def halve(self, *, slots: bool) -> None:
        """Run half as much at once from now on: slots, or studies that are read together.

        Raises:
            DeviceError: it is one already.
        """
        now = self._flight.slots if slots else self._group
        if now == 1:
            raise DeviceError(f"{self.device_name} has no memory for one case")
        if slots:
            self._reset((now + 1) // 2)
        else:
            self._group = (now + 1) // 2
            self._free_memory()

    def reset(self) -> None:
        """Everybody off board."""
        self._reset(self._flight.slots)

    # ---- Inside ----

    def _reset(self, slots: int) -> None:
        del self._flight
        self._free_memory()
        self._flight = self._make_flight(slots)

    def _free_memory(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _make_flight(self, slots: int) -> Flight:
        """Slots, as many as there is memory for after all.

        Raises:
            DeviceError: there is none for a single one.
        """
        language = self._model.network.language_model
        while True:
            try:
                return Flight(language, self._decoding, slots, self._words)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if slots == 1:
                    raise DeviceError(f"{self.device_name} has no memory for one case") from error
            slots = (slots + 1) // 2
            self._free_memory()

    def _plan(self, wanted: int) -> Plan:
        """Slots for this device, and what they are planned to take."""
        config = self._model.config.text_config
        shape = Shape(
            config.num_decoder_layers,
            config.num_heads,
            config.d_kv,
            self._decoding.max_new_tokens,
            self._words,
        )
        item = self._model.dtype.itemsize
        a_slot = shape.bytes_a_slot(self._decoding.beams, item)
        # Logits, their float32 copy and what choosing makes of it.
        a_slot += self._decoding.beams * config.vocab_size * (item + 3 * 4)
        weights = _bytes_of(self._model.network)
        if self._device.type != "cuda":
            return Plan(wanted or SLOTS_ON_CPU, weights, 0, a_slot)
        encoder = self._peak_of_encoder()
        free, _ = torch.cuda.mem_get_info(self._device)
        return plan_slots(free, weights, encoder, a_slot, wanted)

    def _peak_of_encoder(self) -> int:
        """Bytes that the largest group takes while it is read, seen by reading one."""
        while True:
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            try:
                self.encode(self._largest(self._group, MAX_VIEWS))
                torch.cuda.synchronize(self._device)
            except torch.OutOfMemoryError:
                self.halve(slots=False)
                continue
            return torch.cuda.max_memory_allocated(self._device) - before

    def _largest(self, count: int, views: int) -> Inputs:
        """A group of so many black films, each with the longest instruction."""
        size = self._model.preprocessing.size
        view = View(np.zeros((size, size), np.uint8), "frontal")
        case = Case("warm-up", (view,) * views)
        study = Study(0, case, "x " * self._model.most_tokens, 1, 0.0)
        return self.gather([study] * count)

    def _run_again(self, study: Study) -> Landed:
        """The study alone, in float32 whatever the weights are kept in, as `generate` does it."""
        inputs = self.gather([study]).to(self._device)
        limited = replace(self._decoding, max_new_tokens=study.limit)
        usual = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            # Layers that are widened as they run are not what was compiled.
            with (
                torch.compiler.set_stance("force_eager"),
                upcast(self._model.network, torch.float32),
            ):
                (again,) = self._model.generate(inputs, limited)
        finally:
            torch.set_float32_matmul_precision(usual)
        return Landed(study.number, again.ids, again.logprobs, again.cut, bad=False)


def _bytes_of(network: nn.Module) -> int:
    kept = [*network.parameters(), *network.buffers()]
    return sum(one.numel() * one.element_size() for one in kept)


def _padded(row: torch.Tensor, length: int) -> torch.Tensor:
    """(L, ...) with zeros after it, (length, ...)."""
    if len(row) == length:
        return row
    return torch.cat([row, row.new_zeros(length - len(row), *row.shape[1:])])

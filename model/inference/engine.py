"""The inference engine: cases stream in, texts stream out, and the device always has work.

A case is pulled when there is room for it. A thread makes the tensors of its group while the device
runs. ViT, Q-Former and T5's encoder read a whole group at once; then each study takes the next free
slot of the decoder, and leaves it when its text ends (`model.inference.scheduler`). When memory
runs out, half as much is run at once. When the device fails, no case is at fault, and every case
that was not given back is to be drafted again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from model.bundling.store import choose_device, load_bundle
from model.case import MAX_VIEWS, Case, FailedCase
from model.decoding import Decoding, Serving
from model.errors import DeviceError
from model.inference.compiled import compile_if_faster
from model.inference.counters import EngineCounters
from model.inference.device_tuning import resolve_dtype, tune_for_device
from model.inference.faults import is_device_fault, is_out_of_memory
from model.inference.int8 import Int8Linear
from model.inference.model_runner import ModelRunner
from model.inference.packed import PackedLinear
from model.inference.scheduler import Scheduler
from model.inference.slot_planner import SlotPlan
from model.inference.types import PromptedCase, RequestOutput
from model.manifest import Manifest
from model.network.clinicalblip import ClinicalBLIP
from model.progress import ProgressCallback, no_progress


class Engine:
    """A network on a device, with a number of slots. It serves one stream (`write`) at a time.

    Attributes:
        runner: Runs the network.
    """

    def __init__(
        self,
        model: ClinicalBLIP,
        device: torch.device,
        decoding: Decoding | None = None,
        slots: int = 0,
        *,
        group_size: int = 0,
        token_limit: Callable[[Case], int] | None = None,
    ) -> None:
        """Make an engine over a network that lies on its device.

        Args:
            model: The network.
            device: Where it lies.
            decoding: How tokens are chosen.
            slots: Studies that are written at once; 0 chooses by the memory that is free.
            group_size: Studies that are encoded at once; 0 chooses by the device.
            token_limit: Gives fewer new tokens for a case than `decoding` allows.

        Raises:
            DeviceError: The device has no memory for one case.
            ValueError: `slots` or `group_size` is negative.
        """
        if slots < 0 or group_size < 0:
            raise ValueError("slots are one or more, or 0 to choose")
        self.runner = ModelRunner(
            model,
            device,
            decoding or Decoding(),
            slots,
            group_size=group_size,
            token_limit=token_limit,
        )

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: str | None = None,
        serving: Serving | None = None,
        progress: ProgressCallback = no_progress,
    ) -> tuple[Engine, Manifest]:
        """Load a bundle, adapt it to its device and warm it up.

        Args:
            bundle: A shipped bundle's name, or a folder.
            device: "cpu", "cuda", "cuda:1"; None takes a GPU where there is one.
            serving: How it is served.
            progress: Is called while the bundle is checked, loaded and warmed up.

        Raises:
            BundleError: As `model.bundling.store.load_bundle`.
            DeviceError: As `load_bundle`, or the device has no memory for one case.
        """
        serving = serving or Serving()
        chosen = choose_device(device)
        model, manifest = load_bundle(
            bundle, chosen, resolve_dtype(serving.dtype, chosen), progress
        )
        if chosen.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        decoding = Decoding(max_new_tokens=manifest.max_new_tokens, beams=serving.beams)
        tune_for_device(model, chosen, int8=serving.int8)
        engine = cls(model, chosen, decoding, serving.slots)
        if serving.compiled and chosen.type == "cuda":
            engine.compile(progress)
        engine.warm_up(progress)
        return engine, manifest

    @property
    def settings(self) -> dict[str, object]:
        """The settings that shape a text besides bundle and case. Drafts carry their digest."""
        decoding = self.runner.decoding
        settings: dict[str, object] = {
            "max_new_tokens": decoding.max_new_tokens,
            "beams": decoding.beams,
            "dtype": self.dtype_name,
        }
        if decoding.beams > 1:
            settings["length_penalty"] = decoding.length_penalty
        if decoding.no_repeat_ngram:
            settings["no_repeat_ngram"] = decoding.no_repeat_ngram
        if any(isinstance(module, Int8Linear) for module in self.runner.model.modules()):
            settings["int8"] = True
        return settings

    @property
    def slots(self) -> int:
        """Studies that are written at once."""
        return self.runner.slots

    @property
    def plan(self) -> SlotPlan:
        """What the slots were planned to take of the device's memory."""
        return self.runner.plan

    @property
    def counters(self) -> EngineCounters:
        """A copy of the counts of everything done so far."""
        return self.runner.counters

    @property
    def dtype_name(self) -> str:
        """The number format of the weights, as "float32"."""
        return str(self.runner.model.dtype).removeprefix("torch.")

    @property
    def device_name(self) -> str:
        """The device's name for people."""
        return self.runner.device_name

    def fits(self, instruction: str) -> bool:
        """Whether the network can take the whole instruction."""
        return self.runner.fits(instruction)

    def score_findings(self, case: Case, instruction: str) -> dict[str, float]:
        """Score a case with the finding head, without writing anything.

        Returns:
            The probability by observation; empty where the bundle has no finding head, and for a
            case that the network cannot read, which fails when it is written.

        Raises:
            DeviceError: The device failed, or has no memory for the case.
        """
        runner = self.runner
        try:
            runner.check(case)
            return runner.score_findings(case, instruction)
        except Exception as error:
            if is_out_of_memory(error) or is_device_fault(error):
                raise DeviceError(f"{self.device_name} failed: {error}") from error
            return {}

    def compile(
        self, progress: ProgressCallback = no_progress, backend: str = "inductor"
    ) -> dict[str, object]:
        """Compile the encoders, and keep that where it is faster; as `compile_if_faster`.

        Raises:
            DeviceError: The layers are packed or quantized for a CPU, which no compiler takes.
        """
        runner = self.runner
        if any(isinstance(m, PackedLinear | Int8Linear) for m in runner.model.modules()):
            raise DeviceError("compiling is for a GPU: on a CPU packed weights are faster")

        def encode() -> None:
            for count, views in ((runner.group_size, MAX_VIEWS), (1, 1)):
                runner.encode(runner.largest_inputs(count, views))
            if runner.device.type == "cuda":
                torch.cuda.synchronize(runner.device)

        return compile_if_faster(runner.model.network, encode, progress, backend)

    def warm_up(self, progress: ProgressCallback = no_progress) -> None:
        """Choose and compile the decoder's kernels before the first study."""
        self.runner.batch.warm_up(progress)

    def write(self, source: Iterable[PromptedCase | None]) -> Iterator[RequestOutput | FailedCase]:
        """Write a text for each case; results come as they are ready, in any order.

        Args:
            source: Cases with their instructions. It is read in the caller's thread, only while
                there is room. None means that nothing is ready now: what is active goes on, and
                the source is read again after a few steps. With nothing active, None is the end.

        Yields:
            The output of a case, or a FailedCase for one that cannot be written.

        Raises:
            DeviceError: The device failed. Cases not yet given back are to be drafted again.
        """
        runner = self.runner
        with ThreadPoolExecutor(1, "gather") as executor:
            scheduler = Scheduler(runner, executor, iter(source))
            try:
                yield from scheduler.run()
            finally:
                # After a caller that stops early, or a failed device, slots may still be taken.
                if runner.batch.active_ids:
                    runner.reset()

"""The loop: one stage of a training, on one device or many. Knows no corpus and no bundle.

accelerate spreads it: the same code runs on a CPU, a GPU, or several under torchrun. All that is
drawn by chance follows from the seed and the step, so a run that was killed and taken up again
gives the losses of one that was not.

float16 is autocast with a scaled loss, bfloat16 autocast alone. A step whose loss or gradients are
no numbers changes nothing and is counted; ten in a row end the run. That a scaled gradient ran
over is no such step, for the scale is halved and the next one fits.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import nn

from model.bundling.store import choose_device
from model.network.clinicalblip import ClinicalBLIP
from records.errors import DiskFull, NotAllowed, SettingsError, TrainingStopped
from training.corpus.example import Example
from training.finetuning import checkpoints
from training.finetuning.batches import BatchLoader, SampleTransform
from training.finetuning.config import TrainingConfig, differences, identity_of
from training.finetuning.metric_logging import MetricLogger, StepMetrics, read_log
from training.finetuning.objectives import Batch, Objective
from training.finetuning.stages import Stage
from training.finetuning.trainable import (
    TrainableNetwork,
    apply_stage,
    enable_gradient_checkpointing,
)

MAX_SKIPPED_IN_A_ROW = 10
"""Steps without numbers that end a run."""
MIN_LOSS_SCALE = 1.0
"""A loss scaled down so far and still running over is no matter of scale."""


@dataclass
class StepCounts:
    """What a run has come to. scaled: steps on which the loss's scale was too large."""

    step: int = 0
    skipped: int = 0
    scaled: int = 0
    in_a_row: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """A stage that is done. loss: a mean over its last steps; validation: of the set apart."""

    counts: StepCounts
    loss: float
    validation: float | None
    trains: dict[str, int] = field(default_factory=dict)


class Run:
    """One stage on one network, in a folder of its own.

    identity: what the run is of, beside stage and settings; one that is taken up must have the
    same. device: None takes a GPU where there is one. heard: is told each step that is done.
    """

    def __init__(
        self,
        folder: Path,
        model: ClinicalBLIP,
        stage: Stage,
        examples: Sequence[Example],
        transform: SampleTransform,
        config: TrainingConfig,
        *,
        validation: Sequence[Example] = (),
        identity: dict[str, Any] | None = None,
        device: str | None = None,
        on_step: Callable[[int], None] = lambda _: None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.model = model
        self.stage = stage
        self.config = config
        self.on_step = on_step
        self.accelerator = process_state(device)
        torch.manual_seed(config.seed)
        self.trainable: TrainableNetwork = apply_stage(model.network, stage)
        if config.checkpointed:
            enable_gradient_checkpointing(model.network)
        self.objective = Objective(model, stage.objective).to(self.accelerator.device)
        self.examples = examples
        self.counts = StepCounts()
        self._waited = 0.0
        world = self.accelerator.num_processes
        self.identity = identity_of(stage, config, transform, world, identity or {})
        self.loader = BatchLoader(
            model,
            examples,
            transform,
            priors=stage.priors,
            batch=config.batch,
            seed=config.seed,
            most_target=config.most_target,
            rank=self.accelerator.process_index,
            world_size=world,
        )
        self._still = _still(self.loader, validation, config)
        self._weights = {
            **self.trainable.named(),
            **{f"judge.{n}": p for n, p in enumerate(self.objective.auxiliary_parameters())},
        }
        groups = self.trainable.optimizer_groups()
        if auxiliary_parameters := self.objective.auxiliary_parameters():
            high = max(group.rate for group in stage.groups)
            groups.append(
                {
                    "params": auxiliary_parameters,
                    "lr": high,
                    "peak": high,
                    "weight_decay": 0.0,
                    "name": "judges",
                }
            )
        self.optimizer = torch.optim.AdamW(groups)
        self.scaler = torch.amp.GradScaler(
            self.accelerator.device.type, enabled=config.precision == "float16"
        )
        self.metrics = MetricLogger(folder, log, main=self.accelerator.is_main_process)

    def train(self, *, resume: bool = False) -> Outcome:
        """Run the stage to its end; what trained is in the network then.

        Raises:
            NotAllowed: there is an unfinished run here and it is not to be taken up, or it is of
                another stage, other settings or another corpus.
            TrainingStopped: no numbers ten times in a row, or asked to stop; a checkpoint is kept.
            DiskFull: there was no room for the last checkpoint.
        """
        self._begin(resume)
        prepared = self._spread()
        config, counts = self.config, self.counts
        self.objective.train()
        # Of a stage that was done before, what it came to is in its log.
        told = (row for row in read_log(self.folder) if row["step"] <= counts.step)
        recent = [float(row["loss"]) for row in told][-50:]
        validation: float | None = None
        with (
            self.metrics.open(counts.step, config.steps),
            _stop_signals() as stop,
            closing(self.loader.batches(counts.step * config.accumulation)) as batches,
        ):
            while counts.step < config.steps:
                began = time.monotonic()
                loss, norm, asked = self._step(prepared, batches, stop)
                counts.step += 1
                counts.seconds += time.monotonic() - began
                recent = [*recent, loss][-50:]
                done = counts.step == config.steps
                if self._still and (done or _due(counts.step, config.validate_every)):
                    validation = self._validate()
                self.metrics.step(
                    self._step_metrics(loss, norm, time.monotonic() - began), validation
                )
                self.on_step(counts.step)
                if counts.in_a_row >= MAX_SKIPPED_IN_A_ROW:
                    raise TrainingStopped(self._no_numbers())
                if asked:
                    self._save(must=True)
                    raise TrainingStopped(
                        f"stopped as asked after step {counts.step} of {config.steps}; the "
                        "same command with --resume goes on from there"
                    )
                if done or _due(counts.step, config.save_every):
                    self._save(must=done)
        numbers = [value for value in recent if math.isfinite(value)]
        mean = sum(numbers) / len(numbers) if numbers else math.nan
        self.objective.eval()
        return Outcome(counts, mean, validation, self.trainable.counts())

    # ---- One step ----

    def _step(
        self, prepared: nn.Module, batches: Iterator[Batch], stop: threading.Event
    ) -> tuple[float, float, bool]:
        """A step of the optimizer: its loss, its gradients' norm, and whether to stop after it."""
        config, counts, accelerator = self.config, self.counts, self.accelerator
        share = config.rate(counts.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        total = torch.zeros((), device=accelerator.device)
        self._waited = 0.0
        for micro in range(config.accumulation):
            asked_at = time.monotonic()
            batch = next(batches).to(accelerator.device)
            self._waited += time.monotonic() - asked_at
            self._seed(counts.step * config.accumulation + micro)
            last = micro == config.accumulation - 1
            # Only the last of a step's batches waits for the other processes.
            waiting: AbstractContextManager[Any] = (
                nullcontext() if last else accelerator.no_sync(prepared)
            )
            with waiting:
                with self._autocast():
                    loss = prepared(batch)
                self.scaler.scale(loss / config.accumulation).backward()
            total += loss.detach().float() / config.accumulation
        told = torch.stack([total, total.new_tensor(float(stop.is_set()))])
        mean, asked = accelerator.reduce(told, "mean").tolist()
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(list(self._weights.values()), config.clip))
        if math.isfinite(mean) and math.isfinite(norm):
            self.scaler.step(self.optimizer)
            counts.in_a_row = 0
        elif (
            math.isfinite(mean)
            and self.scaler.is_enabled()
            and self.scaler.get_scale() > MIN_LOSS_SCALE
        ):
            counts.scaled += 1
        else:
            counts.skipped += 1
            counts.in_a_row += 1
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return mean, norm, asked > 0

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        dtype = torch.float16 if self.config.precision == "float16" else torch.bfloat16
        return torch.autocast(self.accelerator.device.type, dtype)

    def _seed(self, number: int) -> None:
        """Dropout follows from the seed, the batch and the process: nothing has to be kept."""
        rank = self.accelerator.process_index
        torch.manual_seed((self.config.seed * 1_000_003 + number) * 1_009 + rank)

    @torch.no_grad()
    def _validate(self) -> float:
        self.objective.eval()
        losses = []
        for batch in self._still:
            with self._autocast():
                losses.append(self.objective(batch.to(self.accelerator.device)).float())
        self.objective.train()
        return float(torch.stack(losses).mean())

    def _step_metrics(self, loss: float, norm: float, seconds: float) -> StepMetrics:
        config = self.config
        studies = config.batch * config.accumulation * self.accelerator.num_processes
        memory = 0
        if self.accelerator.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.accelerator.device)
        return StepMetrics(
            step=self.counts.step,
            loss=loss,
            rates={group["name"]: group["lr"] for group in self.optimizer.param_groups},
            norm=norm,
            scale=self.scaler.get_scale() if self.scaler.is_enabled() else 1.0,
            skipped=self.counts.skipped,
            studies_per_second=studies / seconds,
            waited=self._waited / seconds,
            memory=memory,
        )

    def _no_numbers(self) -> str:
        advice = "lower the rates (--rate-lora, --rate-whole)"
        if self.config.precision == "float16":
            advice += ", or take --precision bfloat16 where the card has it"
        return (
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row, up to step {self.counts.step}, gave no numbers: {advice}; "
            f"the last checkpoint is kept in {self.folder}"
        )

    # ---- Beginning, spreading, keeping ----

    def _begin(self, resume: bool) -> None:
        found = checkpoints.list_checkpoints(self.folder)
        if found and not resume:
            raise NotAllowed(
                f"{self.folder} holds a run that was stopped after step "
                f"{checkpoints.step_of(found[-1])}: --resume takes it up, --fresh begins anew"
            )
        if not found:
            return
        weights, state = checkpoints.load(found[-1])
        if differ := differences(state["identity"], self.identity):
            raise NotAllowed(
                f"{found[-1]} is of another run ({'; '.join(differ)}): give the same settings, or "
                "--fresh to begin anew"
            )
        with torch.no_grad():
            for name, parameter in self._weights.items():
                parameter.copy_(weights[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.counts = StepCounts(**state["counts"])

    def _spread(self) -> nn.Module:
        if self.accelerator.num_processes == 1:
            return self.objective
        prepared: nn.Module = self.accelerator.prepare(self.objective)
        return prepared

    def _save(self, *, must: bool) -> None:
        if self.accelerator.is_main_process:
            state = {
                "identity": self.identity,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "counts": asdict(self.counts),
            }
            try:
                checkpoints.save(self.folder, self.counts.step, self._weights, state)
            except DiskFull as full:
                if must:
                    raise
                self.metrics.say(f"{full}; the run goes on, the last good checkpoint is kept")
        self.accelerator.wait_for_everyone()


PROCESS_TIMEOUT = timedelta(hours=24)
"""How long processes wait for the first of them, which prepares the films of a whole corpus."""


def process_state(device: str | None) -> Accelerator:
    """The processes and devices of this run; None takes a GPU where there is one.

    Raises:
        DeviceError: there is no device of that name here.
        SettingsError: one GPU is named, and there are several processes.
    """
    if device is not None and (chosen := choose_device(device)).index is not None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SettingsError(
                f"NIGHTDRAFT_DEVICE (--device) is {device}, and several processes were started, "
                "each with a GPU of its own: leave it out"
            )
        torch.cuda.set_device(chosen)
    # The Q-Former's last layer computes words that nothing reads: some parameters get no gradient.
    spreading = DistributedDataParallelKwargs(find_unused_parameters=True)
    waiting = InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)
    return Accelerator(cpu=device == "cpu", kwargs_handlers=[spreading, waiting])


def require_single_process(device: str | None, what: str) -> None:
    """That this is the only process, and its device is there.

    Raises:
        NotAllowed: several were started. DeviceError: as `accelerator_for`.
    """
    if process_state(device).num_processes > 1:
        raise NotAllowed(f"{what} runs in one process: start it without torchrun")


def _still(loader: BatchLoader, examples: Sequence[Example], config: TrainingConfig) -> list[Batch]:
    """What is looked at while training: the same films as they are, the same prompts, each time."""
    return loader.without_augmentation(examples, most=32 * config.batch)


def _due(step: int, each: int) -> bool:
    return each > 0 and step % each == 0


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGTERM and Ctrl-C ask for a checkpoint and an end; a second Ctrl-C ends at once.

    A signal that is ignored stays so: a shell's background is started deaf to Ctrl-C.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_step(number: int, _: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    heeded = [
        number
        for number in (signal.SIGTERM, signal.SIGINT)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, on_step) for number in heeded}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

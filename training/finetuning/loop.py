"""The training loop: one stage, on one device or on many.

accelerate spreads it over processes and does mixed precision, accumulation and clipping. All random
draws follow from the seed and the step, so a run that was killed and resumed gives the losses of an
unbroken one.

float16 is autocast with a scaled loss, bfloat16 is autocast alone. A step whose loss or gradients
are not finite changes nothing and is counted; ten in a row end the run. A step whose
scaled gradients overflowed is not one of them: the scale is halved, and the next step fits.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.network.clinicalblip import ClinicalBLIP
from records.errors import DiskFull, NotAllowed, TrainingStopped
from training.corpus.example import Example
from training.finetuning import checkpoints
from training.finetuning.batches import BatchLoader, SampleTransform
from training.finetuning.best_checkpoint import BestCheckpoint
from training.finetuning.config import TrainingConfig, differences, identity_of
from training.finetuning.metric_logging import MetricLogger, StepMetrics, read_log
from training.finetuning.objectives import Batch, Objective
from training.finetuning.processes import make_accelerator
from training.finetuning.stages import Stage
from training.finetuning.stop_signals import stop_signals
from training.finetuning.trackers import DEFAULT_TRACKERS, flat_settings
from training.finetuning.trainable import (
    TrainableNetwork,
    apply_stage,
    enable_gradient_checkpointing,
)

MAX_SKIPPED_IN_A_ROW = 10
"""Steps in a row without finite numbers that end a run."""
MIN_LOSS_SCALE = 1.0
"""If gradients still overflow at this scale, the scale is not the reason."""
VALIDATION_BATCHES = 32
"""Validation batches at most."""
LOSS_WINDOW = 50
"""Steps whose mean loss is given as the loss of a stage."""


@dataclass
class StepCounts:
    """What a run has done. Its fields are stored in checkpoints: their names stay.

    Args:
        step: Steps done.
        skipped: Steps without finite numbers.
        scaled: Steps skipped because the loss's scale was too large.
        in_a_row: Steps skipped since the last step that was not.
        seconds: Time of all steps.
        cut: Targets that were cut at their end because they were too long.
    """

    step: int = 0
    skipped: int = 0
    scaled: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    cut: int = 0


@dataclass(frozen=True)
class Outcome:
    """The result of a finished stage.

    Args:
        counts: The steps.
        loss: Mean over the last steps.
        validation: Mean loss of the validation examples, after the step whose weights are taken;
            None without any.
        parameters: Parameters that trained, by group.
        best_step: The step whose weights are taken; None where that is the last one.
    """

    counts: StepCounts
    loss: float
    validation: float | None
    parameters: dict[str, int] = field(default_factory=dict)
    best_step: int | None = None


class Run:
    """One stage on one network, in a folder of its own.

    Args:
        folder: For checkpoints and logs.
        model: The network.
        stage: What trains.
        examples: What to learn from.
        transform: How an example becomes a sample.
        config: The settings.
        validation: Examples for the validation loss.
        identity: What else must be equal on resume, beside stage and settings.
        device: None takes a GPU where there is one.
        trackers: Names of trackers that get the numbers of each step.
        on_step: Is called with the number of each finished step.
        log: Gets lines for a person.
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
        trackers: Sequence[str] = DEFAULT_TRACKERS,
        on_step: Callable[[int], None] = lambda _: None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.model = model
        self.stage = stage
        self.config = config
        self.on_step = on_step
        self.accelerator = make_accelerator(device, config.precision, config.accumulation)
        torch.manual_seed(config.seed)
        self.trainable: TrainableNetwork = apply_stage(model.network, stage)
        if config.checkpointed:
            enable_gradient_checkpointing(model.network)
        self.objective = Objective(model, stage.objective).to(self.accelerator.device)
        self.examples = examples
        self.counts = StepCounts()
        self._seconds_waited = 0.0
        processes = self.accelerator.num_processes
        self.identity = identity_of(stage, config, transform, processes, identity or {})
        self.loader = BatchLoader(
            model,
            examples,
            transform,
            priors=stage.priors,
            batch_size=config.batch,
            seed=config.seed,
            max_target_tokens=config.most_target,
            end_cut_targets=config.end_cut_targets,
            rank=self.accelerator.process_index,
            world_size=processes,
        )
        self._validation = validation
        self.best: BestCheckpoint | None = None
        if config.best_checkpoint:
            self.best = BestCheckpoint(config.early_stopping_patience)
        auxiliary = self.objective.auxiliary_parameters()
        self._weights = {  # the keys are stored in checkpoints
            **self.trainable.named_parameters(),
            **{f"judge.{n}": parameter for n, parameter in enumerate(auxiliary)},
        }
        groups = self.trainable.optimizer_groups()
        if auxiliary:
            peak = max(group.rate for group in stage.groups)
            groups.append(  # the name is stored in checkpoints and logs
                {"params": auxiliary, "lr": peak, "peak": peak, "weight_decay": 0.0,
                 "name": "judges"}
            )  # fmt: skip
        self._prepared: nn.Module
        self._prepared, self.optimizer = self.accelerator.prepare(
            self.objective, torch.optim.AdamW(groups)
        )
        self.metrics = MetricLogger(
            folder,
            log,
            main=self.accelerator.is_main_process,
            trackers=trackers,
            settings=flat_settings(self.identity),
        )

    def train(self, *, resume: bool = False) -> Outcome:
        """Train the stage to its end; the network then has what was learnt.

        Where the best step is chosen, the network has the weights of that step.

        Raises:
            NotAllowed: The folder has an unfinished run, and it may not be resumed, or it has
                another stage, other settings or another corpus.
            TrainingStopped: Ten steps in a row were not finite, or a signal stopped the training. A
                checkpoint is kept.
            DiskFull: There was no room for the last checkpoint.
        """
        self._restore(resume)
        config, counts = self.config, self.counts
        self.objective.train()
        # If the stage was finished before, its losses are in its log.
        logged = [row for row in read_log(self.folder) if row["step"] <= counts.step]
        recent = [float(row["loss"]) for row in logged][-LOSS_WINDOW:]
        validation: float | None = logged[-1]["validation"] if logged else None
        with (
            self.metrics.open(counts.step, config.steps),
            stop_signals() as stop,
            closing(self.loader.batches(counts.step * config.accumulation)) as batches,
        ):
            while counts.step < config.steps and not self._stops_early:
                started = time.monotonic()
                loss, norm, stopping = self._step(batches, stop)
                counts.step += 1
                counts.seconds += time.monotonic() - started
                recent = [*recent, loss][-LOSS_WINDOW:]
                last = counts.step == config.steps
                if self._validation and (last or _is_due(counts.step, config.validate_every)):
                    validation = self.validate()
                    if self.best is not None:
                        self.best.update(counts.step, validation, self._weights)
                    last = last or self._stops_early
                seconds = time.monotonic() - started
                self.metrics.step(self._step_metrics(loss, norm, seconds), validation, self.best)
                self.on_step(counts.step)
                if counts.in_a_row >= MAX_SKIPPED_IN_A_ROW:
                    raise TrainingStopped(self._not_finite())
                if stopping:
                    self._save(required=True)
                    raise TrainingStopped(
                        f"stopped by a signal after step {counts.step} of {config.steps}; the "
                        "same command with --resume goes on from there"
                    )
                if last or _is_due(counts.step, config.save_every):
                    self._save(required=last)
        finite = [value for value in recent if math.isfinite(value)]
        mean = sum(finite) / len(finite) if finite else math.nan
        self.objective.eval()
        parameters = self.trainable.parameter_counts()
        if self.best is None:
            return Outcome(counts, mean, validation, parameters)
        self.best.apply(self._weights)
        lowest = self.best.loss if self.best.step else validation
        return Outcome(counts, mean, lowest, parameters, self.best.step or None)

    @property
    def _stops_early(self) -> bool:
        return self.best is not None and self.best.stops

    def timed_steps(self, most: int) -> Iterator[float]:
        """Take up to so many steps and yield the seconds of each; nothing is logged or kept.

        The network has changed afterwards: it is of no further use.
        """
        self.objective.train()
        never = threading.Event()
        with closing(self.loader.batches(0)) as batches:
            for _ in range(most):
                started = time.monotonic()
                self._step(batches, never)
                if self.accelerator.device.type == "cuda":
                    torch.cuda.synchronize(self.accelerator.device)
                yield time.monotonic() - started

    # ---- One step ----

    def _step(self, batches: Iterator[Batch], stop: threading.Event) -> tuple[float, float, bool]:
        """A step of the optimizer: its loss, its gradients' norm, whether to stop after it."""
        config, counts, accelerator = self.config, self.counts, self.accelerator
        factor = config.rate_factor(counts.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        total = torch.zeros((), device=accelerator.device)
        self._seconds_waited, cut = 0.0, 0
        for micro in range(config.accumulation):
            started = time.monotonic()
            batch = next(batches).to(accelerator.device)
            cut += batch.cut
            self._seconds_waited += time.monotonic() - started
            self._set_seed(counts.step * config.accumulation + micro)
            with accelerator.accumulate(self._prepared):
                loss = self._prepared(batch)
                accelerator.backward(loss)
            total += loss.detach().float() / config.accumulation
        # All processes have to stop after the same step.
        shared = torch.stack([total, total.new_tensor(float(stop.is_set())), total.new_tensor(cut)])
        mean, stopping, mean_cut = accelerator.reduce(shared, "mean").tolist()
        counts.cut += round(mean_cut * accelerator.num_processes)
        norm = float(accelerator.clip_grad_norm_(list(self._weights.values()), config.clip))
        self._update(mean, norm)
        return mean, norm, stopping > 0

    def _update(self, loss: float, norm: float) -> None:
        """Change the weights, unless loss or gradients are not finite; count what happened."""
        counts, scaler = self.counts, self.accelerator.scaler
        scale = MIN_LOSS_SCALE if scaler is None else scaler.get_scale()
        changed = overflowed = False
        if math.isfinite(loss) and (scaler is not None or math.isfinite(norm)):
            self.optimizer.step()  # with a scaler, it skips gradients that overflowed by itself
            overflowed = self.optimizer.step_was_skipped
            changed = not overflowed
        elif scaler is not None:
            scaler.update()
        if changed:
            counts.in_a_row = 0
        elif overflowed and scale > MIN_LOSS_SCALE:
            counts.scaled += 1
        else:
            counts.skipped += 1
            counts.in_a_row += 1
        self.optimizer.zero_grad()

    def _set_seed(self, number: int) -> None:
        """Seed dropout by run, micro-batch and process, so that no random state is saved."""
        rank = self.accelerator.process_index
        torch.manual_seed((self.config.seed * 1_000_003 + number) * 1_009 + rank)

    @torch.no_grad()
    def validate(self) -> float:
        """The mean loss of the validation examples; of all of them where it chooses a step."""
        limit = VALIDATION_BATCHES * self.config.batch
        if self.best is not None:
            limit = len(self._validation)
        self.objective.eval()
        losses = [
            self.objective(batch.to(self.accelerator.device)).float()
            for batch in self.loader.validation_batches(self._validation, limit)
        ]
        self.objective.train()
        # All processes have to choose the same step.
        mean = self.accelerator.reduce(torch.stack(losses).mean(), "mean")
        return float(mean)

    def _step_metrics(self, loss: float, norm: float, seconds: float) -> StepMetrics:
        config, scaler = self.config, self.accelerator.scaler
        studies = config.batch * config.accumulation * self.accelerator.num_processes
        memory = 0
        if self.accelerator.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.accelerator.device)
        return StepMetrics(
            step=self.counts.step,
            loss=loss,
            rates={group["name"]: group["lr"] for group in self.optimizer.param_groups},
            norm=norm,
            scale=1.0 if scaler is None else scaler.get_scale(),
            skipped=self.counts.skipped,
            cut=self.counts.cut,
            studies_per_second=studies / seconds,
            waited=self._seconds_waited / seconds,
            memory=memory,
        )

    def _not_finite(self) -> str:
        advice = "lower the rates (--learning-rate-lora, --learning-rate-full)"
        if self.config.precision == "float16":
            advice += ", or take --precision bfloat16 where the GPU has it"
        return (
            f"the loss or the gradients of {MAX_SKIPPED_IN_A_ROW} steps in a row, up to step "
            f"{self.counts.step}, were not finite: {advice}; the last checkpoint is kept in "
            f"{self.folder}"
        )

    # ---- Checkpoints ----

    def _restore(self, resume: bool) -> None:
        saved = checkpoints.list_checkpoints(self.folder)
        if saved and not resume:
            raise NotAllowed(
                f"{self.folder} holds a run that was stopped after step "
                f"{checkpoints.step_of(saved[-1])}: --resume resumes it, --fresh begins anew"
            )
        if not saved:
            return
        weights, state = checkpoints.load(saved[-1])
        if differ := differences(state["identity"], self.identity):
            raise NotAllowed(
                f"{saved[-1]} is of another run ({'; '.join(differ)}): give the same settings, or "
                "--fresh to begin anew"
            )
        with torch.no_grad():
            for name, parameter in self._weights.items():
                parameter.copy_(weights[name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.best is not None:
            self.best.restore(state["best"], checkpoints.load_best(saved[-1]))
        self.counts = StepCounts(**state["counts"])

    def _save(self, *, required: bool) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "identity": self.identity,
                "optimizer": self.optimizer.state_dict(),
                "scaler": {} if scaler is None else scaler.state_dict(),
                "counts": asdict(self.counts),
            }
            weights = None
            if self.best is not None:
                state["best"], weights = self.best.state(), self.best.weights
            try:
                checkpoints.save(self.folder, self.counts.step, self._weights, state, weights)
            except DiskFull as full:
                if required:
                    raise
                self.metrics.message(f"{full}; the run goes on, the last good checkpoint is kept")
        self.accelerator.wait_for_everyone()


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0

"""A whole training: from a base bundle and a corpus, stage after stage, to a bundle.

    <out>.training/shelf-train, shelf-validate   the prepared corpus; removed at the end
    <out>.training/predicted.json                priors of the template `predicted`; removed, too
    <out>.training/stage1/                       checkpoints, log.jsonl, tensorboard, adapter/
    <out>.training/stage1+stage2/                the same of stage 2, on top of stage 1's adapter

A finished stage has its adapter folder, so a pipeline that was stopped continues with the next
stage, and pipelines that share their first stages (the ablations) share the folders of those.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import InstructBlipConfig

from model.bundling.adapters import merge_adapter
from model.bundling.build import BundleDescription, check_target, make_bundle
from model.bundling.store import (
    fsync_tree,
    load_bundle,
    read_network_config,
    replace_folder,
)
from model.labels import RuleLabeller
from model.manifest import Manifest, read_manifest, resolve, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import TEMPLATES, PriorSource
from records.errors import CorpusError, NotAllowed, SettingsError
from training.corpus.example import Corpus, CorpusOptions
from training.finetuning import checkpoints
from training.finetuning.batches import NO_PRIORS, SampleTransform
from training.finetuning.checkpoints import IDENTITY_FILE
from training.finetuning.config import (
    Precision,
    TrainingConfig,
    as_begun,
    differences,
    identity_of,
    stored_settings,
)
from training.finetuning.finding_head import HeadConfig, add_finding_head
from training.finetuning.loop import Run
from training.finetuning.metric_logging import plot_losses
from training.finetuning.model_card import CARD_FILE, render_card
from training.finetuning.processes import process_state
from training.finetuning.stage_records import (
    finished_identity,
    full_name,
    stage_record,
    summarize,
)
from training.finetuning.stages import Stage
from training.finetuning.trackers import DEFAULT_TRACKERS
from training.finetuning.training_data import TrainingData

DEFAULT_VALIDATIONS = 10
"""Validations of a stage whose best step is taken, where the settings do not say when they are."""


@dataclass(frozen=True)
class TrainingLength:
    """How long a stage trains. Its fields are stored with an ablation: their names stay.

    Args:
        epochs: Passes over the corpus.
        steps: Steps of the optimizer instead; 0 takes `epochs`.
    """

    epochs: float = 5.0
    steps: int = 0


@dataclass(frozen=True)
class Pipeline:
    """The training of several stages.

    Args:
        base: The bundle to start from: a folder, or a shipped name.
        corpus: What to learn from.
        corpus_options: How the corpus is read.
        work_folder: For checkpoints, logs and the prepared corpus.
        config: The settings of every stage; `length` gives the steps.
        transform: How an example becomes a sample.
        length: How long each stage trains.
        limit: How many examples are taken at most; 0 takes all. A corpus without end needs one.
        predicted_by: The bundle whose network predicts the priors of the template `predicted`, as
            `base`; "" where no prompt has that template.
        processes: Processes that prepare the corpus; None takes one a core, 0 this process.
        device: None takes a GPU where there is one.
        trackers: Names of trackers that get the numbers of each step.
        log: Gets lines for a person.
    """

    base: str
    corpus: Corpus
    corpus_options: CorpusOptions
    work_folder: Path
    config: TrainingConfig
    transform: SampleTransform
    length: TrainingLength = TrainingLength()
    limit: int = 0
    predicted_by: str = ""
    processes: int | None = None
    device: str | None = None
    trackers: tuple[str, ...] = DEFAULT_TRACKERS
    log: Callable[[str], None] = print

    # ---- Base and corpus ----

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of the base.

        Raises:
            BundleError: There is no such bundle.
        """
        return read_manifest(self.base)

    @property
    def network_config(self) -> InstructBlipConfig:
        """The configuration of the base's network."""
        folder = resolve(self.base)
        return read_network_config(folder, folder / "language", folder / "asking").config

    @cached_property
    def data(self) -> TrainingData:
        """The examples of this training."""
        return TrainingData(
            self.manifest,
            self.corpus,
            self.corpus_options,
            self.work_folder,
            self.transform,
            limit=self.limit,
            seed=self.config.seed,
            predicted_by=self.predicted_by,
            processes=self.processes,
            device=self.device,
            log=self.log,
        )

    def config_for(self, examples: int) -> TrainingConfig:
        """The settings of a stage on that number of examples."""
        steps = self.length.steps
        if not steps:
            processes = process_state(self.device).num_processes
            per_step = self.config.batch * self.config.accumulation * processes
            steps = max(1, round(self.length.epochs * examples / per_step))
        validate_every = self.config.validate_every
        if self.config.best_checkpoint and not validate_every:
            validate_every = max(1, round(steps / DEFAULT_VALIDATIONS))
        return replace(self.config, steps=steps, validate_every=validate_every)

    @property
    def is_main(self) -> bool:
        """Whether this is the first of the processes, which alone logs and writes."""
        return bool(process_state(self.device).is_main_process)

    def begin(self, out: Path, *, resume: bool, fresh: bool, overwrite: bool) -> None:
        """Check that the training may begin.

        Args:
            out: Where the bundle will be.
            resume: Whether an unfinished training may be resumed.
            fresh: Whether what an earlier training left is removed.
            overwrite: Whether a bundle at `out` may be replaced.

        Raises:
            BundleError: Something is at `out`, or there is no such base.
            NotAllowed: There is an unfinished training, and it may not be resumed.
            TemplateError, SettingsError: As `check`.
        """
        self.check()
        check_target(out, overwrite)
        if fresh:
            if self.is_main:
                shutil.rmtree(self.work_folder, ignore_errors=True)
        elif not resume and any(self.work_folder.glob("*/adapter")):
            raise NotAllowed(
                f"{self.work_folder} holds a training that was stopped: --resume resumes it, "
                "--fresh begins anew"
            )
        process_state(self.device).wait_for_everyone()

    def as_begun(self) -> Pipeline:
        """This pipeline with the settings of the version that began the training in its folder."""
        saved = checkpoints.saved_identity(self.work_folder)
        if saved is None:
            return self
        config, transform = as_begun(self.config, self.transform, saved)
        if (config, transform) == (self.config, self.transform):
            return self
        if self.is_main:
            self.log("an earlier version began this training: films and targets stay as in it")
        return replace(self, config=config, transform=transform)

    def check(self) -> None:
        """Find wrong settings before days of training.

        Raises:
            BundleError: There is no such base.
            TemplateError: There is no such template, or nothing fills it.
            SettingsError: The corpus has no end, and there is no limit; what fills the template
                `predicted` does not go with the rest; or no patients are held out to choose a step.
        """
        _ = self.manifest
        held_out = self.corpus_options.validate or self.data.endless
        if self.config.best_checkpoint and not held_out:
            raise SettingsError(
                "the best checkpoint is chosen by the loss on held-out patients: give "
                "--validation-share a share of the patients, such as 0.1"
            )
        self.data.check()

    # ---- The stages ----

    def train(self, stages: Sequence[Stage], *, resume: bool = False) -> list[Path]:
        """Train stages one on top of the other.

        Returns:
            The folder of each stage's adapter.

        Raises:
            NotAllowed: As `Run.train`; or a finished stage was trained with other settings.
            TrainingStopped, DiskFull: As `Run.train`.
            CorpusError: The corpus cannot be read, or has no labels for a template.
        """
        for stage in stages:  # what is wrong with their priors is found before anything trains
            self.data.examples_of(stage)
        adapters: list[Path] = []
        for number, stage in enumerate(stages, start=1):
            folder = self.work_folder / "+".join(earlier.name for earlier in stages[:number])
            extra: dict[str, Any] = {
                "base": self.manifest.digest,
                "corpus": self.data.training.about["digest"],
                "upon": [adapter.parent.name for adapter in adapters],
            }
            if self.data.has_predicted_priors(stage):
                extra["predicted_by"] = self.data.predicting_manifest.digest
            if (folder / "adapter").is_dir():
                self._require_same_identity(folder, stage, extra)
            else:
                self._train_stage(folder, stage, adapters, extra, resume=resume)
            adapters.append(folder / "adapter")
        return adapters

    def _require_same_identity(self, folder: Path, stage: Stage, extra: dict[str, Any]) -> None:
        processes = process_state(self.device).num_processes
        config = self.config_for(len(self.data.training))
        current = identity_of(stage, config, self.transform, processes, extra)
        saved = finished_identity(folder)
        if differ := differences(saved, current):
            raise NotAllowed(
                f"{folder} was trained with other settings ({'; '.join(differ)}): give the same "
                "settings, or --fresh to begin anew"
            )

    def _train_stage(
        self,
        folder: Path,
        stage: Stage,
        adapters: Sequence[Path],
        extra: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        config = self.config_for(len(self.data.training))
        training, validation = self.data.examples_of(stage)
        if config.best_checkpoint and not validation:
            raise CorpusError(
                f"none of the patients of {self.corpus.name} is held out to choose the best "
                "checkpoint: give --validation-share a larger share"
            )
        run = Run(
            folder,
            self.network(adapters, config.precision),
            stage,
            training,
            self.transform,
            config,
            validation=validation,
            identity=extra,
            device=self.device,
            trackers=self.trackers,
            log=self.log,
        )
        parameters = sum(run.trainable.parameter_counts().values())
        run.metrics.message(
            f"{stage.name}: {parameters:,} parameters train, {config.steps:,} steps"
        )
        outcome = run.train(resume=resume)
        if run.accelerator.is_main_process:
            # The adapter folder gets its name once it is complete; then no checkpoint is needed.
            (folder / IDENTITY_FILE).write_text(json.dumps(run.identity, indent=1) + "\n", "utf-8")
            fresh = folder / "adapter.new"
            shutil.rmtree(fresh, ignore_errors=True)
            with checkpoints.reporting_full_disk(fresh, "the adapter"):
                run.trainable.save_adapter(fresh)
                checkpoints.publish_folder(fresh, folder / "adapter")
            checkpoints.remove_all(folder)
            plot_losses(folder / "loss.png", [(stage.name, folder)])
        run.accelerator.wait_for_everyone()
        run.metrics.message(summarize(stage.name, config, outcome, run.accelerator.num_processes))

    def network(self, adapters: Sequence[Path], precision: Precision) -> ClinicalBLIP:
        """The base with these adapters merged, in the number format of the frozen weights."""
        device = process_state(self.device).device
        # On a CPU float16 weights are far too slow; autocast converts what it needs.
        half = device.type == "cuda" and precision != "float32"
        dtype = getattr(torch, precision) if half else torch.float32
        model, _ = load_bundle(self.base, device, dtype)
        for adapter in adapters:
            model.network, _ = merge_adapter(model.network, adapter)
        return model

    # ---- The bundle ----

    def build_bundle(
        self,
        out: Path,
        adapters: Sequence[Path],
        about: BundleDescription,
        *,
        score: Callable[[Path], dict[str, Any]] | None = None,
        head: HeadConfig | None = None,
        overwrite: bool = False,
    ) -> Manifest:
        """Merge the adapters into the base, and put the bundle and its card at `out`.

        Args:
            out: The bundle's folder; it appears once the bundle is scored.
            adapters: Adapters of the stages, in order.
            about: Name, version, templates and licence of the bundle.
            score: Makes scores by name from a bundle's folder, for the manifest and the card.
            head: How a finding head is fitted; None fits none. Where the corpus gives it nothing to
                learn, the bundle has none, and a line says why.
            overwrite: Whether a bundle at `out` may be replaced.

        Returns:
            The bundle's manifest.

        Raises:
            BundleError: Something is at `out`.
        """
        stages = [adapter.parent for adapter in adapters]
        plot, built = self.work_folder / "losses.png", self.work_folder / "bundle"
        plot_losses(plot, [(stage.name, stage) for stage in stages])
        manifest = make_bundle(
            built,
            self.base,
            replace(about, training=self.training_record(stages), scores={}),
            adapters=adapters,
            overwrite=True,
            extra_files=[plot],
        )
        if head is not None:
            manifest = self._add_finding_head(built, manifest, head)
        manifest = replace(manifest, scores=score(built) if score else {})
        (built / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
        manifest = write_manifest(built, manifest)
        fsync_tree(built)
        check_target(out, overwrite)
        with replace_folder(out) as fresh:
            fresh.rmdir()
            built.rename(fresh)
        return manifest

    def _add_finding_head(self, built: Path, manifest: Manifest, head: HeadConfig) -> Manifest:
        self.log("fitting the finding head")
        held_out = self.data.validation
        try:
            manifest = add_finding_head(
                built,
                self.data.training,
                held_out,
                RuleLabeller(),
                self.transform,
                head,
                device=process_state(self.device).device,
            )
        except CorpusError as error:
            self.log(f"the bundle gets no finding head: {error}")
            return manifest
        if not held_out:
            self.log(
                "the finding head is not calibrated, so no statement of a draft is assessed: give "
                "--validation-share a share of the patients, or calibrate it on signed reports"
            )
        return manifest

    def templates(self, stages: Sequence[Stage]) -> tuple[str, ...]:
        """The templates that the last stage was trained with; the first one is served.

        An earlier stage's do not count: what the network knew of them, it may have unlearnt.
        """
        if not stages[-1].priors:
            return (NO_PRIORS,)
        served = [
            t for t in self.transform.templates if TEMPLATES[t].source is not PriorSource.REPORT
        ]
        report_templates = [t for t in self.transform.templates if t not in served]
        bare = [NO_PRIORS] if self.transform.drop_priors else []
        return tuple(dict.fromkeys((*served, *bare, *report_templates)))

    def training_record(self, stages: Sequence[Path]) -> dict[str, Any]:
        """What the manifest says about the training."""
        record = {
            "base": full_name(self.manifest),
            "corpus": self.corpus.name,
            "reading": asdict(self.corpus_options),
            "examples": len(self.data.training),
            "limit": self.limit,
            "settings": stored_settings(self.config) | {"steps": None},
            "showing": asdict(self.transform),
            "stages": {stage.name: stage_record(stage) for stage in stages},
        }
        if any("predicted_by" in finished_identity(stage) for stage in stages):
            by = {"bundle": full_name(self.data.predicting_manifest)}
            record["predicted_priors"] = by | self.data.predicted_priors.record
        return record

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
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import InstructBlipConfig

from model.bundling.adapters import merge_adapter
from model.bundling.build import BundleDescription, check_target, make_bundle
from model.bundling.store import load_bundle, read_network_config, replace_folder
from model.errors import TemplateError
from model.labels import RuleLabeller
from model.manifest import Manifest, read_manifest, resolve, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import TEMPLATES, PriorSource, get_template
from model.support.predicted import PREDICTED
from records.errors import CorpusError, NotAllowed, SettingsError
from training.corpus.example import TRAIN, VALIDATE, Corpus, CorpusOptions, Example, ExcludedStudy
from training.corpus.prepared_dataset import PreparedDataset, open_prepared, prepare_dataset
from training.corpus.registry import ENDLESS_CORPORA
from training.finetuning import checkpoints
from training.finetuning.batches import NO_PRIORS, SampleTransform
from training.finetuning.checkpoints import IDENTITY_FILE
from training.finetuning.config import (
    Precision,
    TrainingConfig,
    as_begun,
    differences,
    identity_of,
)
from training.finetuning.finding_head import HeadConfig, add_finding_head
from training.finetuning.loop import Run
from training.finetuning.metric_logging import plot_losses, read_log
from training.finetuning.model_card import CARD_FILE, render_card
from training.finetuning.predicted_priors import PredictedPriors, PriorsSource
from training.finetuning.processes import process_state
from training.finetuning.stages import Stage

PREDICTED_FILE = "predicted.json"
"""The priors of the template `predicted`, in the training's folder."""
MAX_VALIDATION_EXAMPLES = 1_000
"""Validation examples that are prepared; a validation reads no more of them."""


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
    def training_set(self) -> PreparedDataset:
        """The examples to learn from."""
        return self._prepare(TRAIN, self.limit)

    @cached_property
    def validation_set(self) -> Sequence[Example]:
        """Examples for the validation loss; none if the corpus has no validation split."""
        if not (self.corpus_options.validate or self.endless):
            return ()
        try:
            return self._prepare(VALIDATE, MAX_VALIDATION_EXAMPLES)
        except CorpusError:
            return ()

    def _prepare(self, split: str, limit: int) -> PreparedDataset:
        state, folder = process_state(self.device), self.work_folder / f"shelf-{split}"
        preprocessing = self.manifest.preprocessing
        identity = self.dataset_identity(split, limit)
        try:
            if state.is_main_process:
                self.log(f"preparing the {split} split of {self.corpus.name}")
                stream = _first_examples(self.corpus, split, limit)
                dataset = prepare_dataset(
                    folder, stream, preprocessing, identity, processes=self.processes
                )
                summary = f"{len(dataset):,} examples of {split}"
                if left_out := dataset.about["left_out"]:
                    summary += "; left out: " + ", ".join(
                        f"{count:,} {reason}" for reason, count in left_out.items()
                    )
                self.log(summary)
        finally:
            # The other processes have to wait here even if the preparation failed.
            state.wait_for_everyone()
        prepared = open_prepared(folder, preprocessing, identity)
        if prepared is None:
            raise CorpusError(f"nothing of {self.corpus.name} was prepared at {folder}")
        return prepared

    @cached_property
    def predicted_priors(self) -> PredictedPriors:
        """The priors of the template `predicted`, of training and validation examples.

        They are predicted once, by the first process, and kept in the training's folder.

        Raises:
            CorpusError, NotAllowed: As `predict_priors`.
        """
        state, path = process_state(self.device), self.work_folder / PREDICTED_FILE
        source = PriorsSource(
            self._predicting_manifest,
            self.training_set,
            self.validation_set,
            RuleLabeller(),
            self.transform,
            HeadConfig(seed=self.config.seed),
        )
        try:
            if state.is_main_process:
                self.log(f"predicting priors with {self.predicted_by}")
                predicted = source.predict(path, self.predicted_by, state.device)
                for part in ("training", "held out"):
                    figures = predicted.record[part].items()
                    words = ", ".join(f"{name} {value:,}" for name, value in figures)
                    self.log(f"predicted priors, {part}: {words}")
        finally:
            state.wait_for_everyone()
        return source.read(path)

    @cached_property
    def _predicting_manifest(self) -> Manifest:
        return read_manifest(self.predicted_by)

    def _examples(self, stage: Stage) -> tuple[Sequence[Example], Sequence[Example]]:
        """The training and the validation examples of a stage, with the priors that it needs."""
        if not (stage.priors and self.is_predicted):
            return self.training_set, self.validation_set
        predicted, held_out = self.predicted_priors, self.validation_set
        if isinstance(held_out, PreparedDataset):
            held_out = held_out.with_symptoms(predicted.validation)
        return self.training_set.with_symptoms(predicted.training), held_out

    @property
    def is_predicted(self) -> bool:
        """Whether a prompt has the template `predicted`."""
        return PREDICTED in self.transform.templates

    def dataset_identity(self, split: str, limit: int) -> dict[str, Any]:
        """What the examples of a split depend on, as data for a prepared dataset."""
        reading, corpus = asdict(self.corpus_options), self.corpus.identity
        return {"corpus": corpus, "reading": reading, "split": split, "limit": limit}

    def config_for(self, examples: int) -> TrainingConfig:
        """The settings of a stage on that number of examples."""
        if self.length.steps:
            return replace(self.config, steps=self.length.steps)
        processes = process_state(self.device).num_processes
        per_step = self.config.batch * self.config.accumulation * processes
        return replace(self.config, steps=max(1, round(self.length.epochs * examples / per_step)))

    @property
    def is_main(self) -> bool:
        """Whether this is the first of the processes, which alone logs and writes."""
        return bool(process_state(self.device).is_main_process)

    @property
    def endless(self) -> bool:
        """Whether the corpus has no end."""
        return self.corpus.name in ENDLESS_CORPORA

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
            SettingsError: The corpus has no end, and there is no limit; or what fills the template
                `predicted` does not go with the rest.
        """
        if self.endless and not self.limit:
            raise SettingsError(f"{self.corpus.name} has no end: say how many studies (--limit)")
        _ = self.manifest
        for name in self.transform.templates:
            get_template(name)
        if self.is_predicted:
            self._check_prediction()
        elif self.predicted_by:
            raise SettingsError(
                f"no prompt holds what {self.predicted_by} would predict: leave --predicted-by "
                f"out, or ask for --prompt {PREDICTED}"
            )

    def _check_prediction(self) -> None:
        if not self.predicted_by:
            raise TemplateError(
                f"nothing fills the template {PREDICTED!r}: give --predicted-by a bundle that did "
                "not learn from these studies, such as the base"
            )
        predicting, base = (m.preprocessing for m in (self._predicting_manifest, self.manifest))
        if (predicting.size, predicting.resize) != (base.size, base.resize):
            raise SettingsError(
                f"{self.predicted_by} reads images of {predicting.size} pixels "
                f"({predicting.resize}) and {self.base} of {base.size} ({base.resize}): give "
                "--predicted-by a bundle that reads them as the base does"
            )
        if not (self.corpus_options.validate or self.endless):
            raise SettingsError(
                f"the template {PREDICTED!r} needs held-out studies, for the thresholds that fill "
                "it when the bundle serves: give --validate a share of the patients, such as 0.1"
            )

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
        for stage in stages:
            self._check_templates(stage)
        if any(stage.priors for stage in stages) and self.is_predicted:
            _ = self.predicted_priors  # what is wrong with them is found before anything trains
        adapters: list[Path] = []
        for number, stage in enumerate(stages, start=1):
            folder = self.work_folder / "+".join(earlier.name for earlier in stages[:number])
            extra: dict[str, Any] = {
                "base": self.manifest.digest,
                "corpus": self.training_set.about["digest"],
                "upon": [adapter.parent.name for adapter in adapters],
            }
            if stage.priors and self.is_predicted:
                extra["predicted_by"] = self._predicting_manifest.digest
            if (folder / "adapter").is_dir():
                self._require_same_identity(folder, stage, extra)
            else:
                self._train_stage(folder, stage, adapters, extra, resume=resume)
            adapters.append(folder / "adapter")
        return adapters

    def _require_same_identity(self, folder: Path, stage: Stage, extra: dict[str, Any]) -> None:
        processes = process_state(self.device).num_processes
        config = self.config_for(len(self.training_set))
        current = identity_of(stage, config, self.transform, processes, extra)
        saved = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
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
        config = self.config_for(len(self.training_set))
        training, validation = self._examples(stage)
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
            log=self.log,
        )
        parameters = sum(run.trainable.parameter_counts().values())
        self.log(f"{stage.name}: {parameters:,} parameters train, {config.steps:,} steps")
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
        summary = f"{stage.name}: loss {outcome.loss:.4f}"
        if outcome.validation is not None:
            summary += f", {outcome.validation:.4f} on the validation examples"
        if outcome.counts.skipped:
            summary += f"; {outcome.counts.skipped} steps were not finite and were skipped"
        if outcome.counts.cut:
            shown = (
                config.steps * config.batch * config.accumulation * run.accelerator.num_processes
            )
            summary += (
                f"; {outcome.counts.cut:,} of {shown:,} targets were longer than "
                f"{config.most_target} tokens and were cut at their end (--most-target)"
            )
        self.log(summary)

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

    def _check_templates(self, stage: Stage) -> None:
        if not stage.priors:
            return
        from_report = [
            name
            for name in self.transform.templates
            if TEMPLATES[name].source is PriorSource.REPORT
        ]
        for name in from_report:
            if self.training_set[0].oracle_template != name:
                raise CorpusError(
                    f"the corpus {self.corpus.name} has nothing for the template {name!r}: ask "
                    f"for {self.training_set[0].oracle_template or 'context'!r}"
                )

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
        checkpoints.fsync_tree(built)
        check_target(out, overwrite)
        with replace_folder(out) as fresh:
            fresh.rmdir()
            built.rename(fresh)
        return manifest

    def _add_finding_head(self, built: Path, manifest: Manifest, head: HeadConfig) -> Manifest:
        self.log("fitting the finding head")
        held_out = self.validation_set
        try:
            manifest = add_finding_head(
                built,
                self.training_set,
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
                "--validate a share of the patients, or calibrate it on signed reports"
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
            "base": _full_name(self.manifest),
            "corpus": self.corpus.name,
            "reading": asdict(self.corpus_options),
            "examples": len(self.training_set),
            "limit": self.limit,
            "settings": asdict(self.config) | {"steps": None},
            "showing": asdict(self.transform),
            "stages": {stage.name: _stage_record(stage) for stage in stages},
        }
        if self.is_predicted:
            by = {"bundle": _full_name(self._predicting_manifest)}
            record["predicted_priors"] = by | self.predicted_priors.record
        return record

    def remove_prepared(self) -> None:
        """Remove the prepared corpus, because its images and texts may be of patients."""
        for split in (TRAIN, VALIDATE):
            shutil.rmtree(self.work_folder / f"shelf-{split}", ignore_errors=True)
        (self.work_folder / PREDICTED_FILE).unlink(missing_ok=True)


def _full_name(manifest: Manifest) -> str:
    return f"{manifest.name} {manifest.version} {manifest.digest}"


def _first_examples(corpus: Corpus, split: str, limit: int) -> Iterator[Example | ExcludedStudy]:
    stream = corpus.read(split)
    return islice(stream, limit) if limit else stream


def _share_of_cut_targets(row: dict[str, Any], settings: dict[str, Any]) -> str:
    """Such as "3 of 1,200 longer than 150 tokens"; "" of a stage that an earlier version logged."""
    if "cut" not in row:
        return ""
    shown = row["step"] * settings["batch"] * settings["accumulation"] * settings["processes"]
    return f"{row['cut']:,} of {shown:,} longer than {settings['most_target']} tokens"


def _stage_record(stage: Path) -> dict[str, Any]:
    """The result of a finished stage, and the settings that are its own."""
    rows = read_log(stage)
    if not rows:
        return {}
    identity = json.loads((stage / IDENTITY_FILE).read_text(encoding="utf-8"))
    losses = [row["loss"] for row in rows[-50:] if math.isfinite(row["loss"])]
    return {
        "steps": rows[-1]["step"],
        "loss": round(sum(losses) / len(losses), 4) if losses else None,
        "validation": rows[-1]["validation"],
        "skipped": rows[-1]["skipped"],
        "targets_cut": _share_of_cut_targets(rows[-1], identity["settings"]),
        "processes": identity["settings"]["processes"],
        "rates": {group["name"]: group["rate"] for group in identity["stage"]["groups"]},
        "lora": identity["stage"]["lora"],
    }

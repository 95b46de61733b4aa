"""A whole training: a base bundle and a corpus in, stages one after another, a bundle out.

    <out>.training/shelf-train, shelf-validate   the corpus, prepared; removed at the end
    <out>.training/stage1/                       checkpoints, log.jsonl, tensorboard, adapter/
    <out>.training/stage1+stage2/                the same of the next one, upon stage 1's adapter

A stage that is done has its adapter folder, so a course that was stopped goes on where it was, and
courses that share their first stages (the ablations) share that folder. Knows no command.
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
from model.bundling.build import About, check_place, make_bundle
from model.bundling.store import load_bundle, read_words, replacing
from model.errors import TemplateError
from model.manifest import Manifest, read_manifest, resolve, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import TEMPLATES, Source, named
from records.errors import CorpusError, NotAllowed, SettingsError
from training.corpus.example import TRAIN, VALIDATE, Corpus, CorpusOptions, Example, ExcludedStudy
from training.corpus.prepared_dataset import PreparedDataset, open_prepared, prepare_dataset
from training.corpus.registry import ENDLESS_CORPORA
from training.finetuning import checkpoints
from training.finetuning.batches import NO_PRIORS, SampleTransform
from training.finetuning.config import Precision, TrainingConfig, differences, identity_of
from training.finetuning.loop import Run, process_state
from training.finetuning.metric_logging import plot_losses, read_log
from training.finetuning.model_card import CARD_FILE, render_card
from training.finetuning.stages import Stage

IDENTITY_FILE = "identity.json"
"""Of a stage that is done: what it was trained with, beside its adapter."""
MAX_VALIDATION_EXAMPLES = 200
"""Examples set apart that are shelved: no more are looked at while training."""


@dataclass(frozen=True)
class TrainingLength:
    """How long a stage trains. steps: of the optimizer; 0 takes `epochs` times the corpus."""

    epochs: float = 5.0
    steps: int = 0


@dataclass(frozen=True)
class Pipeline:
    """What is asked of a training.

    base: a bundle, by folder or shipped name. limit: examples of the corpus at most; 0 takes all,
    and must be given for a corpus without end. knobs: for every stage; steps by `length`. device:
    None takes a GPU where there is one.
    """

    base: str
    corpus: Corpus
    reading: CorpusOptions
    work_folder: Path
    config: TrainingConfig
    transform: SampleTransform
    length: TrainingLength = TrainingLength()
    limit: int = 0
    processes: int | None = None
    device: str | None = None
    log: Callable[[str], None] = print

    # ---- What it starts from ----

    @cached_property
    def manifest(self) -> Manifest:
        """The base's; `BundleError` where there is none."""
        return read_manifest(self.base)

    @property
    def network_config(self) -> InstructBlipConfig:
        """The base's network."""
        folder = resolve(self.base)
        return read_words(folder, folder / "language", folder / "asking").config

    @cached_property
    def training_set(self) -> PreparedDataset:
        """The examples to learn from."""
        return self._shelved(TRAIN, self.limit)

    @cached_property
    def validation_set(self) -> Sequence[Example]:
        """Examples to look at while training; none where the reading sets none apart."""
        if not (self.reading.validate or self.endless):
            return ()
        try:
            return self._shelved(VALIDATE, MAX_VALIDATION_EXAMPLES)
        except CorpusError:
            return ()

    def _shelved(self, split: str, limit: int) -> PreparedDataset:
        accelerator, folder = process_state(self.device), self.work_folder / f"shelf-{split}"
        how = self.manifest.preprocessing
        identity = self.dataset_identity(split, limit)
        try:
            if accelerator.is_main_process:
                self.log(f"preparing the {split} split of {self.corpus.name}")
                stream = _of(self.corpus, split, limit)
                made = prepare_dataset(folder, stream, how, identity, processes=self.processes)
                left = made.about["left_out"]
                said = f"{len(made):,} examples of {split}"
                if left:
                    said += "; left out: " + ", ".join(f"{n:,} {why}" for why, n in left.items())
                self.log(said)
        finally:
            # Where there is nothing to prepare, the other processes wait here all the same.
            accelerator.wait_for_everyone()
        training_set = open_prepared(folder, how, identity)
        if training_set is None:
            raise CorpusError(f"nothing of {self.corpus.name} was prepared at {folder}")
        return training_set

    def dataset_identity(self, split: str, limit: int) -> dict[str, Any]:
        """What a split's examples are of."""
        reading, corpus = asdict(self.reading), self.corpus.identity
        return {"corpus": corpus, "reading": reading, "split": split, "limit": limit}

    def config_for(self, examples: int) -> TrainingConfig:
        """The settings of a stage over so many examples."""
        if self.length.steps:
            return replace(self.config, steps=self.length.steps)
        world = process_state(self.device).num_processes
        a_step = self.config.batch * self.config.accumulation * world
        return replace(self.config, steps=max(1, round(self.length.epochs * examples / a_step)))

    @property
    def is_main(self) -> bool:
        """Whether this is the first of the processes: the one that tells and writes."""
        return bool(process_state(self.device).is_main_process)

    @property
    def endless(self) -> bool:
        """Whether the corpus has no end."""
        return self.corpus.name in ENDLESS_CORPORA

    def begin(self, out: Path, *, resume: bool, fresh: bool, overwrite: bool) -> None:
        """Look whether this course may begin; `fresh` removes what an earlier one left.

        Raises:
            BundleError: something is in its place.
            NotAllowed: a course that was stopped is not to be taken up.
            BundleError, TemplateError, SettingsError: as `check`.
        """
        self.check()
        check_place(out, overwrite)
        if fresh:
            if self.is_main:
                shutil.rmtree(self.work_folder, ignore_errors=True)
        elif not resume and any(self.work_folder.glob("*/adapter")):
            raise NotAllowed(
                f"{self.work_folder} holds a training that was stopped: --resume takes it up, --fresh "
                "begins anew"
            )
        process_state(self.device).wait_for_everyone()

    def check(self) -> None:
        """What can be wrong is found before days of training, not after.

        Raises:
            BundleError: there is no such base.
            TemplateError: there is no such template, or nothing fills it.
            SettingsError: the corpus has no end and no limit is given.
        """
        if self.endless and not self.limit:
            raise SettingsError(f"{self.corpus.name} has no end: say how many studies (--limit)")
        _ = self.manifest
        for name in self.transform.templates:
            if named(name).source is Source.CLASSIFIER:
                raise TemplateError(f"nothing fills the template {name!r} in a training yet")

    # ---- The stages ----

    def teach(self, stages: Sequence[Stage], *, resume: bool = False) -> list[Path]:
        """Train stages one upon another; the folder of each one's adapter.

        Raises:
            NotAllowed, TrainingStopped, DiskFull: as `Run.train`; a stage that is done was trained
                with other settings.
            CorpusError: the corpus cannot be read, or has nothing for a template that is asked for.
        """
        for stage in stages:
            self._check(stage)
        adapters: list[Path] = []
        for number, stage in enumerate(stages, start=1):
            folder = self.work_folder / "+".join(one.name for one in stages[:number])
            adapter = folder / "adapter"
            beside = {
                "base": self.manifest.digest,
                "corpus": self.training_set.about["digest"],
                "upon": [one.parent.name for one in adapters],
            }
            if adapter.is_dir():
                self._same(folder, stage, beside)
            else:
                self._stage(folder, stage, adapters, beside, resume=resume)
            adapters.append(adapter)
        return adapters

    def _same(self, folder: Path, stage: Stage, beside: dict[str, Any]) -> None:
        """That a stage which is done is the one that is asked for."""
        world = process_state(self.device).num_processes
        now = identity_of(
            stage, self.config_for(len(self.training_set)), self.transform, world, beside
        )
        was = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
        if differ := differences(was, now):
            raise NotAllowed(
                f"{folder} was trained otherwise ({'; '.join(differ)}): give the same settings, or "
                "--fresh to begin anew"
            )

    def _stage(
        self,
        folder: Path,
        stage: Stage,
        before: Sequence[Path],
        beside: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        config = self.config_for(len(self.training_set))
        run = Run(
            folder,
            self.network(before, config.precision),
            stage,
            self.training_set,
            self.transform,
            config,
            validation=self.validation_set,
            identity=beside,
            device=self.device,
            log=self.log,
        )
        trains = sum(run.trainable.counts().values())
        self.log(f"{stage.name}: {trains:,} parameters train, {config.steps:,} steps")
        done = run.train(resume=resume)
        if run.accelerator.is_main_process:
            # The adapter has its name once it is whole; then nobody needs the checkpoints.
            (folder / IDENTITY_FILE).write_text(json.dumps(run.identity, indent=1) + "\n", "utf-8")
            fresh = folder / "adapter.new"
            shutil.rmtree(fresh, ignore_errors=True)
            with checkpoints.reporting_full_disk(fresh, "the adapter"):
                run.trainable.save_adapter(fresh)
                checkpoints.publish_folder(fresh, folder / "adapter")
            checkpoints.remove(folder)
            plot_losses(folder / "loss.png", [(stage.name, folder)])
        run.accelerator.wait_for_everyone()
        said = f"{stage.name}: loss {done.loss:.4f}"
        if done.validation is not None:
            said += f", {done.validation:.4f} on the examples set apart"
        if done.counts.skipped:
            said += f"; {done.counts.skipped} steps gave no numbers and were skipped"
        self.log(said)

    def network(self, adapters: Sequence[Path], precision: Precision) -> ClinicalBLIP:
        """The base with these adapters folded in, in the number format that stands still."""
        device = process_state(self.device).device
        # On a CPU float16 is far too slow to stand in; autocast narrows what it takes.
        narrow = device.type == "cuda" and precision != "float32"
        dtype = getattr(torch, precision) if narrow else torch.float32
        model, _ = load_bundle(self.base, device, dtype)
        for adapter in adapters:
            model.network, _ = merge_adapter(model.network, adapter)
        return model

    def _check(self, stage: Stage) -> None:
        if not stage.priors:
            return
        from_report = [
            name for name in self.transform.templates if TEMPLATES[name].source is Source.REPORT
        ]
        for name in from_report:
            if self.training_set[0].oracle_template != name:
                raise CorpusError(
                    f"the corpus {self.corpus.name} has nothing for the template {name!r}: ask "
                    f"for {self.training_set[0].oracle_template or 'context'!r}"
                )

    # ---- The bundle ----

    def bundle(
        self,
        out: Path,
        adapters: Sequence[Path],
        about: About,
        *,
        score: Callable[[Path], dict[str, Any]] | None = None,
        overwrite: bool = False,
    ) -> Manifest:
        """The base with the adapters merged, with its card, at `out` once it is scored.

        score: a bundle's folder -> scores by name, for the manifest and the card.
        """
        stages = [adapter.parent for adapter in adapters]
        plot, made = self.work_folder / "losses.png", self.work_folder / "bundle"
        plot_losses(plot, [(stage.name, stage) for stage in stages])
        manifest = make_bundle(
            made,
            self.base,
            replace(about, training=self.training_record(stages), scores={}),
            adapters=adapters,
            overwrite=True,
            beside=[plot],
        )
        manifest = replace(manifest, scores=score(made) if score else {})
        (made / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
        manifest = write_manifest(made, manifest)
        checkpoints.fsync_tree(made)
        check_place(out, overwrite)
        with replacing(out) as fresh:
            fresh.rmdir()
            made.rename(fresh)
        return manifest

    def templates(self, stages: Sequence[Stage]) -> tuple[str, ...]:
        """The templates that a bundle of these stages was trained with; the first is served."""
        if not any(stage.priors for stage in stages):
            return (NO_PRIORS,)
        served = [t for t in self.transform.templates if TEMPLATES[t].source is Source.ORDER]
        others = [t for t in self.transform.templates if t not in served]
        bare = (
            [NO_PRIORS] if self.transform.drop_priors or any(not s.priors for s in stages) else []
        )
        return tuple(dict.fromkeys((*served, *bare, *others)))

    def training_record(self, stages: Sequence[Path]) -> dict[str, Any]:
        """What a manifest says of the training."""
        return {
            "base": f"{self.manifest.name} {self.manifest.version} {self.manifest.digest}",
            "corpus": self.corpus.name,
            "reading": asdict(self.reading),
            "examples": len(self.training_set),
            "limit": self.limit,
            "settings": asdict(self.config) | {"steps": None},
            "showing": asdict(self.transform),
            "stages": {stage.name: _last(stage) for stage in stages},
        }

    def clear(self) -> None:
        """Remove the prepared corpus: its films and words may be patients'."""
        for split in (TRAIN, VALIDATE):
            shutil.rmtree(self.work_folder / f"shelf-{split}", ignore_errors=True)


def _of(corpus: Corpus, split: str, limit: int) -> Iterator[Example | ExcludedStudy]:
    stream = corpus.read(split)
    return islice(stream, limit) if limit else stream


def _last(stage: Path) -> dict[str, Any]:
    """What a stage that is done came to, and what it had beside the course's settings."""
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
        "processes": identity["settings"]["processes"],
        "rates": {group["name"]: group["rate"] for group in identity["stage"]["groups"]},
        "lora": identity["stage"]["lora"],
    }

"""The commands `nightdraft train ...`, and the training of `nightdraft ablate`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace as changed
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nightdraft.cli.json_output import print_json, progress_line, write_figures
from nightdraft.cli.options import apply_options, setting_option
from nightdraft.cli.renamed_options import RenamingCommand
from nightdraft.cli.train_options import (
    PRECEDENCE,
    TrainOptions,
    option_parameters,
    resolve_options,
    write_config,
)
from nightdraft.extras import require_training
from records.errors import SettingsError

if TYPE_CHECKING:
    from training.corpus.mimic_cxr import LabelledBy
    from training.finetuning.config import Precision
    from training.finetuning.pipeline import Pipeline
    from training.finetuning.stages import Stage

train = typer.Typer(help="Train a model on films and their reports.", no_args_is_help=True)

CONFIG_FILE = "config.toml"
"""The settings in effect, in the training's folder."""


class Target(StrEnum):
    """What a model learns to write."""

    DEFAULT = ""
    FINDINGS = "findings"
    REPORT = "report"


def _log(line: str) -> None:
    print(line, flush=True)


@train.command("phantoms", cls=RenamingCommand)
def train_phantoms(
    out: Annotated[Path, typer.Option(help="The bundle's folder.")],
    studies: Annotated[int, typer.Option(min=1, help="Phantoms drawn to learn from.")] = 24_000,
    vision_steps: Annotated[
        int, typer.Option(min=1, help="Steps that train the vision encoder.")
    ] = 3_400,
    text_steps: Annotated[
        int, typer.Option(min=1, help="Steps that train Q-Former and T5.")
    ] = 3_200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a training that was stopped.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a bundle that is there.")
    ] = False,
    device: Annotated[str | None, setting_option("device")] = None,
) -> None:
    """Train the demonstration model from nothing, on drawn phantoms."""
    require_training("`nightdraft train`")
    from training.recipes.from_scratch import RecipeConfig
    from training.recipes.phantoms import train_phantoms as recipe

    manifest = recipe(
        out,
        RecipeConfig(studies, vision_steps, text_steps),
        seed=seed,
        resume=resume,
        fresh=fresh,
        overwrite=replace,
        device=chosen_device(device),
        log=_log,
    )
    print(f"{manifest.name} {manifest.version}, digest {manifest.digest[:12]}, at {out}")


def _add(name: str, about: str, stages: Callable[[], tuple[Stage, ...]]) -> None:
    """Add a command for a choice of stages; all of them have the same options."""

    def command(
        context: typer.Context,
        *,
        config: Annotated[
            Path | None, typer.Option(help=f"TOML file of settings, named as options. {PRECEDENCE}")
        ] = None,
        set: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="NAME=VALUE", help="A setting; several."),
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Resume a training that was stopped.")
        ] = False,
        fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew.")] = False,
        replace: Annotated[
            bool, typer.Option("--replace", help="Replace a bundle that is there.")
        ] = False,
        dry_run: Annotated[
            bool,
            typer.Option(
                "--dry-run", help="Say what it takes: examples, steps, hours, memory, disk."
            ),
        ] = False,
        json: Annotated[
            bool, typer.Option("--json", help="With --dry-run: write JSON, for programs.")
        ] = False,
        device: Annotated[str | None, setting_option("device")] = None,
        **_: Any,  # the fields of TrainOptions, read from the context
    ) -> None:
        require_training("`nightdraft train`")
        from model.support.predicted import PREDICTED

        if json and not dry_run:
            raise SettingsError("--json is for --dry-run: leave it out, or give both")
        options = resolve_options(context, config, set or ())
        device = chosen_device(device)
        if options.no_finding_head and PREDICTED in options.prompt:
            raise SettingsError(
                f"a bundle that is prompted with {PREDICTED!r} needs its own finding head when it "
                "serves: leave --no-finding-head out"
            )
        pipeline = _make_pipeline(options, device)
        chosen = _with_options(stages(), options)
        if dry_run:
            _dry_run(pipeline, chosen, as_json=json)
            return
        pipeline.begin(options.out, resume=resume, fresh=fresh, overwrite=replace)
        if resume:
            pipeline = pipeline.as_begun()
        _train(name, options, pipeline, chosen, resume=resume, overwrite=replace)

    own = [
        parameter
        for parameter in signature(command, eval_str=True).parameters.values()
        if parameter.kind is not Parameter.VAR_KEYWORD
    ]
    parameters = [own[0], *option_parameters(), *own[1:]]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = about
    train.command(name, cls=RenamingCommand)(command)


def _with_options(stages: tuple[Stage, ...], options: TrainOptions) -> list[Stage]:
    from training.finetuning.stages import Lora

    lora = Lora(options.lora_rank, options.lora_alpha, options.lora_dropout)
    return [
        changed(stage.with_rates(options.learning_rate_lora, options.learning_rate_full), lora=lora)
        for stage in stages
    ]


def _make_pipeline(options: TrainOptions, device: str | None) -> Pipeline:
    from training.corpus.example import CorpusOptions
    from training.corpus.registry import open_corpus
    from training.finetuning.batches import SampleTransform
    from training.finetuning.config import TrainingConfig
    from training.finetuning.pipeline import Pipeline, TrainingLength
    from training.finetuning.trackers import require_trackers

    corpus_options = CorpusOptions(
        options.target, options.split, options.seed, options.validation_share
    )
    transform = SampleTransform(
        options.prompt,
        options.prior_dropout,
        options.prior_line_dropout,
        keep_comparisons=options.keep_comparisons,
        untouched=options.unaugmented_share,
        noise=options.noise,
        blur=options.blur,
    )
    return Pipeline(
        options.base,
        open_corpus(options.corpus, corpus_options, label=_labels(options.chexbert)),
        corpus_options,
        options.out.with_name(options.out.name + ".training"),
        TrainingConfig(
            steps=0,
            batch=options.batch_size,
            accumulation=options.gradient_accumulation_steps,
            precision=_precision(options.precision, device),
            seed=options.seed,
            most_target=options.max_target_tokens,
            checkpointed=options.gradient_checkpointing,
            save_every=options.save_every,
            validate_every=options.validate_every,
            best_checkpoint=options.best_checkpoint or options.early_stopping_patience > 0,
            early_stopping_patience=options.early_stopping_patience,
        ),
        transform.without_augmentation() if options.no_augmentation else transform,
        TrainingLength(options.epochs, options.steps),
        options.limit,
        options.predicted_by,
        device=device,
        trackers=require_trackers(options.tracker),
        log=_log,
    )


def _train(
    command: str,
    options: TrainOptions,
    pipeline: Pipeline,
    stages: list[Stage],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Train the stages and build the bundle; the settings in effect lie beside it."""
    from model.bundling.build import BundleDescription
    from training.evaluation.scores import scores_for
    from training.finetuning.finding_head import HeadConfig

    shown = pipeline.transform
    in_effect = options.model_copy(
        update={
            "precision": pipeline.config.precision,
            "unaugmented_share": shown.untouched,
            "noise": shown.noise,
            "blur": shown.blur,
        }
    )
    config_file = pipeline.work_folder / CONFIG_FILE
    # If the training resumes, its settings are checked first.
    if pipeline.is_main and not (resume and config_file.exists()):
        write_config(config_file, in_effect, command)
    adapters = pipeline.train(stages, resume=resume)
    if not pipeline.is_main:
        return
    write_config(config_file, in_effect, command)
    about = BundleDescription(
        options.bundle_name or options.out.name,
        options.version,
        pipeline.templates(stages),
        options.licence,
        max_new_tokens=options.max_target_tokens,
    )
    score = (
        scores_for(pipeline.corpus, options.score, options.seed, pipeline.device)
        if options.score
        else None
    )
    manifest = pipeline.build_bundle(
        options.out,
        adapters,
        about,
        score=score,
        head=None if options.no_finding_head else HeadConfig(seed=options.seed),
        overwrite=overwrite,
    )
    pipeline.data.remove_prepared()
    print(
        f"{manifest.name} {manifest.version}, digest {manifest.digest[:12]}, at {options.out}; "
        f"its settings: {config_file}"
    )


def _stage1() -> tuple[Stage, ...]:
    from training.finetuning.stages import STAGE1

    return (STAGE1,)


def _stage2() -> tuple[Stage, ...]:
    from training.finetuning.stages import STAGE2

    return (STAGE2,)


_add("stage1", "Train stage 1: the vision encoder, with the bare instruction.", _stage1)
_add("stage2", "Train stage 2: image and text together, with priors in the prompt.", _stage2)
_add(
    "both",
    "Train both stages of the paper, one on top of the other.",
    lambda: (*_stage1(), *_stage2()),
)


@train.command("head", cls=RenamingCommand)
def train_head(
    base: Annotated[str, typer.Argument(metavar="BUNDLE", help="A folder, or demo.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle with the head.")],
    corpus: Annotated[
        str, typer.Option("--corpus", help="NAME or NAME:PATH; nightdraft corpus check.")
    ],
    version: Annotated[str, typer.Option(help="Version of the bundle with the head.")],
    validation_share: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of patients for calibration.")
    ] = 0.1,
    split: Annotated[str, typer.Option(help="given, paper, r2gen, official, patients.")] = "",
    studies: Annotated[int, typer.Option(min=1, help="Most studies to learn from.")] = 5_000,
    held_out: Annotated[int, typer.Option(min=0, help="Most studies to calibrate on.")] = 2_000,
    chexbert: Annotated[
        Path | None, typer.Option(help="Folder of CheXbert's weights; else labels by rules.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of split and head.")] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a bundle that is there.")
    ] = False,
    device: Annotated[str | None, setting_option("device")] = None,
) -> None:
    """Fit a finding head to a bundle that stands; its drafts stay the same."""
    from itertools import islice

    from model.bundling.build import BundleDescription, make_bundle
    from model.bundling.store import choose_device
    from model.labels import load_labeller
    from model.manifest import read_manifest
    from training.corpus.example import TRAIN, VALIDATE, CorpusOptions, Example
    from training.corpus.registry import ENDLESS_CORPORA, open_corpus
    from training.finetuning.batches import SampleTransform
    from training.finetuning.finding_head import HeadConfig, add_finding_head

    labeller = load_labeller(chexbert)
    name = corpus.partition(":")[0]
    share = 0.0 if name in ENDLESS_CORPORA else validation_share
    opened = open_corpus(corpus, CorpusOptions(split=split, seed=seed, validate=share))

    def read(part: str, most: int) -> list[Example]:
        return [e for e in islice(opened.read(part), most) if isinstance(e, Example)]

    old = read_manifest(base)
    make_bundle(out, base, BundleDescription(old.name, version), overwrite=replace)
    manifest = add_finding_head(
        out,
        read(TRAIN, studies),
        read(VALIDATE, held_out),
        labeller,
        SampleTransform(),
        HeadConfig(studies, held_out, seed=seed),
        device=choose_device(chosen_device(device)),
        progress=_print_progress,
    )
    calibrated = manifest.finding_head["calibration"]["studies"]
    print(
        f"{manifest.name} {manifest.version}, digest {manifest.digest[:12]}, at {out}; "
        f"calibrated on {calibrated:,} studies"
    )


def _print_progress(step: str, done: float, total: float | None) -> None:
    if done == total or done % 500 == 0:
        _log(f"{step}: {done:,.0f} of {total or 0:,.0f}")


def chosen_device(device: str | None) -> str | None:
    """The device of the option or the setting; None takes a GPU where there is one."""
    chosen = apply_options(device=device).device
    return None if chosen in ("", "auto") else chosen


def ablate_command(
    out: Path,
    base: str,
    corpus: str,
    *,
    studies: int,
    steps: int,
    epochs: float,
    batch: int,
    accumulation: int,
    rates: tuple[float | None, float | None],
    limit: int,
    seed: int,
    as_paper: bool,
    chexbert: Path | None,
    resume: bool,
    fresh: bool,
    device: str | None,
    json: Path | None,
) -> None:
    """Train, score and print the rows of Table 3.

    Args:
        out: Folder for the bundles, the table and the plot.
        base: The bundle to start from; "" first trains a small one at another site.
        corpus: As `open_corpus` takes it.
        studies: Most examples to learn from.
        steps: Steps of each stage; 0 goes by `epochs`.
        epochs: Times round the corpus.
        batch: Studies that a process reads at once.
        accumulation: Batches in a step.
        rates: Learning rates of LoRA and of whole weights; None leaves the paper's.
        limit: Most studies that are scored.
        seed: Seed of every random draw.
        as_paper: Train and score with priors out of the reports, with films and targets as they
            are, as the paper did.
        chexbert: The folder of CheXbert's weights, which then label MIMIC-CXR's reports.
        resume: Whether what was stopped may be resumed.
        fresh: Whether what an earlier call made is removed.
        device: None takes a GPU where there is one.
        json: File for the rows as JSON; `-` is standard output.

    Raises:
        NotAllowed: Several processes were started, or rows in `out` were made with other settings.
        NightdraftError, ModelError: As `training.finetuning.ablations.ablate`.
    """
    from nightdraft.cli.options import console
    from training.corpus.example import CorpusOptions
    from training.corpus.registry import ORACLE_TEMPLATES, open_corpus
    from training.evaluation.published import TABLE_3
    from training.finetuning.ablations import (
        ablate,
        ablation_stages,
        as_markdown,
        clear,
        make_scorer,
        plot,
    )
    from training.finetuning.batches import SampleTransform
    from training.finetuning.config import TrainingConfig
    from training.finetuning.pipeline import Pipeline, TrainingLength
    from training.finetuning.processes import require_single_process
    from training.recipes.ablation_base import train_ablation_base
    from training.recipes.from_scratch import MAX_TARGET_TOKENS

    require_single_process(device, "an ablation")
    log = progress_line(json)
    corpus_options = CorpusOptions(seed=seed)
    source = open_corpus(corpus, corpus_options, label=_labels(chexbert))
    transform = SampleTransform()
    if as_paper:
        if source.name not in ORACLE_TEMPLATES:
            raise SettingsError(
                f"--as-paper is for the paper's corpora ({', '.join(ORACLE_TEMPLATES)}), not "
                f"{source.name}"
            )
        template = ORACLE_TEMPLATES[source.name]
        transform = SampleTransform((template,), 0.0, 0.0, keep_comparisons=True)
        transform = transform.without_augmentation()
    if fresh:
        clear(out)
    if not base:
        base = str(
            train_ablation_base(out / "base", seed=seed, resume=resume, device=device, log=log)
        )
    pipeline = Pipeline(
        base,
        source,
        corpus_options,
        out / "training",
        TrainingConfig(
            steps=0,
            batch=batch,
            accumulation=accumulation,
            precision=_precision("auto", device),
            seed=seed,
            most_target=MAX_TARGET_TOKENS if source.name == "phantoms" else 150,
        ),
        transform,
        TrainingLength(epochs, steps),
        studies,
        device=device,
        log=log,
    )
    rows = ablate(
        pipeline.as_begun() if resume else pipeline,
        out,
        make_scorer(source, limit, seed, device),
        TABLE_3,
        rows=ablation_stages(*rates),
        scored={"studies": limit, "seed": seed},
        resume=resume,
        log=log,
    )
    pipeline.data.remove_prepared()
    text = as_markdown(rows, TABLE_3)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    plot(out / "table.png", rows)
    if write_figures(rows, json):
        console().print(text, markup=False)


def _labels(chexbert: Path | None) -> LabelledBy | None:
    """CheXbert as the labeller of MIMIC-CXR's reports; None takes PhysioNet's labels."""
    if chexbert is None:
        return None
    from model.labels import load_labeller
    from training.corpus.mimic_cxr import LabelledBy

    return LabelledBy(load_labeller(chexbert))


def _precision(precision: Precision | Literal["auto"], device: str | None) -> Precision:
    from model.bundling.store import choose_device

    if precision == "auto":
        return "float16" if choose_device(device).type == "cuda" else "float32"
    return precision


def _dry_run(pipeline: Pipeline, stages: list[Stage], *, as_json: bool) -> None:
    """Show what the training takes: examples, steps, hours, memory and disk."""
    from training.estimates.dry_run import estimate, render

    result = estimate(pipeline, stages, _print_line)
    if not pipeline.is_main:
        return
    if as_json:
        print_json(result)
    else:
        print(render(result))


def _print_line(line: str) -> None:
    """Print a line of progress to standard error: standard output has the result."""
    print(line, file=sys.stderr, flush=True)

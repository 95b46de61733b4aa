"""`nightdraft train ...`. Knows options; training.finetuning.pipeline and the recipes do the work."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer

from nightdraft.cli.options import apply_options, setting_option

if TYPE_CHECKING:
    from training.finetuning.config import Precision as FinetunePrecision
    from training.finetuning.pipeline import Pipeline
    from training.finetuning.stages import Stage

train = typer.Typer(help="Train a model.", no_args_is_help=True)


class Precision(StrEnum):
    """Number formats of what stands still; what trains is float32."""

    AUTO = "auto"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Target(StrEnum):
    """What a model learns to write."""

    DEFAULT = ""
    FINDINGS = "findings"
    REPORT = "report"


def _say(line: str) -> None:
    print(line, flush=True)


@train.command("phantoms")
def train_phantoms(
    out: Annotated[Path, typer.Option(help="The bundle's folder.")],
    studies: Annotated[int, typer.Option(min=1, help="Phantoms drawn to learn from.")] = 24_000,
    eye_steps: Annotated[int, typer.Option(min=1, help="That teach the eye.")] = 3_400,
    words_steps: Annotated[int, typer.Option(min=1, help="That teach the words.")] = 3_200,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Take up what was stopped.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a bundle that is there.")
    ] = False,
    device: Annotated[str | None, setting_option("device")] = None,
) -> None:
    """Train the demonstration model from nothing, on drawn phantoms."""
    from training.recipes.phantoms import RecipeConfig
    from training.recipes.phantoms import train_phantoms as recipe

    made = recipe(
        out,
        RecipeConfig(studies, eye_steps, words_steps),
        seed=seed,
        resume=resume,
        fresh=fresh,
        overwrite=replace,
        device=chosen_device(device),
        log=_say,
    )
    print(f"{made.name} {made.version}, digest {made.digest[:12]}, at {out}")


def _add(name: str, about: str, stages: Callable[[], tuple[Stage, ...]]) -> None:
    """One command for each choice of stages, with the same options."""

    def command(
        out: Annotated[Path, typer.Option(help="The bundle's folder.")],
        base: Annotated[str, typer.Option(help="The bundle to start from.")],
        corpus: Annotated[str, typer.Option(help="NAME or NAME:PATH; nightdraft corpus check.")],
        bundle_name: Annotated[str, typer.Option("--name", help="Of the bundle.")] = "",
        version: Annotated[str, typer.Option(help="Of the bundle.")] = "1",
        licence: Annotated[str | None, typer.Option(help="Of the bundle; else the base's.")] = None,
        epochs: Annotated[float, typer.Option(min=0.0, help="Times round the corpus.")] = 5.0,
        steps: Annotated[int, typer.Option(min=0, help="Instead of epochs; 0: epochs.")] = 0,
        batch: Annotated[int, typer.Option(min=1, help="Studies a process reads at once.")] = 3,
        accumulation: Annotated[int, typer.Option(min=1, help="Batches a step.")] = 4,
        precision: Annotated[
            Precision, typer.Option(help="auto: float16 on a GPU, float32 on a CPU.")
        ] = Precision.AUTO,
        checkpointing: Annotated[
            bool, typer.Option("--checkpointing", help="Less memory, a third more time.")
        ] = False,
        rate_lora: Annotated[float | None, typer.Option(help="Else 5e-4.")] = None,
        rate_whole: Annotated[float | None, typer.Option(help="Else 1e-4.")] = None,
        rank: Annotated[int, typer.Option(min=1, help="Of LoRA.")] = 16,
        alpha: Annotated[float, typer.Option(help="Of LoRA.")] = 32.0,
        lora_dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of LoRA.")] = 0.05,
        prompt: Annotated[
            list[str] | None, typer.Option(help="context, oracle_iu, oracle_mimic; several.")
        ] = None,
        drop_priors: Annotated[
            float, typer.Option(min=0.0, max=1.0, help="Share shown without priors.")
        ] = 0.25,
        drop_lines: Annotated[
            float, typer.Option(min=0.0, max=1.0, help="How often each single prior is left out.")
        ] = 0.1,
        keep_comparisons: Annotated[
            bool, typer.Option("--keep-comparisons", help="In targets, as in the paper.")
        ] = False,
        still: Annotated[
            bool, typer.Option("--still", help="Films as they are: not turned, not exposed.")
        ] = False,
        target: Annotated[
            Target, typer.Option(help="What is written; else as the corpus has it.")
        ] = Target.DEFAULT,
        split: Annotated[str, typer.Option(help="paper, r2gen, official, patients.")] = "",
        validate: Annotated[
            float, typer.Option(min=0.0, max=0.5, help="Share of patients set apart.")
        ] = 0.0,
        limit: Annotated[int, typer.Option(min=0, help="Examples at most; 0: all.")] = 0,
        most_target: Annotated[int, typer.Option(min=8, help="Tokens of a target.")] = 150,
        save_every: Annotated[int, typer.Option(min=0, help="Steps between checkpoints.")] = 200,
        validate_every: Annotated[int, typer.Option(min=0, help="Steps; 0: at the end.")] = 0,
        seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
        resume: Annotated[bool, typer.Option("--resume", help="Take up what was stopped.")] = False,
        fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew.")] = False,
        scored: Annotated[
            int, typer.Option("--score", min=0, help="Studies of the test split to score it on.")
        ] = 200,
        replace: Annotated[
            bool, typer.Option("--replace", help="Take the place of a bundle that is there.")
        ] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Say what trains and what memory it wants.")
        ] = False,
        device: Annotated[str | None, setting_option("device")] = None,
    ) -> None:
        from dataclasses import replace as changed

        from model.bundling.build import About
        from training.corpus.example import CorpusOptions
        from training.corpus.registry import open_corpus
        from training.evaluation.scores import scores_for
        from training.finetuning.batches import SampleTransform
        from training.finetuning.config import TrainingConfig
        from training.finetuning.pipeline import Pipeline, TrainingLength
        from training.finetuning.stages import Lora

        lora = Lora(rank, alpha, lora_dropout)
        chosen = [changed(s.with_rates(rate_lora, rate_whole), lora=lora) for s in stages()]
        where = chosen_device(device)
        reading = CorpusOptions(target.value, split, seed, validate)
        transform = SampleTransform(
            tuple(prompt or ("context",)),
            drop_priors,
            drop_lines,
            keep_comparisons=keep_comparisons,
        )
        pipeline = Pipeline(
            base,
            open_corpus(corpus, reading),
            reading,
            out.with_name(out.name + ".training"),
            TrainingConfig(
                steps=0,
                batch=batch,
                accumulation=accumulation,
                precision=_precision(precision, where),
                seed=seed,
                most_target=most_target,
                checkpointed=checkpointing,
                save_every=save_every,
                validate_every=validate_every,
            ),
            transform.without_augmentation() if still else transform,
            TrainingLength(epochs, steps),
            limit,
            device=where,
            log=_say,
        )
        if dry_run:
            _dry_run(pipeline, chosen)
            return
        pipeline.begin(out, resume=resume, fresh=fresh, overwrite=replace)
        adapters = pipeline.train(chosen, resume=resume)
        if not pipeline.is_main:
            return
        about = About(
            bundle_name or out.name,
            version,
            pipeline.templates(chosen),
            licence,
            max_new_tokens=most_target,
        )
        score = scores_for(pipeline.corpus, scored, seed, where) if scored else None
        made = pipeline.build_bundle(out, adapters, about, score=score, overwrite=replace)
        pipeline.remove_prepared()
        print(f"{made.name} {made.version}, digest {made.digest[:12]}, at {out}")

    command.__doc__ = about
    train.command(name)(command)


def _stage1() -> tuple[Stage, ...]:
    from training.finetuning.stages import STAGE1

    return (STAGE1,)


def _stage2() -> tuple[Stage, ...]:
    from training.finetuning.stages import STAGE2

    return (STAGE2,)


_add("stage1", "Stage 1: the visual encoder, with the bare instruction.", _stage1)
_add("stage2", "Stage 2: image and text together, priors in the prompt.", _stage2)
_add("both", "Both stages of the paper, one upon the other.", lambda: (*_stage1(), *_stage2()))


def chosen_device(device: str | None) -> str | None:
    """The device by its setting; None takes a GPU where there is one."""
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
    resume: bool,
    fresh: bool,
    device: str | None,
) -> None:
    """Train, score and show the rows of Table 3. base: "" teaches a small one elsewhere first.

    Raises:
        NotAllowed: several processes were started, or rows in `out` were made with other settings.
        NightdraftError, ModelError: as `training.finetuning.ablations.ablate`.
    """
    from nightdraft.cli.options import console
    from training.corpus.example import CorpusOptions
    from training.corpus.registry import open_corpus
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
    from training.recipes.phantoms import MAX_TARGET_TOKENS, train_ablation_base

    require_single_process(device, "an ablation")
    reading = CorpusOptions(seed=seed)
    source = open_corpus(corpus, reading)
    if fresh:
        clear(out)
    if not base:
        base = str(
            train_ablation_base(out / "base", seed=seed, resume=resume, device=device, log=_say)
        )
    pipeline = Pipeline(
        base,
        source,
        reading,
        out / "training",
        TrainingConfig(
            steps=0,
            batch=batch,
            accumulation=accumulation,
            precision=_precision(Precision.AUTO, device),
            seed=seed,
            most_target=MAX_TARGET_TOKENS if source.name == "phantoms" else 150,
        ),
        SampleTransform(),
        TrainingLength(epochs, steps),
        studies,
        device=device,
        log=_say,
    )
    rows = ablate(
        pipeline,
        out,
        make_scorer(source, limit, seed, device),
        TABLE_3,
        rows=ablation_stages(*rates),
        scored={"studies": limit, "seed": seed},
        resume=resume,
        log=_say,
    )
    pipeline.remove_prepared()
    text = as_markdown(rows, TABLE_3)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    plot(out / "table.png", rows)
    console().print(text, markup=False)


def _precision(asked: Precision, device: str | None) -> FinetunePrecision:
    from model.bundling.store import choose_device

    if asked is Precision.AUTO:
        return "float16" if choose_device(device).type == "cuda" else "float32"
    named: dict[Precision, FinetunePrecision] = {
        Precision.FLOAT16: "float16",
        Precision.BFLOAT16: "bfloat16",
        Precision.FLOAT32: "float32",
    }
    return named[asked]


def _dry_run(pipeline: Pipeline, stages: list[Stage]) -> None:
    """What each stage trains and the memory that it wants, and what makes it fit the device."""
    import torch

    from model.bundling.store import choose_device
    from training.memory.gpu_fit import show as shown
    from training.memory.gpu_fit import suggest_settings
    from training.memory.plan import MemorySettings

    config, device = pipeline.config, choose_device(pipeline.device)
    on_gpu = device.type == "cuda"
    room = torch.cuda.mem_get_info(device)[1] if on_gpu else psutil.virtual_memory().total
    asked = MemorySettings(
        batch=config.batch,
        accumulation=config.accumulation,
        precision=config.precision,
        checkpointed=config.checkpointed,
        target_tokens=config.most_target,
    )
    network_config = pipeline.network_config
    for stage in stages:
        found = suggest_settings(
            stage, network_config, room, asked, rules="cuda" if on_gpu else "cpu"
        )
        _say(shown(found.chosen or found.tried[0], room))
        _say(found.words)

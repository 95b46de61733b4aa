"""`nightdraft bundle make | verify | show`. Knows options and bars; model.bundling.build does the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.options import console

if TYPE_CHECKING:
    from rich.table import Table

    from model.manifest import Manifest
    from model.progress import ProgressCallback

bundle = typer.Typer(help="Make a model's bundle, check it, look at it.", no_args_is_help=True)


class Precision(StrEnum):
    """Number formats of weights on disk."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@bundle.command("make")
def bundle_make(
    out: Annotated[Path, typer.Argument(help="The new bundle's folder.")],
    source: Annotated[
        str,
        typer.Option("--from", help="A model's folder, a bundle, or a name on the hub."),
    ],
    name: Annotated[str, typer.Option(help="Of the bundle; on every draft.")],
    version: Annotated[str, typer.Option(help="Of the bundle; on every draft.")],
    adapter: Annotated[
        list[Path] | None, typer.Option(help="A LoRA adapter's folder; several merge in order.")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Prompt template it was trained with; the first is served."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Under which it may be used.")] = None,
    demonstration: Annotated[
        str | None, typer.Option(help="Not for patients; the sentence that says why.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="What it was made from, where the folder does not say.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Of the base model; on the hub, a commit.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it from the hub if it is not here.")
    ] = False,
    training: Annotated[
        Path | None, typer.Option(help="JSON file that says how it was trained.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="JSON file with its scores.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest draft, in tokens.")
    ] = None,
    max_instruction_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest instruction, in tokens.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the weights on disk; else as the source has them.")
    ] = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="Largest file of weights.")] = 512,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a bundle that is there.")
    ] = False,
) -> None:
    """Make a bundle from a base model, a base with adapters, or merged weights."""
    import torch

    from model.bundling.build import BundleDescription, make_bundle

    about = BundleDescription(
        name=name,
        version=version,
        templates=tuple(template or ()),
        licence=licence,
        notice=demonstration,
        base_model=base_model,
        training=_read_json(training),
        scores=_read_json(scores),
        max_new_tokens=max_new_tokens,
        max_instruction_tokens=max_instruction_tokens,
    )
    with _bar() as progress:
        made = make_bundle(
            out,
            source,
            about,
            adapters=adapter or (),
            revision=revision,
            download=download,
            dtype=None if precision is None else getattr(torch, precision),
            shard_bytes=shard_mb * 2**20,
            overwrite=replace,
            progress=progress,
        )
    print(f"{made.name} {made.version}, {len(made.files)} files, digest {made.digest}, at {out}")


@bundle.command("verify")
def bundle_verify(
    bundle: Annotated[str, typer.Argument(help="A folder, or demo.")],
) -> None:
    """Whether a bundle's files are those of its manifest, and its weights those of its network."""
    from model.bundling.store import check_bundle
    from model.manifest import NULL

    with _bar() as progress:
        manifest = NULL if bundle == NULL.name else check_bundle(bundle, progress)
    print(
        f"{manifest.name} {manifest.version}: {len(manifest.files)} files unchanged, every weight "
        f"in its place, digest {manifest.digest}"
    )


@bundle.command("show")
def bundle_show(
    bundle: Annotated[str, typer.Argument(help="A folder, or demo, or null.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole manifest.")] = False,
) -> None:
    """What a bundle says of itself."""
    from model.manifest import read_manifest

    manifest = read_manifest(bundle)
    if as_json:
        print(json.dumps(asdict(manifest) | {"digest": manifest.digest}, indent=2, sort_keys=True))
    else:
        console().print(_shown(manifest))


def _shown(manifest: Manifest) -> Table:
    from rich.table import Table
    from rich.text import Text

    use, how = manifest.intended_use, manifest.preprocessing
    served, *others = dict.fromkeys((manifest.template, *manifest.templates))
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("name", f"{manifest.name} {manifest.version}"),
        ("digest", manifest.digest),
        ("notice", manifest.notice),
        ("base model", f"{manifest.base_model} {manifest.base_revision}".strip()),
        *(("adapter", _line(adapter)) for adapter in manifest.adapters),
        ("licence", manifest.licence),
        ("template", f"{served}{''.join(f', also {other}' for other in others)}"),
        ("tokens", f"reads {manifest.max_instruction_tokens}, writes {manifest.max_new_tokens}"),
        ("image", f"{how.size} x {how.size}, {how.resize}, mean {how.mean}, std {how.std}"),
        ("modalities", ", ".join(use.modalities)),
        ("views", f"{', '.join(use.views)}; needs {', '.join(use.needs)}; most {use.max_views}"),
        ("age", f"{use.least_age} years and above"),
        ("training", _line(manifest.training)),
        ("scores", _line(manifest.scores)),
        ("libraries", _line(manifest.libraries)),
        ("files", f"{len(manifest.files)}"),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(value))
    return facts


def _line(said: dict[str, Any]) -> str:
    return "; ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in said.items()
        if value not in (None, "", [], {})
    )


def _read_json(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from model.errors import BundleError

    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(said, dict):
        raise BundleError(f"{path} is not one JSON object")
    return said


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    """A bar for each thing that is done, on a terminal; standard output is left to the answer."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as display:
        bars: dict[str, Any] = {}

        def report(what: str, done: float, total: float | None) -> None:
            if what not in bars:
                bars[what] = display.add_task(what, total=total)
            display.update(bars[what], completed=done)

        yield report

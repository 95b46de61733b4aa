"""`nightdraft bundle make | verify | show | push | pull`: the options and the output."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from nightdraft.cli.progress import show_bars
from nightdraft.extras import require_training

if TYPE_CHECKING:
    from rich.table import Table

    from model.bundling.transfer import Transfer
    from model.manifest import Manifest

bundle = typer.Typer(help="Make, check, show and copy a model's bundle.", no_args_is_help=True)


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
        typer.Option(
            "--from",
            envvar="NIGHTDRAFT_BUNDLE_MAKE_FROM",
            allow_from_autoenv=False,
            help="A model's folder, a bundle, or a name on the hub.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the bundle, which stands on every draft.")],
    version: Annotated[
        str, typer.Option(help="Version of the bundle, which stands on every draft.")
    ],
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="A LoRA adapter's folder; several are merged in order."),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="A prompt template it was trained with; the first is served."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="The licence for its use.")] = None,
    demonstration: Annotated[
        str | None, typer.Option(help="Not for patients: one sentence that says why.")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="The name of the base model, if the folder's name is not right."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of the base model; on the hub, a commit.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Fetch the model from the hub if it is not on this machine."
        ),
    ] = False,
    training: Annotated[
        Path | None, typer.Option(help="A JSON file on how it was trained.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="A JSON file with its scores.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest draft, in tokens.")
    ] = None,
    max_instruction_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest instruction, in tokens.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Number format of the weights on disk; by default the source's."),
    ] = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="Largest file of weights, in MB.")] = 512,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a bundle that is in its place.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make a bundle from a base model, a base with adapters, or merged weights."""
    import torch

    from model.bundling.build import BundleDescription, make_bundle

    if adapter:
        require_training("merging an adapter")

    description = BundleDescription(
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
    with show_bars() as progress:
        manifest = make_bundle(
            out,
            source,
            description,
            adapters=adapter or (),
            revision=revision,
            download=download,
            dtype=None if precision is None else getattr(torch, precision),
            shard_bytes=shard_mb * 2**20,
            overwrite=replace,
            progress=progress,
        )
    if json:
        print_json(asdict(manifest) | {"digest": manifest.digest})
        return
    print(
        f"{manifest.name} {manifest.version}, {len(manifest.files)} files, "
        f"digest {manifest.digest}, at {out}"
    )


@bundle.command("verify")
def bundle_verify(
    bundle: Annotated[
        str, typer.Argument(help="A folder, or demo.", autocompletion=complete(("demo",)))
    ],
    json: AsJson = False,
) -> None:
    """Check a bundle's files against its manifest, and its weights against its configuration."""
    from model.bundling.store import check_bundle
    from model.manifest import NULL

    with show_bars() as progress:
        manifest = NULL if bundle == NULL.name else check_bundle(bundle, progress)
    if json:
        print_json(
            {
                "name": manifest.name,
                "version": manifest.version,
                "files": len(manifest.files),
                "digest": manifest.digest,
            }
        )
        return
    print(
        f"{manifest.name} {manifest.version}: {len(manifest.files)} files unchanged, every weight "
        f"in its place, digest {manifest.digest}"
    )


@bundle.command("show")
def bundle_show(
    bundle: Annotated[
        str,
        typer.Argument(
            help="A folder, or demo, or null.", autocompletion=complete(("demo", "null"))
        ),
    ],
    json: AsJson = False,
) -> None:
    """Show the manifest of a bundle."""
    from model.manifest import read_manifest

    manifest = read_manifest(bundle)
    if json:
        print_json(asdict(manifest) | {"digest": manifest.digest})
    else:
        console().print(_manifest_table(manifest))


ADDRESSES = "A folder, hf://owner/name[@revision], or s3://bucket/prefix."


@bundle.command("push")
def bundle_push(
    bundle: Annotated[
        str, typer.Argument(help="A folder, or demo.", autocompletion=complete(("demo",)))
    ],
    address: Annotated[str, typer.Argument(help=ADDRESSES)],
    public: Annotated[
        bool, typer.Option("--public", help="On a hub: everybody may read it; else it is private.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is there, also the same bundle.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Copy a bundle to a folder, a hub or an object store, after a check of its digests."""
    from model.bundling.transfer import push

    with show_bars() as progress:
        transfer = push(bundle, address, replace=replace, public=public, progress=progress)
    _show_transfer(transfer, "pushed to", address, as_json=json)


@bundle.command("pull")
def bundle_pull(
    address: Annotated[str, typer.Argument(help=ADDRESSES)],
    out: Annotated[Path, typer.Argument(help="The bundle's folder on this machine.")],
    digest: Annotated[
        str, typer.Option(help="What its digest has to begin with; else any bundle is taken.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace another bundle that is in its place.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Copy a bundle from a folder, a hub or an object store, whole or not at all."""
    from model.bundling.transfer import pull

    with show_bars() as progress:
        transfer = pull(address, out, replace=replace, digest=digest, progress=progress)
    _show_transfer(transfer, "pulled to", str(out), as_json=json)


def _show_transfer(transfer: Transfer, done: str, place: str, *, as_json: bool) -> None:
    manifest = transfer.manifest
    if as_json:
        print_json(
            {
                "name": manifest.name,
                "version": manifest.version,
                "digest": manifest.digest,
                "files": len(manifest.files),
                "copied_bytes": transfer.copied,
                "place": place,
                "licence": manifest.licence,
                "base_model": manifest.base_model,
            }
        )
        return
    what = f"{manifest.name} {manifest.version}, digest {manifest.digest}"
    if transfer.copied:
        print(f"{what}: {transfer.copied / 10**6:,.1f} MB {done} {place}, digests checked")
    else:
        print(f"{what}: is at {place} already")
    print(
        f"its licence: {manifest.licence} (made from {manifest.base_model}); it also holds for "
        "whoever gets this copy"
    )


def _manifest_table(manifest: Manifest) -> Table:
    from rich.table import Table
    from rich.text import Text

    use, image = manifest.intended_use, manifest.preprocessing
    served, *other_templates = dict.fromkeys((manifest.template, *manifest.templates))
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("name", f"{manifest.name} {manifest.version}"),
        ("digest", manifest.digest),
        ("notice", manifest.notice),
        ("base model", f"{manifest.base_model} {manifest.base_revision}".strip()),
        *(("adapter", _one_line(adapter)) for adapter in manifest.adapters),
        ("licence", manifest.licence),
        ("template", f"{served}{''.join(f', also {template}' for template in other_templates)}"),
        ("tokens", f"reads {manifest.max_instruction_tokens}, writes {manifest.max_new_tokens}"),
        (
            "image",
            f"{image.size} x {image.size}, {image.resize}, mean {image.mean}, std {image.std}",
        ),
        ("modalities", ", ".join(use.modalities)),
        ("views", f"{', '.join(use.views)}; needs {', '.join(use.needs)}; most {use.max_views}"),
        ("age", f"{use.least_age} years and above"),
        ("training", _one_line(manifest.training)),
        ("scores", _one_line(manifest.scores)),
        ("libraries", _one_line(manifest.libraries)),
        ("files", f"{len(manifest.files)}"),
    ):
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def _one_line(record: dict[str, Any]) -> str:
    return "; ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in record.items()
        if value not in (None, "", [], {})
    )


def _read_json(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from model.errors import BundleError

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(record, dict):
        raise BundleError(f"{path} is not one JSON object")
    return record

"""A bundle out of a base model, a base with adapters, or merged weights. Knows no drafting.

Three sources: the base model by its name on the Hugging Face hub or by its folder; the same with
LoRA adapters of peft, merged here; weights that are merged already, a folder of transformers or a
bundle. A source without adapters goes through shard by shard; one with adapters is held whole, in
float32, while they are merged.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.bundling.adapters import merge_adapter
from model.bundling.store import Words, read_words, replacing, write_bundle
from model.errors import BundleError
from model.manifest import (
    MANIFEST,
    SHIPPED,
    Manifest,
    Preprocessing,
    read_manifest,
    resolve,
    verify,
)
from model.network.qkv import fold_back
from model.network.weights import (
    SHARD_BYTES,
    check_keys,
    kept_dtype,
    load_weights,
    read_index,
    read_tensors,
    refuse_pickled,
    skeleton,
)
from model.progress import ProgressCallback, no_progress
from model.prompting.prompt import bare, named

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WANTED_OF_HUB = ["*.json", "*.safetensors"]
"""Of a model on the hub; pickled weights that lie beside them are left there."""


@dataclass(frozen=True)
class Source:
    """Where weights come from. manifest: where it is a bundle; revision: where it is known."""

    folder: Path
    name: str
    revision: str
    words: Words
    preprocessing: Preprocessing
    manifest: Manifest | None


@dataclass(frozen=True)
class About:
    """What a person says of a new bundle. None: as the source, where it is a bundle, says.

    templates: the first is served, all were trained with. notice: why it must not be used on
    patients; a demonstration then.
    """

    name: str
    version: str
    templates: tuple[str, ...] = ()
    licence: str | None = None
    notice: str | None = None
    base_model: str | None = None
    training: dict[str, Any] | None = None
    scores: dict[str, Any] | None = None
    max_new_tokens: int | None = None
    max_instruction_tokens: int | None = None


def make_bundle(
    out: Path,
    source: str | Path,
    about: About,
    *,
    adapters: Sequence[Path] = (),
    revision: str | None = None,
    download: bool = False,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    beside: Sequence[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Make a bundle; the old one in its place stays until the new one is whole.

    source: a folder, a shipped bundle's name, or a name on the hub, whose files are taken from its
    cache; only with `download` are they fetched. dtype: of the weights on disk, as `kept_dtype`;
    None leaves each as it is (float32 where adapters are merged). beside: files for people that go
    into it as they are.

    Raises:
        BundleError: the source, an adapter or what is said of it will not do, or there is
            something in its place.
    """
    check_place(out, overwrite)
    found = find_source(str(source), revision, download, progress)
    manifest = describe(found, about)
    network = skeleton(found.words.config)
    stored = check_keys(network, read_index(found.folder))
    merged: list[dict[str, Any]] = []
    if adapters:
        load_weights(
            network, read_index(found.folder), torch.float32, torch.device("cpu"), progress
        )
        for number, adapter in enumerate(adapters):
            progress("merging", number, len(adapters))
            network, said = merge_adapter(network, adapter)
            merged.append(said)
        fold_back(network)
        weights = dict(network.named_parameters())
        kinds = {name: weight.dtype for name, weight in weights.items()}
        tensors: Iterator[tuple[str, torch.Tensor]] = iter(weights.items())
    else:
        paths = dict.fromkeys(one.path for one in stored.values())
        stored = {n: one for path in paths for n, one in stored.items() if one.path == path}
        kinds = {name: one.dtype for name, one in stored.items()}
        tensors = read_tensors(stored)
    if dtype is not None:
        kinds = {name: kept_dtype(network, name, dtype) for name in kinds}
    sizes = {n: network.get_parameter(n).numel() * kind.itemsize for n, kind in kinds.items()}
    _check_room(out, sum(sizes.values()))
    try:
        with replacing(out) as fresh:
            return write_bundle(
                fresh,
                replace(manifest, adapters=(*manifest.adapters, *merged)),
                found.words,
                sizes,
                ((name, _cast(name, tensor, kinds[name])) for name, tensor in tensors),
                shard_bytes=shard_bytes,
                beside=beside,
                progress=progress,
            )
    except OSError as error:
        raise BundleError(f"{out} cannot be written: {error.strerror or error}") from error


def find_source(
    source: str,
    revision: str | None = None,
    download: bool = False,
    progress: ProgressCallback = no_progress,
) -> Source:
    """A source's folder and all of it but the weights.

    Raises:
        BundleError: it is not there, holds pickled files, or is no network for this software.
    """
    folder = resolve(source)
    if source in SHIPPED or (folder / MANIFEST).is_file():
        manifest = verify(folder, progress)
        words = read_words(folder, folder / "language", folder / "asking")
        name = manifest.base_model
        return Source(folder, name, manifest.base_revision, words, manifest.preprocessing, manifest)
    if folder.is_dir():
        refuse_pickled(folder)
        name, commit = folder.resolve().name, revision or ""
    elif HUB_NAME.fullmatch(source):
        folder = _snapshot(source, revision, download)
        name, commit = source, folder.name
    else:
        raise BundleError(f"there is no folder {folder}, and no model on the hub has such a name")
    words = read_words(folder, folder, folder / "qformer_tokenizer")
    return Source(folder, name, commit, words, _preprocessing(folder, words), None)


def describe(source: Source, about: About) -> Manifest:
    """The manifest of a bundle from this source, its files not yet listed.

    Raises:
        BundleError: something is missing that the source does not say either, or the template does
            not fit the network.
    """
    was = source.manifest
    templates = about.templates or (() if was is None else (was.template, *was.templates))
    licence = about.licence or ("" if was is None else was.licence)
    for given, option in ((templates, "--template"), (licence, "--licence")):
        if not given:
            raise BundleError(f"{source.folder} does not say it of itself: give {option}")
    positions = source.words.config.qformer_config.max_position_embeddings
    blank = Manifest("", "", "", "", "", source.preprocessing, "", demonstration=False)
    before = was or blank
    most = about.max_instruction_tokens or before.max_instruction_tokens
    if most > positions:
        raise BundleError(f"the Q-Former reads at most {positions} tokens, fewer than {most}")
    for template in templates:
        named(template)
        words = max(
            len(tokenizer(bare(template))["input_ids"])
            for tokenizer in (source.words.language, source.words.asking)
        )
        if words > most:
            raise BundleError(
                f"the template {template!r} has {words} tokens without any prior, the bundle would "
                f"read {most}: give --max-instruction-tokens {words} or more"
            )
    return replace(
        before,
        name=about.name,
        version=about.version,
        base_model=about.base_model or source.name,
        base_revision=source.revision,
        template=templates[0],
        templates=tuple(templates[1:]),
        licence=licence,
        demonstration=before.demonstration if about.notice is None else bool(about.notice),
        notice=before.notice if about.notice is None else about.notice,
        training=before.training if about.training is None else about.training,
        scores=before.scores if about.scores is None else about.scores,
        max_new_tokens=about.max_new_tokens or before.max_new_tokens,
        max_instruction_tokens=most,
    )


def _snapshot(name: str, revision: str | None, download: bool) -> Path:
    """The folder of a model of the hub, in the hub's cache on this machine."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=WANTED_OF_HUB,
                local_files_only=not download,
            )
        )
    except LocalEntryNotFoundError as error:
        if download:
            raise BundleError(f"{name} cannot be fetched from the hub: no answer") from error
        raise BundleError(
            f"{name} is neither a folder nor in the hub's cache on this machine; --download "
            "fetches it (Salesforce/instructblip-flan-t5-xl: about 16 GB)"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise BundleError(f"{name} cannot be fetched from the hub: {error}") from error


def _preprocessing(folder: Path, words: Words) -> Preprocessing:
    """What a folder of transformers says of its images; the size is the network's own."""
    for file_name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / file_name
        if not path.is_file():
            continue
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            said = said.get("image_processor", said)
            if "image_mean" not in said:
                continue
            mean, std = (tuple(map(float, said[key])) for key in ("image_mean", "image_std"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} does not say how an image is prepared") from error
        if len(mean) == len(std) == 3 and all(std):
            return Preprocessing(int(words.config.vision_config.image_size), mean, std)
        raise BundleError(f"{path} does not say how an image is prepared")
    raise BundleError(
        f"{folder} has no preprocessor_config.json with image_mean and image_std: copy it there "
        "from the base model"
    )


def check_place(out: Path, overwrite: bool) -> None:
    """That a bundle may be put there: nothing is in its place, or a bundle that may go.

    Raises:
        BundleError: another folder's files would be lost, or a bundle that nobody gave up.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise BundleError(f"{out} is there already and is no bundle: name another folder")
    if not overwrite:
        said = read_manifest(out)
        raise BundleError(
            f"{out} holds {said.name} {said.version} already: name another folder, or --replace it"
        )


def _check_room(out: Path, wanted: int) -> None:
    above = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(above).free
    if free < wanted:
        raise BundleError(
            f"{above} has {free / 1e9:.1f} GB free, the bundle takes {wanted / 1e9:.1f} GB"
        )


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.detach().to(dtype)
    if not torch.isfinite(cast).all():
        raise BundleError(
            f"{name} has values that {str(dtype).removeprefix('torch.')} cannot hold, or that are "
            "no numbers: choose another precision, or look at the training"
        )
    return cast

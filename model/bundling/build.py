"""Builds a bundle from a base model, a base model with adapters, or merged weights.

There are three kinds of sources: the base model, by its name on the Hugging Face hub or by its
folder; the same with LoRA adapters of peft, which are merged here; and merged weights, as a folder
of transformers or a bundle. A source without adapters is copied shard by shard. One with adapters
is held whole in float32 while they are merged.
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
from model.bundling.store import NetworkConfig, read_network_config, replace_folder, write_bundle
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
from model.network.finding_head import FINDING_HEAD_FILE
from model.network.qkv import fuse_attention
from model.network.weights import (
    SHARD_BYTES,
    build_meta_network,
    check_keys,
    load_weights,
    read_index,
    read_tensors,
    refuse_pickled,
    weight_dtype,
)
from model.progress import ProgressCallback, no_progress
from model.prompting.prompt import get_template, instruction_without_priors

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_PATTERNS = ["*.json", "*.safetensors"]
"""Files that are fetched of a model on the hub; pickled weights are not."""


@dataclass(frozen=True)
class BundleSource:
    """Where the weights of a bundle come from.

    Attributes:
        folder: The folder with the files.
        name: The name of the base model.
        revision: The revision of the base model, or "" where it is not known.
        network_config: Configuration and tokenizers of the network.
        preprocessing: How an image becomes pixels.
        manifest: The manifest, where the source is a bundle.
    """

    folder: Path
    name: str
    revision: str
    network_config: NetworkConfig
    preprocessing: Preprocessing
    manifest: Manifest | None


@dataclass(frozen=True)
class BundleDescription:
    """What a person states about a new bundle. None takes the value of a source that is a bundle.

    Attributes:
        name: The bundle's name.
        version: The bundle's version.
        templates: The templates that it was trained with; the first one is served.
        licence: The licence.
        notice: Why it must not be used on patients, which makes it a demonstration.
        base_model: The name of the base model.
        training: How it was trained.
        scores: Its scores.
        max_new_tokens: Longest draft, in tokens.
        max_instruction_tokens: Longest instruction, in tokens.
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
    description: BundleDescription,
    *,
    adapters: Sequence[Path] = (),
    revision: str | None = None,
    download: bool = False,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    extra_files: Sequence[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Make a bundle; an old one in its place stays until the new one is complete.

    Args:
        out: The bundle's folder.
        source: A folder, a shipped bundle's name, or a name on the hub.
        description: Name, version and what else a person states about it.
        adapters: Folders of adapters, merged in this order.
        revision: The revision of the source.
        download: Whether files of the hub that are not in its cache are fetched.
        dtype: Number format of the weights on disk, as in `weight_dtype`; None keeps that of each
            weight (float32 where adapters are merged).
        shard_bytes: Largest file of weights.
        overwrite: Whether a bundle at `out` may be replaced.
        extra_files: Files for people that are copied into the bundle.
        progress: Is called with what is done, in bytes or adapters.

    Raises:
        BundleError: The source, an adapter or the description cannot be used, or there is
            something at `out`.
    """
    check_target(out, overwrite)
    base = resolve_source(str(source), revision, download, progress)
    manifest = build_manifest(base, description)
    if adapters:
        # The head was fitted to the query outputs of the base, which the adapters change.
        manifest = replace(manifest, finding_head={}, classifier="")
    elif manifest.finding_head:
        extra_files = [*extra_files, base.folder / FINDING_HEAD_FILE]
    network = build_meta_network(base.network_config.config)
    stored = check_keys(network, read_index(base.folder))
    merged: list[dict[str, Any]] = []
    if adapters:
        load_weights(network, read_index(base.folder), torch.float32, torch.device("cpu"), progress)
        for number, adapter in enumerate(adapters):
            progress("merging", number, len(adapters))
            network, entry = merge_adapter(network, adapter)
            merged.append(entry)
        fuse_attention(network)
        weights = dict(network.named_parameters())
        dtypes = {name: weight.dtype for name, weight in weights.items()}
        tensors: Iterator[tuple[str, torch.Tensor]] = iter(weights.items())
    else:
        # Grouped by file, in the order in which `read_tensors` yields them.
        paths = dict.fromkeys(tensor.path for tensor in stored.values())
        stored = {
            n: tensor for path in paths for n, tensor in stored.items() if tensor.path == path
        }
        dtypes = {name: tensor.dtype for name, tensor in stored.items()}
        tensors = read_tensors(stored)
    if dtype is not None:
        dtypes = {name: weight_dtype(network, name, dtype) for name in dtypes}
    sizes = {n: network.get_parameter(n).numel() * kind.itemsize for n, kind in dtypes.items()}
    _check_free_space(out, sum(sizes.values()))
    try:
        with replace_folder(out) as fresh:
            return write_bundle(
                fresh,
                replace(manifest, adapters=(*manifest.adapters, *merged)),
                base.network_config,
                sizes,
                ((name, _cast(name, tensor, dtypes[name])) for name, tensor in tensors),
                shard_bytes=shard_bytes,
                extra_files=extra_files,
                progress=progress,
            )
    except OSError as error:
        raise BundleError(f"{out} cannot be written: {error.strerror or error}") from error


def resolve_source(
    source: str,
    revision: str | None = None,
    download: bool = False,
    progress: ProgressCallback = no_progress,
) -> BundleSource:
    """Return a source with everything but its weights.

    Raises:
        BundleError: The source does not exist, holds pickled files, or has a network that this
            software cannot load.
    """
    folder = resolve(source)
    if source in SHIPPED or (folder / MANIFEST).is_file():
        manifest = verify(folder, progress)
        network_config = read_network_config(folder, folder / "language", folder / "asking")
        return BundleSource(
            folder,
            manifest.base_model,
            manifest.base_revision,
            network_config,
            manifest.preprocessing,
            manifest,
        )
    if folder.is_dir():
        refuse_pickled(folder)
        name, commit = folder.resolve().name, revision or ""
    elif HUB_NAME.fullmatch(source):
        folder = _snapshot(source, revision, download)
        name, commit = source, folder.name
    else:
        raise BundleError(f"there is no folder {folder}, and no model on the hub has such a name")
    network_config = read_network_config(folder, folder, folder / "qformer_tokenizer")
    preprocessing = _read_preprocessing(folder, network_config)
    return BundleSource(folder, name, commit, network_config, preprocessing, None)


def build_manifest(source: BundleSource, description: BundleDescription) -> Manifest:
    """Return the manifest of a bundle from this source; it does not list files yet.

    Raises:
        BundleError: Neither description nor source has a value that is needed, or a template does
            not fit the network.
    """
    old = source.manifest
    templates = description.templates or (() if old is None else (old.template, *old.templates))
    licence = description.licence or ("" if old is None else old.licence)
    for value, option in ((templates, "--template"), (licence, "--licence")):
        if not value:
            raise BundleError(f"{source.folder} has no value of its own for this: give {option}")
    network_config = source.network_config
    positions = network_config.config.qformer_config.max_position_embeddings
    start = old or Manifest("", "", "", "", "", source.preprocessing, "", demonstration=False)
    max_tokens = description.max_instruction_tokens or start.max_instruction_tokens
    if max_tokens > positions:
        raise BundleError(f"the Q-Former reads at most {positions} tokens, fewer than {max_tokens}")
    for template in templates:
        get_template(template)
        tokens = max(
            len(tokenizer(instruction_without_priors(template))["input_ids"])
            for tokenizer in (network_config.language_tokenizer, network_config.qformer_tokenizer)
        )
        if tokens > max_tokens:
            raise BundleError(
                f"the template {template!r} has {tokens} tokens without any prior, but the bundle "
                f"would read {max_tokens}: give --max-instruction-tokens {tokens} or more"
            )
    return replace(
        start,
        name=description.name,
        version=description.version,
        base_model=description.base_model or source.name,
        base_revision=source.revision,
        template=templates[0],
        templates=tuple(templates[1:]),
        licence=licence,
        demonstration=start.demonstration
        if description.notice is None
        else bool(description.notice),
        notice=start.notice if description.notice is None else description.notice,
        training=start.training if description.training is None else description.training,
        scores=start.scores if description.scores is None else description.scores,
        max_new_tokens=description.max_new_tokens or start.max_new_tokens,
        max_instruction_tokens=max_tokens,
    )


def _snapshot(name: str, revision: str | None, download: bool) -> Path:
    """Return the folder of a model of the hub, in the hub's cache on this machine."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=HUB_PATTERNS,
                local_files_only=not download,
            )
        )
    except LocalEntryNotFoundError as error:
        if download:
            raise BundleError(
                f"{name} cannot be fetched from the hub: it does not answer"
            ) from error
        raise BundleError(
            f"{name} is neither a folder nor in the hub's cache on this machine; --download "
            "fetches it (Salesforce/instructblip-flan-t5-xl: about 16 GB)"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise BundleError(f"{name} cannot be fetched from the hub: {error}") from error


def _read_preprocessing(folder: Path, network_config: NetworkConfig) -> Preprocessing:
    """Read the preprocessing from a folder of transformers; the size is the network's own."""
    for file_name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / file_name
        if not path.is_file():
            continue
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            config = config.get("image_processor", config)
            if "image_mean" not in config:
                continue
            mean, std = (tuple(map(float, config[key])) for key in ("image_mean", "image_std"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} does not say how an image is prepared") from error
        if len(mean) == len(std) == 3 and all(std):
            size = int(network_config.config.vision_config.image_size)
            return Preprocessing(size, mean, std)
        raise BundleError(f"{path} does not say how an image is prepared")
    raise BundleError(
        f"{folder} has no preprocessor_config.json with image_mean and image_std: copy it there "
        "from the base model"
    )


def check_target(out: Path, overwrite: bool) -> None:
    """Check that a bundle may be written there: `out` is free, or has a bundle to overwrite.

    Raises:
        BundleError: `out` is a folder of another kind, or a bundle that must not be overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise BundleError(f"{out} exists and is not a bundle: name another folder")
    if not overwrite:
        old = read_manifest(out)
        raise BundleError(
            f"{out} already holds {old.name} {old.version}: name another folder, or --replace it"
        )


def _check_free_space(out: Path, needed: int) -> None:
    parent = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise BundleError(
            f"{parent} has {free / 1e9:.1f} GB free, the bundle needs {needed / 1e9:.1f} GB"
        )


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.detach().to(dtype)
    if not torch.isfinite(cast).all():
        raise BundleError(
            f"{name} has values that {str(dtype).removeprefix('torch.')} cannot hold, or that are "
            "not numbers: choose another precision, or check the training"
        )
    return cast

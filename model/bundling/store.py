"""Reads a bundle's network and tokenizers from disk, and writes them.

<bundle>/manifest.json            what it is, and the SHA-256 of every other file
<bundle>/config.json              transformers' configuration of the network
<bundle>/generation_config.json   what plain transformers generates with
<bundle>/model*.safetensors       weights, in one file or several with an index; never pickled
<bundle>/language/                T5's tokenizer
<bundle>/asking/                  the Q-Former's tokenizer
<bundle>/finding_head.safetensors the finding head, where the bundle has one
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import GenerationConfig, InstructBlipConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from model.errors import BundleError, DeviceError
from model.manifest import Manifest, resolve, verify, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.network.finding_head import FindingHead
from model.network.qkv import fused_parameters
from model.network.weights import (
    HEAD,
    SHARD_BYTES,
    build_meta_network,
    check_keys,
    load_weights,
    read_index,
    save_weights,
)
from model.progress import ProgressCallback, no_progress

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")

# A progress bar for a second of loading only litters a worker's log.
transformers_logging.disable_progress_bar()


def choose_device(device: str | None) -> torch.device:
    """Return the device by name; None takes the first GPU, or the CPU where there is none.

    Raises:
        DeviceError: There is no device of that name here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch_device = torch.device(device)
        torch.empty(1, device=torch_device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"no device {device!r} on this machine: {error}") from error
    return torch_device


# ---- From disk ----


def load_bundle(
    bundle: str | Path,
    device: torch.device,
    dtype: torch.dtype | None = None,
    progress: ProgressCallback = no_progress,
) -> tuple[ClinicalBLIP, Manifest]:
    """Verify a bundle and load it for drafting: float16 on a GPU, float32 on a CPU.

    Args:
        bundle: A shipped bundle's name, or a folder.
        device: Where the network goes.
        dtype: Another number format.
        progress: Is called with "checking" and "loading", both in bytes.

    Raises:
        BundleError: The bundle is missing or changed, or its weights do not fit its configuration.
        DeviceError: The device has no room for it.
    """
    folder = resolve(bundle)
    manifest = verify(folder, progress)
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    network_config = read_network_config(folder, folder / "language", folder / "asking")
    network = build_meta_network(network_config.config)
    try:
        load_weights(network, read_index(folder), dtype, device, progress)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} has no room for the bundle {manifest.name}") from error
    if network_config.generation is not None:
        network.generation_config = network_config.generation
    model = ClinicalBLIP(
        network,
        network_config.language_tokenizer,
        network_config.qformer_tokenizer,
        manifest.preprocessing,
        manifest.max_instruction_tokens,
        load_finding_head(folder, manifest, network_config.config, device),
    )
    return model.eval(), manifest


def load_finding_head(
    folder: Path, manifest: Manifest, config: InstructBlipConfig, device: torch.device
) -> FindingHead | None:
    """Read a bundle's finding head, in float32; None where it has none.

    Raises:
        BundleError: It cannot be read, or does not fit the network.
    """
    if not manifest.finding_head:
        return None
    observations = tuple(map(str, manifest.finding_head.get("observations", ())))
    head = FindingHead.load(folder, config.qformer_config.hidden_size, observations)
    return head.to(device)


def check_bundle(bundle: str | Path, progress: ProgressCallback = no_progress) -> Manifest:
    """Check files, keys and tokenizers as `load_bundle` does, without reading the weights.

    Raises:
        BundleError: As `load_bundle`.
    """
    folder = resolve(bundle)
    manifest = verify(folder, progress)
    network_config = read_network_config(folder, folder / "language", folder / "asking")
    check_keys(build_meta_network(network_config.config), read_index(folder))
    load_finding_head(folder, manifest, network_config.config, torch.device("cpu"))
    return manifest


@dataclass(frozen=True)
class NetworkConfig:
    """Everything of a network on disk but its weights."""

    config: InstructBlipConfig
    language_tokenizer: PreTrainedTokenizerFast
    qformer_tokenizer: PreTrainedTokenizerFast
    generation: GenerationConfig | None


def read_network_config(folder: Path, language: Path, qformer: Path) -> NetworkConfig:
    """Read the configuration of a network and its tokenizers; nothing is downloaded.

    Args:
        folder: The folder with config.json.
        language: The folder with T5's tokenizer.
        qformer: The folder with the Q-Former's tokenizer.

    Raises:
        BundleError: One of them cannot be read, or they do not belong together.
    """
    for path in (folder / "config.json", language / "tokenizer.json", qformer / "tokenizer.json"):
        if not path.is_file():
            raise BundleError(f"{folder} holds no network that this software can load: no {path}")
    try:
        config = InstructBlipConfig.from_pretrained(folder, local_files_only=True)
        network_config = NetworkConfig(
            config,
            PreTrainedTokenizerFast.from_pretrained(language, local_files_only=True),
            PreTrainedTokenizerFast.from_pretrained(qformer, local_files_only=True),
            GenerationConfig.from_pretrained(folder, local_files_only=True)
            if (folder / "generation_config.json").is_file()
            else None,
        )
    except Exception as error:  # transformers raises anything on a damaged file
        raise BundleError(
            f"{folder} holds no network that this software can load: {error}"
        ) from error
    _check_network_config(folder, network_config)
    return network_config


def _check_network_config(folder: Path, network_config: NetworkConfig) -> None:
    config = network_config.config
    language, qformer = network_config.language_tokenizer, network_config.qformer_tokenizer
    text, image = config.text_config, config.image_token_index
    for is_wrong, fault in (
        (config.model_type != "instructblip", "config.json is of another kind of model"),
        (len(language) > text.vocab_size, "T5's tokenizer has more words than T5"),
        (
            len(qformer) > config.qformer_config.vocab_size,
            "the Q-Former's tokenizer has more words than it",
        ),
        (image is None or not 0 <= image < text.vocab_size, "no image_token_index in config.json"),
        (language.pad_token_id is None, "T5's tokenizer has no padding token"),
        (language.eos_token_id is None, "T5's tokenizer has no end of text"),
        (qformer.pad_token_id is None, "the Q-Former's tokenizer has no padding token"),
    ):
        if is_wrong:
            raise BundleError(f"{folder} holds no network that this software can load: {fault}")


# ---- To disk ----


def save_bundle(
    folder: Path,
    model: ClinicalBLIP,
    manifest: Manifest,
    *,
    shard_bytes: int = SHARD_BYTES,
    extra_files: Iterable[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Write a bundle, replacing what was there.

    Query, key and value are written as one fused layer.

    Args:
        folder: The bundle's folder.
        model: The network with its tokenizers.
        manifest: The manifest; its hashes and library versions are filled in.
        shard_bytes: Largest file of weights.
        extra_files: Files for people, as a model card or a plot, that are copied into the bundle.
        progress: Is called with "writing" and "hashing", in bytes.

    Returns:
        The manifest as written.
    """
    network = model.network
    parts = fused_parameters(network)
    # T5's head is written even where transformers 5 shares it with the embeddings.
    parts.setdefault(HEAD, (network.get_output_embeddings().weight,))
    with replace_folder(folder) as fresh:
        return write_bundle(
            fresh,
            manifest,
            NetworkConfig(
                model.config,
                model.language_tokenizer,
                model.qformer_tokenizer,
                network.generation_config,
            ),
            {name: sum(part.nbytes for part in split) for name, split in parts.items()},
            ((n, torch.cat(split) if len(split) > 1 else split[0]) for n, split in parts.items()),
            shard_bytes=shard_bytes,
            extra_files=extra_files,
            progress=progress,
        )


def write_bundle(
    fresh: Path,
    manifest: Manifest,
    network_config: NetworkConfig,
    sizes: Mapping[str, int],
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    shard_bytes: int = SHARD_BYTES,
    extra_files: Iterable[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Write a bundle's files into an empty folder; `sizes` and `tensors` as in `save_weights`."""
    config = deepcopy(network_config.config)
    # transformers 5 writes that the head is shared, whatever it read, and other versions obey.
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    config.architectures = ["InstructBlipForConditionalGeneration"]
    config.save_pretrained(fresh)
    if network_config.generation is not None:
        network_config.generation.save_pretrained(fresh)
    for tokenizer, folder in (
        (network_config.language_tokenizer, "language"),
        (network_config.qformer_tokenizer, "asking"),
    ):
        # The truncation and padding of the last text do not belong to the tokenizer.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.save_pretrained(fresh / folder)
    save_weights(fresh, sizes, tensors, shard_bytes, progress)
    for path in extra_files:
        shutil.copy(path, fresh / path.name)
    for path in fresh.rglob("*"):
        # Some files are written readable for their owner only, but a worker may be another user.
        path.chmod(0o755 if path.is_dir() else 0o644)
    return write_manifest(
        fresh, replace(manifest, libraries={name: version(name) for name in LIBRARIES}), progress
    )


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `folder` when the block ends without an error.

    A reader sees the old folder or the new one, except in the moment between two renames. If the
    block fails, the old folder stays as it was, and the new one is removed.
    """
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)


def fsync_tree(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def fsync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

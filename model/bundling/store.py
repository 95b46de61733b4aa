"""A bundle's network and tokenizers, from disk and to disk. Knows no cases and no drafting.

<bundle>/manifest.json            what it is, and the SHA-256 of every other file
<bundle>/config.json              transformers' configuration of the network
<bundle>/generation_config.json   what plain transformers generates with
<bundle>/model*.safetensors       weights, in one file or several with an index; never pickled
<bundle>/language/                T5's tokenizer
<bundle>/asking/                  the Q-Former's tokenizer
"""

from __future__ import annotations

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
from model.network.qkv import folded_names
from model.network.weights import (
    HEAD,
    SHARD_BYTES,
    check_keys,
    load_weights,
    read_index,
    save_weights,
    skeleton,
)
from model.progress import ProgressCallback, no_progress

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")

# A bar for a second's loading only litters a worker's log.
transformers_logging.disable_progress_bar()


def choose_device(device: str | None) -> torch.device:
    """The device by name; None takes the first GPU where there is one.

    Raises:
        DeviceError: there is no device of that name here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"no device {device!r} on this machine: {error}") from error
    return chosen


# ---- From disk ----


def load_bundle(
    bundle: str | Path,
    device: torch.device,
    dtype: torch.dtype | None = None,
    progress: ProgressCallback = no_progress,
) -> tuple[ClinicalBLIP, Manifest]:
    """Verify a bundle and load it for drafting: float16 on a GPU, float32 on a CPU.

    progress: is called with "checking" and "loading", both in bytes.

    Raises:
        BundleError: missing, changed, or its weights are not those of its configuration.
        DeviceError: the device has no room for it.
    """
    folder = resolve(bundle)
    manifest = verify(folder, progress)
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    words = read_words(folder, folder / "language", folder / "asking")
    network = skeleton(words.config)
    try:
        load_weights(network, read_index(folder), dtype, device, progress)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} has no room for the bundle {manifest.name}") from error
    if words.generation is not None:
        network.generation_config = words.generation
    model = ClinicalBLIP(
        network,
        words.language,
        words.asking,
        manifest.preprocessing,
        manifest.max_instruction_tokens,
    )
    return model.eval(), manifest


def check_bundle(bundle: str | Path, progress: ProgressCallback = no_progress) -> Manifest:
    """All that `load_bundle` looks at, without the weights' memory: files, keys, tokenizers.

    Raises:
        BundleError: as `load_bundle`.
    """
    folder = resolve(bundle)
    manifest = verify(folder, progress)
    words = read_words(folder, folder / "language", folder / "asking")
    check_keys(skeleton(words.config), read_index(folder))
    return manifest


@dataclass(frozen=True)
class Words:
    """What a network is beside its weights."""

    config: InstructBlipConfig
    language: PreTrainedTokenizerFast
    asking: PreTrainedTokenizerFast
    generation: GenerationConfig | None


def read_words(folder: Path, language: Path, asking: Path) -> Words:
    """Configuration of a network's folder, and its tokenizers; nothing is downloaded.

    Raises:
        BundleError: one of them cannot be read, or they do not belong together.
    """
    for path in (folder / "config.json", language / "tokenizer.json", asking / "tokenizer.json"):
        if not path.is_file():
            raise BundleError(f"{folder} holds no network that this software can load: no {path}")
    try:
        config = InstructBlipConfig.from_pretrained(folder, local_files_only=True)
        words = Words(
            config,
            PreTrainedTokenizerFast.from_pretrained(language, local_files_only=True),
            PreTrainedTokenizerFast.from_pretrained(asking, local_files_only=True),
            GenerationConfig.from_pretrained(folder, local_files_only=True)
            if (folder / "generation_config.json").is_file()
            else None,
        )
    except Exception as error:  # whatever a strange file makes of transformers
        raise BundleError(
            f"{folder} holds no network that this software can load: {error}"
        ) from error
    _check_words(folder, words)
    return words


def _check_words(folder: Path, words: Words) -> None:
    text, asked = words.config.text_config, words.config.qformer_config
    image = words.config.image_token_index
    for wrong, said in (
        (words.config.model_type != "instructblip", "config.json is of another kind of model"),
        (len(words.language) > text.vocab_size, "T5's tokenizer has more words than T5"),
        (len(words.asking) > asked.vocab_size, "the Q-Former's tokenizer has more words than it"),
        (image is None or not 0 <= image < text.vocab_size, "no image_token_index in config.json"),
        (words.language.pad_token_id is None, "T5's tokenizer has no padding token"),
        (words.language.eos_token_id is None, "T5's tokenizer has no end of text"),
        (words.asking.pad_token_id is None, "the Q-Former's tokenizer has no padding token"),
    ):
        if wrong:
            raise BundleError(f"{folder} holds no network that this software can load: {said}")


# ---- To disk ----


def save_bundle(
    folder: Path,
    model: ClinicalBLIP,
    manifest: Manifest,
    *,
    shard_bytes: int = SHARD_BYTES,
    beside: Iterable[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Write the bundle, replacing what was there; the manifest with its hashes and versions.

    Query, key and value that are apart are written as the one layer that they were. beside: files
    for people, a model card or a plot, that go into the bundle as they are.
    """
    network = model.network
    parts = folded_names(network)
    # Where transformers 5 shares T5's head with the embeddings, it is written all the same.
    parts.setdefault(HEAD, (network.get_output_embeddings().weight,))
    with replacing(folder) as fresh:
        return write_bundle(
            fresh,
            manifest,
            Words(model.config, model.language, model.asking, network.generation_config),
            {name: sum(part.nbytes for part in each) for name, each in parts.items()},
            ((name, torch.cat(e) if len(e) > 1 else e[0]) for name, e in parts.items()),
            shard_bytes=shard_bytes,
            beside=beside,
            progress=progress,
        )


def write_bundle(
    fresh: Path,
    manifest: Manifest,
    words: Words,
    sizes: Mapping[str, int],
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    shard_bytes: int = SHARD_BYTES,
    beside: Iterable[Path] = (),
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Write a bundle's files into an empty folder; sizes, tensors: as `save_weights`."""
    config = deepcopy(words.config)
    # transformers 5 says that the head is shared, whatever it read; others believe it.
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    config.architectures = ["InstructBlipForConditionalGeneration"]
    config.save_pretrained(fresh)
    if words.generation is not None:
        words.generation.save_pretrained(fresh)
    for tokenizer, folder in ((words.language, "language"), (words.asking, "asking")):
        # How the last text before was cut and padded is not the tokenizer's.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.save_pretrained(fresh / folder)
    save_weights(fresh, sizes, tensors, shard_bytes, progress)
    for path in beside:
        shutil.copy(path, fresh / path.name)
    for path in fresh.rglob("*"):
        # Some are written so that only their owner may read them; a worker is somebody else.
        path.chmod(0o755 if path.is_dir() else 0o644)
    return write_manifest(
        fresh, replace(manifest, libraries={name: version(name) for name in LIBRARIES}), progress
    )


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` once the block has ended well.

    A reader sees the old one or the new one, but for the moment between two renames; a block that
    fails leaves the old one as it was, and nothing else.
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

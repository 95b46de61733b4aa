"""A bundle's weights and tokenizers, from disk and to disk. Knows no cases and no drafting.

<bundle>/manifest.json        what it is, and the SHA-256 of every other file
<bundle>/config.json          transformers' configuration of the network
<bundle>/model.safetensors    weights; nothing pickled is ever read or written
<bundle>/language/            T5's tokenizer
<bundle>/asking/              the Q-Former's tokenizer
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import InstructBlipForConditionalGeneration, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from model.clinicalblip import ClinicalBLIP
from model.errors import BundleError, DeviceError
from model.manifest import Manifest, resolve, verify, write_manifest

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
HEAD = "language_model.lm_head.weight"

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


def load_bundle(
    bundle: str | Path, device: torch.device, dtype: torch.dtype | None = None
) -> tuple[ClinicalBLIP, Manifest]:
    """Verify a bundle and load it for drafting: float16 on a GPU, float32 on a CPU.

    Raises:
        BundleError: missing, changed, or its weights are not those of its configuration.
        DeviceError: the device has no room for it.
    """
    folder = resolve(bundle)
    manifest = verify(folder)
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    try:
        # Through `dtype` here, and not by .half() later, T5's `wo` and the query tokens stay
        # float32; in float16 they overflow.
        network = InstructBlipForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
        language = load_tokenizer(folder / "language")
        asking = load_tokenizer(folder / "asking")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BundleError(
            f"{folder} holds no network that this software can load: {error}"
        ) from error
    try:
        network.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} has no room for the bundle {manifest.name}") from error
    model = ClinicalBLIP(
        network, language, asking, manifest.preprocessing, manifest.max_instruction_tokens
    )
    return model.eval(), manifest


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer saved by `save_bundle`."""
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def save_bundle(folder: Path, model: ClinicalBLIP, manifest: Manifest) -> Manifest:
    """Write the bundle, replacing what was there; the manifest with its hashes and versions.

    A reader sees the old bundle or the new one, but for the moment between two renames.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    network = model.network
    # transformers 5 shares T5's head with its embeddings whatever the configuration says, and saves
    # it once; others believe the configuration. So the head is written out and said to be untied.
    network.config.tie_word_embeddings = network.config.text_config.tie_word_embeddings = False
    weights = network.state_dict()
    weights[HEAD] = weights[HEAD].clone()
    network.save_pretrained(fresh, state_dict=weights)
    model.language.save_pretrained(fresh / "language")
    model.asking.save_pretrained(fresh / "asking")
    for path in fresh.rglob("*"):
        # transformers writes weights that only their owner may read; a worker is somebody else.
        path.chmod(0o755 if path.is_dir() else 0o644)
    written = write_manifest(
        fresh, replace(manifest, libraries={name: version(name) for name in LIBRARIES})
    )
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)
    return written

"""LoRA adapters of peft, merged into a network. Knows no bundles and no training.

An adapter's folder has adapter_config.json and adapter_model.safetensors as peft saves them, and
may have whole.safetensors: weights that were trained in full and that peft has no place for (the
query tokens), by the network's own names; or that alone, where no adapter was trained. Adapters on
query, key or value of the ViT find them apart (model.network.qkv).
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import InstructBlipForConditionalGeneration

from model.errors import BundleError
from model.network.qkv import PARTS, fold_back, split_attention
from model.network.weights import refuse_pickled

CONFIG, WEIGHTS, WHOLE = "adapter_config.json", "adapter_model.safetensors", "whole.safetensors"
_APART = re.compile(rf"\.qkv\.({'|'.join(PARTS)})\.")


def merge_adapter(
    network: InstructBlipForConditionalGeneration, folder: Path
) -> tuple[InstructBlipForConditionalGeneration, dict[str, Any]]:
    """Merge one adapter into the network, in the network's number format.

    Returns:
        The network, and what a manifest says of the adapter.

    Raises:
        BundleError: it is no LoRA adapter, not for this network, or not to be read safely.
    """
    if not folder.is_dir():
        raise BundleError(f"there is no adapter at {folder}")
    refuse_pickled(folder)
    present = [name for name in (CONFIG, WEIGHTS, WHOLE) if (folder / name).is_file()]
    said: dict[str, Any] = {}
    if present != [WHOLE]:
        for name in (CONFIG, WEIGHTS):
            if name not in present:
                raise BundleError(f"{folder} holds no {name}: save it with peft's save_pretrained")
        said = _read_config(folder / CONFIG)
        keys = _keys(folder / WEIGHTS)
        if any(_APART.search(key) for key in keys):
            split_attention(network)
        else:
            fold_back(network)
        network = _merged(network, folder, keys)
    if WHOLE in present:
        _put_whole(network, folder / WHOLE)
    digest = hashlib.sha256()
    for name in present:
        digest.update((folder / name).read_bytes())
    targets = said.get("target_modules")
    return network, {
        "name": folder.resolve().name,
        "sha256": digest.hexdigest(),
        "rank": said.get("r"),
        "alpha": said.get("lora_alpha"),
        "targets": sorted(targets) if isinstance(targets, list) else targets,
    }


def _read_config(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind = said["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is not the configuration of an adapter") from error
    if kind != "LORA":
        raise BundleError(f"{path} is of a {kind} adapter; only LORA is merged here")
    kept: dict[str, Any] = said
    return kept


def _keys(path: Path) -> set[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a whole safetensors file: {error}") from error


def _merged(
    network: InstructBlipForConditionalGeneration, folder: Path, keys: set[str]
) -> InstructBlipForConditionalGeneration:
    # Imported here: what serves never needs peft.
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with warnings.catch_warnings():
            # What peft warns of, keys that it did not find, is an error below.
            warnings.simplefilter("ignore")
            wrapped = PeftModel.from_pretrained(network, folder, local_files_only=True)
            taken = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
            strange, missing = sorted(keys - taken), sorted(taken - keys)
            if strange or missing:
                what = f"{strange[0]} is not" if strange else f"{missing[0]} is missing"
                raise BundleError(
                    f"{folder} is not an adapter of this network: {what} "
                    f"({len(strange)} unexpected and {len(missing)} missing keys)"
                )
            merged: InstructBlipForConditionalGeneration = wrapped.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise BundleError(f"{folder} is not an adapter of this network: {error}") from error
    return merged.eval()


def _put_whole(network: InstructBlipForConditionalGeneration, path: Path) -> None:
    mine = dict(network.named_parameters())
    fused = {name: parameter for name, parameter in mine.items() if not _APART.search(name)}
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name in file.keys():  # noqa: SIM118  it is no dictionary
                shape = tuple(file.get_slice(name).get_shape())
                if name not in fused or tuple(fused[name].shape) != shape:
                    raise BundleError(f"{path}: {name} {shape} is no weight of this network")
                fused[name].copy_(file.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a whole safetensors file: {error}") from error

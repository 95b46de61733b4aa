"""Merges LoRA adapters of peft into a network.

An adapter's folder has adapter_config.json and adapter_model.safetensors as peft saves them. It may
also have whole.safetensors, or that alone where no adapter was trained: weights that were trained
in full and that peft cannot save (the query tokens), by the network's own names. For adapters on
query, key or value of the ViT these three are split first (model.network.qkv).
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
from model.network.qkv import PROJECTIONS, fuse_attention, split_attention
from model.network.weights import refuse_pickled

CONFIG, WEIGHTS, FULL_WEIGHTS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "whole.safetensors",
)
_SPLIT_NAME = re.compile(rf"\.qkv\.({'|'.join(PROJECTIONS)})\.")


def merge_adapter(
    network: InstructBlipForConditionalGeneration, folder: Path
) -> tuple[InstructBlipForConditionalGeneration, dict[str, Any]]:
    """Merge one adapter into the network, in the network's number format.

    Returns:
        The network, and the adapter's entry for a manifest.

    Raises:
        BundleError: The folder has no LoRA adapter, or one that is not for this network or cannot
            be read safely.
    """
    if not folder.is_dir():
        raise BundleError(f"there is no adapter at {folder}")
    refuse_pickled(folder)
    present = [name for name in (CONFIG, WEIGHTS, FULL_WEIGHTS) if (folder / name).is_file()]
    config: dict[str, Any] = {}
    if present != [FULL_WEIGHTS]:
        for name in (CONFIG, WEIGHTS):
            if name not in present:
                raise BundleError(
                    f"{folder} does not hold {name}: save it with peft's save_pretrained"
                )
        config = _read_config(folder / CONFIG)
        keys = _read_keys(folder / WEIGHTS)
        if any(_SPLIT_NAME.search(key) for key in keys):
            split_attention(network)
        else:
            fuse_attention(network)
        network = _merge(network, folder, keys)
    if FULL_WEIGHTS in present:
        _load_full_weights(network, folder / FULL_WEIGHTS)
    digest = hashlib.sha256()
    for name in present:
        digest.update((folder / name).read_bytes())
    targets = config.get("target_modules")
    return network, {
        "name": folder.resolve().name,
        "sha256": digest.hexdigest(),
        "rank": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "targets": sorted(targets) if isinstance(targets, list) else targets,
    }


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is not the configuration of an adapter") from error
    if kind != "LORA":
        raise BundleError(f"{path} belongs to a {kind} adapter; only LORA is merged here")
    return config


def _read_keys(path: Path) -> set[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a whole safetensors file: {error}") from error


def _merge(
    network: InstructBlipForConditionalGeneration, folder: Path, keys: set[str]
) -> InstructBlipForConditionalGeneration:
    # Imported here, because drafting never needs peft.
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with warnings.catch_warnings():
            # peft warns of missing keys, which are an error below.
            warnings.simplefilter("ignore")
            wrapped = PeftModel.from_pretrained(network, folder, local_files_only=True)
            expected = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
            unexpected, missing = sorted(keys - expected), sorted(expected - keys)
            if unexpected or missing:
                fault = f"{unexpected[0]} is not" if unexpected else f"{missing[0]} is missing"
                raise BundleError(
                    f"{folder} is not an adapter of this network: {fault} "
                    f"({len(unexpected)} unexpected and {len(missing)} missing keys)"
                )
            merged: InstructBlipForConditionalGeneration = wrapped.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise BundleError(f"{folder} is not an adapter of this network: {error}") from error
    return merged.eval()


def _load_full_weights(network: InstructBlipForConditionalGeneration, path: Path) -> None:
    fused = {n: weight for n, weight in network.named_parameters() if not _SPLIT_NAME.search(n)}
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name in file.keys():  # noqa: SIM118  it is not a dictionary
                shape = tuple(file.get_slice(name).get_shape())
                if name not in fused or tuple(fused[name].shape) != shape:
                    raise BundleError(f"{path}: {name} {shape} is not a weight of this network")
                fused[name].copy_(file.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a whole safetensors file: {error}") from error

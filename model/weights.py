"""The network's parameters by name: made without memory, then filled one at a time.

A network is built on torch's meta device, where it takes no memory; then each parameter is made on
its own device in its own number format, from a file or at random, and nothing is held twice. Knows
no manifests and no tokenizers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from model.errors import BundleError, DeviceError

HEAD = "language_model.lm_head.weight"
EMBEDDINGS = "language_model.shared.weight"
ALIASES = (
    "language_model.encoder.embed_tokens.weight",
    "language_model.decoder.embed_tokens.weight",
)
"""Other names of the embeddings; files may hold them too, and they are read once."""
NAMED = 5
"""Keys that an error names before it counts the rest."""

Told = Callable[[str, float], None]


def skeleton(config: InstructBlipConfig) -> InstructBlipForConditionalGeneration:
    """The network without memory, T5's head apart from its embeddings as in the published model.

    transformers 5 shares the two whatever the configuration says: 32,128 x 2,048 short.
    """
    with torch.device("meta"):
        network = InstructBlipForConditionalGeneration(config)
        head = network.language_model.lm_head
        head.weight = nn.Parameter(torch.empty_like(head.weight))
    untie(network)
    return network.eval()


def untie(network: InstructBlipForConditionalGeneration) -> None:
    """Say in the configuration that the head is a matrix of its own: others believe it."""
    for config in (network.config, network.config.text_config, network.language_model.config):
        config.tie_word_embeddings = False


def kept_wide(name: str) -> bool:
    """Whether a parameter stays float32 beside half precision: it would overflow there.

    T5's `wo` gives values beyond float16 in the trained model, and the query tokens are added to.
    """
    return name == "query_tokens" or name.endswith(".DenseReluDense.wo.weight")


def format_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """The number format of a parameter in a network of `dtype`."""
    narrow = dtype in (torch.float16, torch.bfloat16)
    return torch.float32 if narrow and kept_wide(name) else dtype


def parts(network: nn.Module) -> dict[str, int]:
    """How many parameters each part has; together all of them, none twice."""
    counts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        counts[_part(name)] += parameter.numel()
    return dict(counts)


def _part(name: str) -> str:
    if name == HEAD:
        return "T5 head"
    if name == EMBEDDINGS:
        return "T5 embeddings"
    first, second = name.split(".")[:2] if "." in name else (name, "")
    if first == "language_model":
        return f"T5 {second}"
    return {
        "vision_model": "ViT",
        "qformer": "Q-Former",
        "language_projection": "projection",
        "query_tokens": "query tokens",
    }[first]


def fill(
    network: InstructBlipForConditionalGeneration,
    device: torch.device,
    dtype: torch.dtype,
    tensor_of: Callable[[str, nn.Parameter], torch.Tensor],
    names: Iterable[str] | None = None,
) -> None:
    """Give the parameters of a skeleton memory and values, one after another.

    tensor_of: called with a name and its shape on the meta device; what it gives is moved and
    converted. names: in this order; all, if None.
    """
    parameters = dict(network.named_parameters())
    for name in names if names is not None else parameters:
        value = tensor_of(name, parameters[name])
        value = value.to(device=device, dtype=format_of(name, dtype))
        _put(network, name, value)
    _share_embeddings(network)
    _fill_buffers(network, device)


def _put(network: nn.Module, name: str, value: torch.Tensor) -> None:
    owner, _, last = name.rpartition(".")
    parameter = nn.Parameter(value, requires_grad=value.is_floating_point())
    setattr(network.get_submodule(owner), last, parameter)


def _share_embeddings(network: InstructBlipForConditionalGeneration) -> None:
    language = network.language_model
    for stack in (language.encoder, language.decoder):
        stack.embed_tokens.weight = language.shared.weight


def _fill_buffers(network: nn.Module, device: torch.device) -> None:
    """The buffers, which no file holds: the Q-Former's positions, 0 1 2 ..."""
    for name, buffer in list(network.named_buffers()):
        owner, _, last = name.rpartition(".")
        if last != "position_ids":
            raise BundleError(f"{name} is a buffer that this version of the software does not know")
        places = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
        network.get_submodule(owner).register_buffer(last, places, persistent=False)


def read_weights(
    network: InstructBlipForConditionalGeneration,
    files: Iterable[Path],
    device: torch.device,
    dtype: torch.dtype,
    told: Told | None = None,
) -> None:
    """Fill a skeleton from safetensors files, a tensor at a time.

    told: hears "loading" and the share of bytes read. Beside the weights on the device, one tensor
    is in memory; pages of the files are the system's to give back.

    Raises:
        BundleError: a key is missing, unexpected or of another shape, each by name; or a file is
            no safetensors file.
        DeviceError: the device has no room.
    """
    shards = list(files)
    places = _places(shards)
    _check_keys(network, places)
    wanted = list(dict(network.named_parameters()))
    whole = sum(parameter.numel() for parameter in network.parameters())
    done = 0

    def count(parameter: nn.Parameter) -> None:
        nonlocal done
        done += parameter.numel()
        if told is not None:
            told("loading", done / whole)

    try:
        for shard in shards:
            # Opened afresh for every few tensors, so that pages already read do not pile up.
            mine = [name for name in wanted if places[name][0] == shard]
            for start in range(0, len(mine), _TENSORS_AN_OPENING):
                with safe_open(shard, framework="pt") as opened:
                    for name in mine[start : start + _TENSORS_AN_OPENING]:
                        parameter = network.get_parameter(name)
                        kind = format_of(name, dtype)
                        value = torch.empty(parameter.shape, dtype=kind, device=device)
                        value.copy_(opened.get_tensor(places[name][1]))
                        _put(network, name, value)
                        count(parameter)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} has no room for these weights: {error}") from error
    except (SafetensorError, OSError) as error:
        raise BundleError(f"the weights cannot be read: {error}") from error
    _share_embeddings(network)
    _fill_buffers(network, device)


_TENSORS_AN_OPENING = 16


def _places(shards: Iterable[Path]) -> dict[str, tuple[Path, str]]:
    """Where each key lies: its file, and its name there.

    Raises:
        BundleError: a file is no safetensors file, or a key is in two files.
    """
    places: dict[str, tuple[Path, str]] = {}
    for shard in shards:
        try:
            with safe_open(shard, framework="pt") as opened:
                keys = list(opened.keys())
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{shard} is no safetensors file: {error}") from error
        for key in keys:
            if key in places:
                raise BundleError(f"{key} is in {places[key][0].name} and in {shard.name}")
            places[key] = (shard, key)
    if EMBEDDINGS not in places:
        same = next((name for name in ALIASES if name in places), None)
        if same is not None:
            places[EMBEDDINGS] = places[same]
    for alias in ALIASES:
        places.pop(alias, None)
    return places


def _check_keys(network: nn.Module, places: Mapping[str, tuple[Path, str]]) -> None:
    """Every parameter has its key, and every key its parameter, of the same shape."""
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    missing = sorted(set(shapes) - set(places))
    unexpected = sorted(set(places) - set(shapes))
    wrong = []
    for shard in dict.fromkeys(place[0] for place in places.values()):
        with safe_open(shard, framework="pt") as opened:
            for name, (where, key) in places.items():
                if where == shard and name in shapes:
                    found = tuple(opened.get_slice(key).get_shape())
                    if found != shapes[name]:
                        wrong.append(f"{name} is {found} instead of {shapes[name]}")
    said = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("shape", wrong))
        if names
    ]
    if said:
        raise BundleError(f"the weights are not those of the configuration; {'; '.join(said)}")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    rest = len(names) - NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown

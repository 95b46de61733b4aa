"""Reads a network's weights from safetensors, and writes them.

A network is first built without memory (meta device). Then each tensor is read from its shard
straight into its number format on its device, and the shard is closed again, so loading needs the
memory of the weights and little more. Names and shapes are transformers' own. A weight that is
missing, unexpected or of another shape is refused by name before any weight is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from model.errors import BundleError
from model.progress import ProgressCallback, no_progress

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
HEAD = "language_model.lm_head.weight"
SHARED = "language_model.shared.weight"
ALIASES = (
    "language_model.encoder.embed_tokens.weight",
    "language_model.decoder.embed_tokens.weight",
)
"""Other names of SHARED, under which transformers 4 wrote the same matrix."""
SHARD_BYTES = 512 * 2**20
MAPPED_BYTES, MAPPED_SHARE = 64 * 2**20, 1 / 32
"""Limit of the weights mapped at a time: mapped pages count as memory of this process."""

_FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor on disk."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Its size on disk in bytes."""
        return prod(self.shape) * self.dtype.itemsize


# ---- The network without memory ----


def build_meta_network(config: InstructBlipConfig) -> InstructBlipForConditionalGeneration:
    """Build the network on the meta device: it has every name and shape, and no memory.

    T5's head is a weight of its own, as in the published model; transformers 5 would share it with
    the embeddings, whatever the configuration says.

    Raises:
        BundleError: The language model is not T5.
    """
    if config.text_config.model_type != "t5":
        raise BundleError(
            f"the language model is {config.text_config.model_type!r}; only T5 can be drafted with "
            "(as Salesforce/instructblip-flan-t5-xl)"
        )
    with torch.device("meta"):
        network = InstructBlipForConditionalGeneration(config)
    language = network.language_model
    language.lm_head.weight = nn.Parameter(torch.empty_like(language.lm_head.weight))
    network.all_tied_weights_keys.pop(HEAD, None)
    language.all_tied_weights_keys.pop(HEAD.removeprefix("language_model."), None)
    return network.eval()


def weight_dtype(network: nn.Module, name: str, dtype: torch.dtype) -> torch.dtype:
    """Return the number format of one weight in a network of `dtype`.

    T5's `wo` and the query tokens stay in float32 beside float16, as in transformers, because
    their outputs overflow in float16.
    """
    is_half = dtype in (torch.float16, torch.bfloat16)
    wide: set[str] = set(getattr(network, "_keep_in_fp32_modules_strict", ())) if is_half else set()
    if dtype == torch.float16:
        wide |= set(getattr(network, "_keep_in_fp32_modules", ()))
    return torch.float32 if wide & set(name.split(".")) else dtype


class ParameterTable:
    """Assigns weights by name, a shared weight to all modules that share it."""

    def __init__(self, network: nn.Module) -> None:
        self._owners: dict[int, list[tuple[nn.Module, str]]] = {}
        self._ids = {name: id(weight) for name, weight in network.named_parameters()}
        # The old weights are kept, because an id is unique only while its object lives.
        self._weights = dict(network.named_parameters())
        for module in network.modules():
            for attribute, weight in module._parameters.items():
                if weight is not None:
                    self._owners.setdefault(id(weight), []).append((module, attribute))

    def assign(self, name: str, tensor: torch.Tensor) -> None:
        """Make `tensor` the weight of that name."""
        weight = nn.Parameter(tensor)
        for module, attribute in self._owners[self._ids[name]]:
            module._parameters[attribute] = weight


def create_buffers(network: nn.Module, device: torch.device) -> None:
    """Create the buffers, which no file holds: position ids, counted from 0.

    Raises:
        BundleError: The network has a buffer that this software does not know.
    """
    for name, buffer in list(network.named_buffers()):
        owner, _, attribute = name.rpartition(".")
        if attribute != "position_ids":
            raise BundleError(f"the network has a buffer {name} that this software does not know")
        positions = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape).clone()
        network.get_submodule(owner)._buffers[attribute] = positions


# ---- From disk ----


def read_index(folder: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a folder's safetensors by name, from the headers of the files.

    Raises:
        BundleError: There are no weights or only pickled ones, or a file differs from its index.
    """
    paths, index = _shards(folder)
    tensors: dict[str, StoredTensor] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  it is not a dictionary
                    header = file.get_slice(name)
                    if header.get_dtype() not in _FORMATS:
                        raise BundleError(
                            f"{path}: {name} is stored as {header.get_dtype()}, not as "
                            f"{', '.join(_FORMATS)}; save it unquantised"
                        )
                    tensors[name] = StoredTensor(
                        path, name, tuple(header.get_shape()), _FORMATS[header.get_dtype()]
                    )
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{path} is not a whole safetensors file: {error}") from error
    for name, file_name in index.items():
        if name not in tensors or tensors[name].path.name != file_name:
            raise BundleError(f"{folder / INDEX} says that {name} is in {file_name}; it is not")
    return tensors


def _shards(folder: Path) -> tuple[list[Path], dict[str, str]]:
    index: dict[str, str] = {}
    if (folder / INDEX).is_file():
        try:
            index = dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / INDEX} is not an index of weights") from error
        names = sorted(set(index.values()))
        invalid = [name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", str(name))]
        if invalid:
            raise BundleError(
                f"{folder / INDEX} names {invalid[0]!r}, which is not a safetensors file beside it"
            )
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        if not index:
            refuse_pickled(folder)
        raise BundleError(f"{folder} does not hold {_first(missing)}: copy all its files again")
    return [folder / name for name in names], index


def refuse_pickled(folder: Path) -> None:
    """Refuse a folder whose weights are pickled only, because reading them runs the code in it.

    Pickled files beside safetensors are left alone: they are never read.

    Raises:
        BundleError: There are pickled files and no safetensors; the message says what to do.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise BundleError(
            f"{folder} holds {_first(pickled)}: pickled files are never read here, because they "
            "can run code. Take a revision that has .safetensors, or, if you trust the file, save "
            "it again with save_pretrained(folder) of a current transformers or peft, and name a "
            "folder without pickled files"
        )


def check_keys(network: nn.Module, index: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the tensor on disk of every weight of the network, by the network's names.

    Raises:
        BundleError: A weight is missing, unexpected, or of another shape; some of each are named.
    """
    expected = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    stored = {name: tensor for name, tensor in index.items() if name in expected}
    alias = next((name for name in ALIASES if name in index), None)
    if SHARED in expected and SHARED not in stored and alias is not None:
        stored[SHARED] = index[alias]
    unknown = set(index) - set(expected) - set(ALIASES)
    wrong = {
        "missing": sorted(set(expected) - set(stored)),
        "unexpected": sorted(unknown - _ignored_keys(network, index)),
        "of another shape": sorted(
            f"{name} ({_size(tensor.shape)}, the configuration says {_size(expected[name])})"
            for name, tensor in stored.items()
            if tensor.shape != expected[name]
        ),
    }
    faults = [f"{kind}: {_first(names)}" for kind, names in wrong.items() if names]
    if faults:
        if HEAD in wrong["missing"]:
            faults.append(
                "transformers 5 leaves out T5's head where it takes it for the embeddings: save "
                "it with the head in its state_dict and tie_word_embeddings false"
            )
        raise BundleError(f"these are not the weights of this configuration. {'; '.join(faults)}")
    return stored


def _ignored_keys(network: nn.Module, index: Iterable[str]) -> set[str]:
    """Return keys of older checkpoints that mean nothing: position ids, and those T5 ignores."""
    buffers = {name for name, _ in network.named_buffers()}
    ignored = [
        rf"{re.escape(prefix)}\.?{pattern}"
        for prefix, module in network.named_modules()
        for pattern in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()
    ]
    return {key for key in index if key in buffers or any(re.match(p, key) for p in ignored)}


def load_weights(
    network: nn.Module,
    index: Mapping[str, StoredTensor],
    dtype: torch.dtype,
    device: torch.device,
    progress: ProgressCallback = no_progress,
) -> None:
    """Read every weight of a network from `build_meta_network`.

    Args:
        network: The network on the meta device.
        index: The tensors on disk, from `read_index`.
        dtype: The number format, as in `weight_dtype`.
        device: Where the weights go.
        progress: Is called with "loading", in bytes.

    Raises:
        BundleError: As `check_keys`, or the embeddings differ between T5's encoder and decoder.
        torch.OutOfMemoryError: The device has no room.
    """
    stored = check_keys(network, index)
    parameters = ParameterTable(network)
    total, done = sum(tensor.bytes for tensor in stored.values()), 0
    for name, tensor in read_tensors(stored):
        weight = torch.empty(tensor.shape, dtype=weight_dtype(network, name, dtype), device=device)
        weight.copy_(tensor)
        parameters.assign(name, weight)
        done += tensor.nbytes
        progress("loading", done, total)
    create_buffers(network, device)
    if SHARED in stored:
        _check_aliases(network.get_parameter(SHARED), index)


def read_tensors(stored: Mapping[str, StoredTensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors by name; each is a view of its file and must be copied before the next.

    Raises:
        BundleError: A file can no longer be read.
    """
    total = sum(tensor.bytes for tensor in stored.values())
    limit = min(MAPPED_BYTES, int(total * MAPPED_SHARE))
    for path in dict.fromkeys(tensor.path for tensor in stored.values()):
        of_file = [(name, tensor) for name, tensor in stored.items() if tensor.path == path]
        for group in _groups(of_file, limit):
            try:
                # The file is closed and opened again, so that only one group is mapped.
                with safe_open(path, framework="pt") as file:
                    for name, tensor in group:
                        yield name, file.get_tensor(tensor.name)
            except (SafetensorError, OSError) as error:
                raise BundleError(f"{path} can no longer be read: {error}") from error


def _groups(
    stored: Sequence[tuple[str, StoredTensor]], limit: int
) -> Iterator[list[tuple[str, StoredTensor]]]:
    group: list[tuple[str, StoredTensor]] = []
    size = 0
    for name, tensor in stored:
        if group and size + tensor.bytes > limit:
            yield group
            group, size = [], 0
        group.append((name, tensor))
        size += tensor.bytes
    if group:
        yield group


def _check_aliases(shared: torch.Tensor, index: Mapping[str, StoredTensor]) -> None:
    aliases = {alias: index[alias] for alias in ALIASES if alias in index}
    for name, tensor in read_tensors(aliases):
        if not torch.equal(tensor.to(shared.dtype), shared.detach().to("cpu")):
            raise BundleError(f"{name} is not {SHARED}: T5 has one matrix of embeddings")


# ---- To disk ----


def save_weights(
    folder: Path,
    sizes: Mapping[str, int],
    tensors: Iterable[tuple[str, torch.Tensor]],
    shard_bytes: int = SHARD_BYTES,
    progress: ProgressCallback = no_progress,
) -> None:
    """Write weights as safetensors of about `shard_bytes` each, with their index.

    Args:
        folder: Where the files go.
        sizes: Bytes of every tensor, in the order of `tensors`.
        tensors: The tensors by name. They are iterated once, and only one shard is held in memory.
        shard_bytes: Largest shard, where no single tensor is larger.
        progress: Is called with "writing", in bytes.

    Raises:
        ValueError: `tensors` and `sizes` do not agree.
    """
    shards: list[list[str]] = [[]]
    shard_size = 0
    for name, size in sizes.items():
        if shards[-1] and shard_size + size > shard_bytes:
            shards.append([])
            shard_size = 0
        shards[-1].append(name)
        shard_size += size
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    )
    stream = iter(tensors)
    total, done = sum(sizes.values()), 0
    for file_name, shard in zip(names, shards, strict=True):
        buffered: dict[str, torch.Tensor] = {}
        for planned in shard:
            name, tensor = next(stream)
            if name != planned or tensor.nbytes != sizes[name]:
                raise ValueError(f"{name} is not the tensor that was planned, {planned}")
            buffered[name] = tensor.detach().to("cpu", copy=True).contiguous()
            done += tensor.nbytes
            progress("writing", done, total)
        save_file(buffered, folder / file_name, metadata={"format": "pt"})
    if len(shards) > 1:
        weight_map = {n: file for file, shard in zip(names, shards, strict=True) for n in shard}
        index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": weight_map}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / INDEX).write_text(text, encoding="utf-8")


def _first(names: Sequence[str], limit: int = 4) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"

"""A network's weights: from safetensors into place, and to safetensors. Knows no bundles.

A network is first built without memory (meta device); then each tensor is read from its shard
straight into its number format on its device, and its shard is closed again. So loading takes the
weights themselves and little more. Names and shapes are transformers' own; whatever is missing,
unexpected or of another shape is refused by name before a byte of it is read.
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
"""The same matrix as SHARED; transformers 4 wrote it under these names too."""
SHARD_BYTES = 512 * 2**20
OPEN_BYTES, OPEN_SHARE = 64 * 2**20, 1 / 32
"""Of all weights that are mapped at a time, at most: mapped pages are this process's memory too."""

_FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@dataclass(frozen=True)
class Stored:
    """One tensor on disk."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return prod(self.shape) * self.dtype.itemsize


# ---- The network without memory ----


def skeleton(config: InstructBlipConfig) -> InstructBlipForConditionalGeneration:
    """The network on the meta device: every name and shape, no memory.

    T5's head is a weight of its own, as in the published model; transformers 5 would share it with
    the embeddings, whatever the configuration says.

    Raises:
        BundleError: its language model is not T5.
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


def kept_dtype(network: nn.Module, name: str, dtype: torch.dtype) -> torch.dtype:
    """The number format of one weight in a network of `dtype`.

    What transformers keeps in float32 beside float16, T5's `wo` and the query tokens, is so here:
    what they give runs over in float16.
    """
    narrow = dtype in (torch.float16, torch.bfloat16)
    wide: set[str] = set(getattr(network, "_keep_in_fp32_modules_strict", ())) if narrow else set()
    if dtype == torch.float16:
        wide |= set(getattr(network, "_keep_in_fp32_modules", ()))
    return torch.float32 if wide & set(name.split(".")) else dtype


class Places:
    """Where each weight of a network goes; one that several modules share, to all of them."""

    def __init__(self, network: nn.Module) -> None:
        self._at: dict[int, list[tuple[nn.Module, str]]] = {}
        self._ids = {name: id(weight) for name, weight in network.named_parameters()}
        self._kept = dict(network.named_parameters())  # an id is one only while its owner lives
        for module in network.modules():
            for attribute, weight in module._parameters.items():
                if weight is not None:
                    self._at.setdefault(id(weight), []).append((module, attribute))

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Make this the weight of that name."""
        weight = nn.Parameter(tensor)
        for module, attribute in self._at[self._ids[name]]:
            module._parameters[attribute] = weight


def place_buffers(network: nn.Module, device: torch.device) -> None:
    """Make what is no weight and is in no file: positions, counted from 0.

    Raises:
        BundleError: the network has a buffer that this software does not know.
    """
    for name, buffer in list(network.named_buffers()):
        owner, _, attribute = name.rpartition(".")
        if attribute != "position_ids":
            raise BundleError(f"the network has a buffer {name} that this software does not know")
        positions = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape).clone()
        network.get_submodule(owner)._buffers[attribute] = positions


# ---- From disk ----


def read_index(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder's safetensors, from their headers alone.

    Raises:
        BundleError: there are none, only pickled ones, or a file is not what its index says.
    """
    paths, index = _shards(folder)
    found: dict[str, Stored] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  it is no dictionary
                    header = file.get_slice(name)
                    if header.get_dtype() not in _FORMATS:
                        raise BundleError(
                            f"{path}: {name} is stored as {header.get_dtype()}, not as "
                            f"{', '.join(_FORMATS)}; save it unquantised"
                        )
                    found[name] = Stored(
                        path, name, tuple(header.get_shape()), _FORMATS[header.get_dtype()]
                    )
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{path} is not a whole safetensors file: {error}") from error
    for name, file_name in index.items():
        if name not in found or found[name].path.name != file_name:
            raise BundleError(f"{folder / INDEX} says that {name} is in {file_name}; it is not")
    return found


def _shards(folder: Path) -> tuple[list[Path], dict[str, str]]:
    index: dict[str, str] = {}
    if (folder / INDEX).is_file():
        try:
            index = dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / INDEX} is not an index of weights") from error
        names = sorted(set(index.values()))
        strange = [name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", str(name))]
        if strange:
            raise BundleError(
                f"{folder / INDEX} names {strange[0]!r}, which is no safetensors file beside it"
            )
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        refuse_pickled(folder)
        raise BundleError(f"{folder} holds no {_some(missing)}: copy it again, whole")
    return [folder / name for name in names], index


def refuse_pickled(folder: Path) -> None:
    """Refuse a folder with pickled files: to read one is to run what is in it.

    Raises:
        BundleError: it has some; says what to do.
    """
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise BundleError(
            f"{folder} holds {_some(pickled)}: pickled files are never read here, for they can run "
            "code. Take a revision that has .safetensors, or save it again with "
            "save_pretrained(folder) of a current transformers or peft where you trust the file, "
            "and name a folder without the pickled ones"
        )


def check_keys(network: nn.Module, index: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensor on disk of every weight of the network, by the network's names.

    Raises:
        BundleError: a key is missing, not the network's, or of another shape; names some of each.
    """
    wanted = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    taken = {name: stored for name, stored in index.items() if name in wanted}
    alias = next((name for name in ALIASES if name in index), None)
    if SHARED in wanted and SHARED not in taken and alias is not None:
        taken[SHARED] = index[alias]
    wrong = {
        "missing": sorted(set(wanted) - set(taken)),
        "unexpected": sorted(set(index) - set(wanted) - set(ALIASES) - _leftovers(network, index)),
        "of another shape": sorted(
            f"{name} ({_size(stored.shape)}, the configuration says {_size(wanted[name])})"
            for name, stored in taken.items()
            if stored.shape != wanted[name]
        ),
    }
    said = [f"{what}: {_some(names)}" for what, names in wrong.items() if names]
    if said:
        if HEAD in wrong["missing"]:
            said.append(
                "transformers 5 leaves out T5's head where it thinks that it is the embeddings: "
                "save it with the head in its state_dict and tie_word_embeddings false"
            )
        raise BundleError(f"these are not the weights of this configuration. {'; '.join(said)}")
    return taken


def _leftovers(network: nn.Module, index: Iterable[str]) -> set[str]:
    """Keys of older checkpoints that say nothing: counted positions, and what T5 ignores itself."""
    buffers = {name for name, _ in network.named_buffers()}
    ignored = [
        rf"{re.escape(prefix)}\.?{pattern}"
        for prefix, module in network.named_modules()
        for pattern in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()
    ]
    return {key for key in index if key in buffers or any(re.match(p, key) for p in ignored)}


def load_weights(
    network: nn.Module,
    index: Mapping[str, Stored],
    dtype: torch.dtype,
    device: torch.device,
    progress: ProgressCallback = no_progress,
) -> None:
    """Read every weight of a `skeleton` into its place, in `kept_dtype`, on the device.

    Raises:
        BundleError: as `check_keys`, or the embeddings differ between T5's encoder and decoder.
        torch.OutOfMemoryError: the device has no room.
    """
    taken = check_keys(network, index)
    places = Places(network)
    total, done = sum(stored.bytes for stored in taken.values()), 0
    for name, tensor in read_tensors(taken):
        kept = torch.empty(tensor.shape, dtype=kept_dtype(network, name, dtype), device=device)
        kept.copy_(tensor)
        places.put(name, kept)
        done += tensor.nbytes
        progress("loading", done, total)
    place_buffers(network, device)
    if SHARED in taken:
        _check_aliases(network.get_parameter(SHARED), index)


def read_tensors(taken: Mapping[str, Stored]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors one after another; each is a view of its file, to be copied before the next.

    Raises:
        BundleError: a file can no longer be read.
    """
    total = sum(stored.bytes for stored in taken.values())
    most = min(OPEN_BYTES, int(total * OPEN_SHARE))
    for path in dict.fromkeys(stored.path for stored in taken.values()):
        mine = [(name, stored) for name, stored in taken.items() if stored.path == path]
        for group in _groups(mine, most):
            try:
                # Closed and opened again, so that no more than a group is mapped.
                with safe_open(path, framework="pt") as file:
                    for name, stored in group:
                        yield name, file.get_tensor(stored.name)
            except (SafetensorError, OSError) as error:
                raise BundleError(f"{path} can no longer be read: {error}") from error


def _groups(stored: Sequence[tuple[str, Stored]], most: int) -> Iterator[list[tuple[str, Stored]]]:
    group: list[tuple[str, Stored]] = []
    size = 0
    for one in stored:
        if group and size + one[1].bytes > most:
            yield group
            group, size = [], 0
        group.append(one)
        size += one[1].bytes
    if group:
        yield group


def _check_aliases(shared: torch.Tensor, index: Mapping[str, Stored]) -> None:
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

    sizes: bytes of every tensor, in the order of `tensors`, which is gone through once: no more
    than one shard is held.
    """
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    )
    stream = iter(tensors)
    total, done = sum(sizes.values()), 0
    for file_name, shard in zip(names, shards, strict=True):
        held_now: dict[str, torch.Tensor] = {}
        for wanted in shard:
            name, tensor = next(stream)
            if name != wanted or tensor.nbytes != sizes[name]:
                raise ValueError(f"{name} is not the tensor that was planned, {wanted}")
            held_now[name] = tensor.detach().to("cpu", copy=True).contiguous()
            done += tensor.nbytes
            progress("writing", done, total)
        save_file(held_now, folder / file_name, metadata={"format": "pt"})
    if len(shards) > 1:
        where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": where}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / INDEX).write_text(text, encoding="utf-8")


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"

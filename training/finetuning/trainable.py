"""A stage put onto a network: adapters in place, the rest standing still; and what came of it.

What trains is float32 whatever the network is in, for a loss scaler refuses halves and small steps
would be lost in them. Knows no corpus and no loop.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import InstructBlipForConditionalGeneration

from model.bundling.adapters import WHOLE
from model.network.qkv import split_attention
from training.finetuning.stages import Method, ParameterGroup, Stage


@dataclass
class TrainableNetwork:
    """A network with a stage on it.

    groups: what trains, by the stage's groups; names are the network's own. wrapped: peft's view
    of the network, None where the stage has no adapters.
    """

    network: InstructBlipForConditionalGeneration
    stage: Stage
    groups: dict[ParameterGroup, dict[str, nn.Parameter]] = field(default_factory=dict)
    wrapped: Any = None

    def named(self) -> dict[str, nn.Parameter]:
        """All that trains, by name."""
        return {name: p for group in self.groups.values() for name, p in group.items()}

    def parameters(self) -> list[nn.Parameter]:
        """All that trains, in a fixed order."""
        return list(self.named().values())

    def optimizer_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, each with the rate that it has at its height as `peak`."""
        return [
            {
                "params": list(named.values()),
                "lr": group.rate,
                "peak": group.rate,
                "weight_decay": group.decay,
                "name": group.name,
            }
            for group, named in self.groups.items()
        ]

    def counts(self) -> dict[str, int]:
        """Parameters that train, by group."""
        return {g.name: sum(p.numel() for p in named.values()) for g, named in self.groups.items()}

    def save_adapter(self, folder: Path) -> None:
        """Write what `model.bundling.adapters.merge_adapter` merges: peft's files, and whole weights."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = {
            name: p.detach().to("cpu", copy=True).contiguous()
            for group, named in self.groups.items()
            if group.how is Method.WHOLE
            for name, p in named.items()
        }
        if self.wrapped is not None:
            with _SilencedWarnings():
                self.wrapped.save_pretrained(folder, save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # peft's, and says nothing
        if whole:
            save_file(whole, folder / WHOLE)


def apply_stage(network: InstructBlipForConditionalGeneration, stage: Stage) -> TrainableNetwork:
    """Put a stage on a network: what it names trains, all else stands still.

    Raises:
        ValueError: a group names nothing here, or two groups name the same.
    """
    split_attention(network)
    network.requires_grad_(False)
    lora = [group for group in stage.groups if group.how is Method.LORA]
    targets = {
        group: {n for n, m in network.named_modules() if _is(group, n) and isinstance(m, nn.Linear)}
        for group in lora
    }
    whole = {
        group: {n for n, _ in network.named_parameters() if _is(group, n)}
        for group in stage.groups
        if group.how is Method.WHOLE
    }
    _check({**targets, **whole})
    for names in whole.values():
        for name in names:
            parameter = network.get_parameter(name)
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    wrapped = _adapted(network, stage, lora) if lora else None
    made = TrainableNetwork(network, stage, wrapped=wrapped)
    for group in stage.groups:
        made.groups[group] = (
            dict(_of_adapters(network, targets[group]))
            if group.how is Method.LORA
            else {n: network.get_parameter(n) for n in sorted(whole[group])}
        )
    _run_wo_in_float32(network)
    return made


def _adapted(
    network: InstructBlipForConditionalGeneration, stage: Stage, lora: list[ParameterGroup]
) -> Any:
    from peft import LoraConfig, get_peft_model

    before = {n: p.requires_grad for n, p in network.named_parameters()}
    config = LoraConfig(
        r=stage.lora.rank,
        lora_alpha=stage.lora.alpha,
        lora_dropout=stage.lora.dropout,
        bias="none",
        target_modules="|".join(f"({group.names})" for group in lora),
    )
    with _SilencedWarnings():
        wrapped = get_peft_model(network, config)
    # peft freezes all but its own; the whole ones train all the same.
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
        elif before.get(name.replace(".base_layer.", "."), False):
            parameter.requires_grad_(True)
    return wrapped


def _of_adapters(network: nn.Module, layers: set[str]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in network.named_parameters():
        layer, _, rest = name.partition(".lora_")
        if rest and layer in layers:
            yield name, parameter


def _check(found: dict[ParameterGroup, set[str]]) -> None:
    seen: dict[str, ParameterGroup] = {}
    for group, names in found.items():
        if not names:
            raise ValueError(f"the group {group.name!r} names nothing in this network")
        for name in names:
            if name in seen:
                raise ValueError(f"{name} is in two groups: {seen[name].name} and {group.name}")
            seen[name] = group


def _is(group: ParameterGroup, name: str) -> bool:
    return re.fullmatch(group.names, name) is not None


def _run_wo_in_float32(network: InstructBlipForConditionalGeneration) -> None:
    """Take T5's `wo` out of autocast: what it gives does not fit float16, so it is float32."""
    for name, layer in network.language_model.named_modules():
        if name.endswith(".DenseReluDense.wo") and not isinstance(layer.forward, _Float32Forward):
            layer.forward = _Float32Forward(layer.forward)


class _Float32Forward:
    """A layer's computation, out of autocast."""

    def __init__(self, forward: Callable[..., torch.Tensor]) -> None:
        self._forward = forward

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._forward(x, *args, **kwargs)


class _SilencedWarnings(warnings.catch_warnings):
    """peft warns of names that it does not know and of halves; both are meant."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def enable_gradient_checkpointing(
    network: InstructBlipForConditionalGeneration,
    again: Callable[[], AbstractContextManager[Any]] | None = None,
) -> None:
    """From now on, in training, each layer keeps only its input and is computed a second time.

    For the ViT, the Q-Former and T5; the gradients stay the same numbers, for dropout falls the
    same way again. The second time costs a third to a half of a step (where weights stand still the
    backward pass is no longer than the forward one). again: what to be in, the second time.
    """
    settings: dict[str, Any] = {"use_reentrant": False}
    if again is not None:
        settings["context_fn"] = lambda: (nullcontext(), again())
    network.activation_checkpointing_enable(settings)

"""Applies a stage to a network: adapters in place, all other weights frozen; and saves the result.

What trains is float32 whatever the network's format is: a loss scaler refuses float16 parameters,
and small steps would be lost in them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import InstructBlipForConditionalGeneration

from model.bundling.adapters import FULL_WEIGHTS
from model.network.qkv import split_attention
from training.finetuning.stages import Method, ParameterGroup, Stage


@dataclass
class TrainableNetwork:
    """A network with a stage applied.

    Args:
        network: The network.
        stage: The stage.
        groups: The parameters that train, by the stage's groups, under the network's own names.
        peft_model: peft's view of the network; None for a stage without adapters.
    """

    network: InstructBlipForConditionalGeneration
    stage: Stage
    groups: dict[ParameterGroup, dict[str, nn.Parameter]] = field(default_factory=dict)
    peft_model: Any = None

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters that train, by name."""
        return {name: p for named in self.groups.values() for name, p in named.items()}

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that train, always in the same order."""
        return list(self.named_parameters().values())

    def optimizer_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups; `peak` is the highest learning rate of a group."""
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

    def parameter_counts(self) -> dict[str, int]:
        """The number of parameters that train, by group."""
        return {g.name: sum(p.numel() for p in named.values()) for g, named in self.groups.items()}

    def save_adapter(self, folder: Path) -> None:
        """Write what `merge_adapter` (model.bundling.adapters) merges.

        That is peft's files for LoRA, and a safetensors file of the parameters trained whole.
        """
        folder.mkdir(parents=True, exist_ok=True)
        full_weights = {
            name: p.detach().to("cpu", copy=True).contiguous()
            for group, named in self.groups.items()
            if group.how is Method.WHOLE
            for name, p in named.items()
        }
        if self.peft_model is not None:
            with _peft_warnings_ignored():
                self.peft_model.save_pretrained(folder, save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # peft writes an empty one
        if full_weights:
            save_file(full_weights, folder / FULL_WEIGHTS)


def apply_stage(network: InstructBlipForConditionalGeneration, stage: Stage) -> TrainableNetwork:
    """Make the parameters that a stage names trainable, and freeze all others.

    Raises:
        ValueError: A group matches nothing in this network, or two groups match the same.
    """
    split_attention(network)
    network.requires_grad_(False)
    lora = [group for group in stage.groups if group.how is Method.LORA]
    layers = {
        group: {
            name
            for name, module in network.named_modules()
            if _matches(group, name) and isinstance(module, nn.Linear)
        }
        for group in lora
    }
    full_groups = {
        group: {name for name, _ in network.named_parameters() if _matches(group, name)}
        for group in stage.groups
        if group.how is Method.WHOLE
    }
    _check_groups({**layers, **full_groups})
    for names in full_groups.values():
        for name in names:
            parameter = network.get_parameter(name)
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    peft_model = _add_adapters(network, stage, lora) if lora else None
    trainable = TrainableNetwork(network, stage, peft_model=peft_model)
    for group in stage.groups:
        trainable.groups[group] = (
            dict(_adapter_parameters(network, layers[group]))
            if group.how is Method.LORA
            else {name: network.get_parameter(name) for name in sorted(full_groups[group])}
        )
    _run_wo_in_float32(network)
    return trainable


def _add_adapters(
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
    with _peft_warnings_ignored():
        peft_model = get_peft_model(network, config)
    # peft freezes everything but its own parameters; those trained whole are unfrozen again.
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
        elif before.get(name.replace(".base_layer.", "."), False):
            parameter.requires_grad_(True)
    return peft_model


def _adapter_parameters(network: nn.Module, layers: set[str]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in network.named_parameters():
        layer, _, rest = name.partition(".lora_")
        if rest and layer in layers:
            yield name, parameter


def _check_groups(matches: dict[ParameterGroup, set[str]]) -> None:
    owner: dict[str, ParameterGroup] = {}
    for group, names in matches.items():
        if not names:
            raise ValueError(f"the group {group.name!r} matches nothing in this network")
        for name in names:
            if name in owner:
                raise ValueError(f"{name} is in two groups: {owner[name].name} and {group.name}")
            owner[name] = group


def _matches(group: ParameterGroup, name: str) -> bool:
    return re.fullmatch(group.names, name) is not None


def _run_wo_in_float32(network: InstructBlipForConditionalGeneration) -> None:
    """Take T5's `wo` out of autocast, because its output overflows float16."""
    for name, layer in network.language_model.named_modules():
        if name.endswith(".DenseReluDense.wo") and not isinstance(layer.forward, _Float32Forward):
            layer.forward = _Float32Forward(layer.forward)


class _Float32Forward:
    """A layer's forward pass without autocast."""

    def __init__(self, forward: Callable[..., torch.Tensor]) -> None:
        self._forward = forward

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._forward(x, *args, **kwargs)


@contextmanager
def _peft_warnings_ignored() -> Iterator[None]:
    """Peft warns about names that it does not know and about float16; both are intended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def enable_gradient_checkpointing(
    network: InstructBlipForConditionalGeneration,
    recompute_context: Callable[[], AbstractContextManager[Any]] | None = None,
) -> None:
    """Let each layer of ViT, Q-Former and T5 keep only its input, and compute itself a second time.

    The gradients stay the same numbers, because dropout falls the same way again. The second pass
    costs a third to a half of a step: where weights are frozen, the backward pass is no longer than
    the forward pass.

    Args:
        network: The network; it has to be in training mode to be checkpointed.
        recompute_context: A context for the second pass.
    """
    settings: dict[str, Any] = {"use_reentrant": False}
    if recompute_context is not None:
        settings["context_fn"] = lambda: (nullcontext(), recompute_context())
    network.activation_checkpointing_enable(settings)

"""Splits query, key and value of the ViT into three layers for training, and fuses them again.

The published ViT has them in one layer, `self_attn.qkv`. The paper's LoRA adapts query and value
alone: on the fused layer it would share a matrix between all three and change the key. So they are
split for training, inside transformers' own attention, where the numbers stay the same, and fused
before anything is written. On disk and in drafting the network is the published one.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional
from transformers import InstructBlipForConditionalGeneration

PROJECTIONS = ("q_proj", "k_proj", "v_proj")
"""Names of the three layers below `self_attn.qkv`, in the order of their rows in the fused one."""
_SPLIT_NAME = re.compile(rf"(.*\.qkv)\.({'|'.join(PROJECTIONS)})\.(weight|bias)")


class SplitQKV(nn.Module):
    """Three layers in place of a fused one: (B, L, W) -> (B, L, 3 W), with the same numbers."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        weights = fused.weight.detach().chunk(3)
        biases = (None,) * 3 if fused.bias is None else fused.bias.detach().chunk(3)
        for name, weight, bias in zip(PROJECTIONS, weights, biases, strict=True):
            setattr(self, name, _linear(weight.clone(), None if bias is None else bias.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return query, key and value of every position, one after another."""
        layers = self._layers()
        if all(_is_plain(layer) for layer in layers):
            # One product, as in the fused layer: three smaller ones may round differently.
            return functional.linear(x, *_concatenate(layers))
        return torch.cat([layer(x) for layer in layers], dim=-1)

    def fuse(self) -> nn.Linear:
        """Return the fused layer.

        Raises:
            ValueError: One of the three is wrapped, as by an adapter that is not merged.
        """
        layers = self._layers()
        wrapped = [
            name
            for name, layer in zip(PROJECTIONS, layers, strict=True)
            if type(layer) is not nn.Linear
        ]
        if wrapped:
            raise ValueError(f"{', '.join(wrapped)} is wrapped: merge the adapter first")
        weight, bias = _concatenate(layers)
        return _linear(weight.detach(), None if bias is None else bias.detach())

    def _layers(self) -> list[nn.Linear]:
        return [getattr(self, name) for name in PROJECTIONS]


def split_attention(network: InstructBlipForConditionalGeneration) -> None:
    """Split query, key and value in every layer of the ViT that is not split yet."""
    for layer in network.vision_model.encoder.layers:
        if not isinstance(layer.self_attn.qkv, SplitQKV):
            layer.self_attn.qkv = SplitQKV(layer.self_attn.qkv)


def fuse_attention(network: InstructBlipForConditionalGeneration) -> None:
    """Undo `split_attention`: every name, shape and number is as before.

    Raises:
        ValueError: As `SplitQKV.fuse`.
    """
    for layer in network.vision_model.encoder.layers:
        if isinstance(layer.self_attn.qkv, SplitQKV):
            layer.self_attn.qkv = layer.self_attn.qkv.fuse()


def fused_parameters(network: nn.Module) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return every weight by its name in the fused network; a split one as its three parts."""
    weights: dict[str, tuple[torch.Tensor, ...]] = {}
    for name, weight in network.named_parameters():
        split = _SPLIT_NAME.fullmatch(name)
        key = f"{split[1]}.{split[3]}" if split else name
        weights[key] = (*weights.get(key, ()), weight)
    return weights


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is a bare Linear, without an adapter around it and without hooks."""
    return type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks)


def _concatenate(layers: list[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = torch.cat([layer.weight for layer in layers])
    # Either all layers have a bias or none has.
    return weight, None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer

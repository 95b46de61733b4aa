"""Query, key and value of the ViT apart, and one again. Knows no training.

The published ViT has them in one layer, `self_attn.qkv`. The paper's LoRA is on query and value
alone: on the one layer it would share a matrix between the three and touch the key. So they are
taken apart to be trained, in transformers' own attention, which sees no difference; and folded back
before anything is written, so that on disk, and in what serves, the network is the published one.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional
from transformers import InstructBlipForConditionalGeneration

PARTS = ("q_proj", "k_proj", "v_proj")
"""Names of the three layers, in the order of their rows in the one; below `self_attn.qkv`."""
_APART = re.compile(rf"(.*\.qkv)\.({'|'.join(PARTS)})\.(weight|bias)")


class ApartQKV(nn.Module):
    """Three layers in place of one: (B, L, W) -> (B, L, 3 W), to the same numbers."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        weights = fused.weight.detach().chunk(3)
        biases = (None,) * 3 if fused.bias is None else fused.bias.detach().chunk(3)
        for name, weight, bias in zip(PARTS, weights, biases, strict=True):
            setattr(self, name, _linear(weight.clone(), None if bias is None else bias.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Query, key and value of every position, one after another."""
        parts = self._parts()
        if all(_plain(part) for part in parts):
            # One product, as the one layer makes it: three smaller ones may round otherwise.
            return functional.linear(x, *_joined(parts))
        return torch.cat([part(x) for part in parts], dim=-1)

    def folded(self) -> nn.Linear:
        """The one layer again.

        Raises:
            ValueError: one of the three is wrapped, as by an adapter that is not merged.
        """
        parts = self._parts()
        wrapped = [n for n, part in zip(PARTS, parts, strict=True) if type(part) is not nn.Linear]
        if wrapped:
            raise ValueError(f"{', '.join(wrapped)} is wrapped: merge the adapter first")
        weight, bias = _joined(parts)
        return _linear(weight.detach(), None if bias is None else bias.detach())

    def _parts(self) -> list[nn.Linear]:
        return [getattr(self, name) for name in PARTS]


def split_attention(network: InstructBlipForConditionalGeneration) -> None:
    """Take query, key and value of every layer of the ViT apart; done again, nothing happens."""
    for layer in network.vision_model.encoder.layers:
        if not isinstance(layer.self_attn.qkv, ApartQKV):
            layer.self_attn.qkv = ApartQKV(layer.self_attn.qkv)


def fold_back(network: InstructBlipForConditionalGeneration) -> None:
    """Undo `split_attention`: every name, shape and number as before.

    Raises:
        ValueError: as `ApartQKV.folded`.
    """
    for layer in network.vision_model.encoder.layers:
        if isinstance(layer.self_attn.qkv, ApartQKV):
            layer.self_attn.qkv = layer.self_attn.qkv.folded()


def folded_names(network: nn.Module) -> dict[str, tuple[torch.Tensor, ...]]:
    """Every weight by the name that it has folded back; where it is apart, its three parts."""
    found: dict[str, tuple[torch.Tensor, ...]] = {}
    for name, weight in network.named_parameters():
        apart = _APART.fullmatch(name)
        key = f"{apart[1]}.{apart[3]}" if apart else name
        found[key] = (*found.get(key, ()), weight)
    return found


def _plain(part: nn.Module) -> bool:
    """A layer, not an adapter around it, with nobody listening to what goes in and out."""
    return type(part) is nn.Linear and not (part._forward_hooks or part._forward_pre_hooks)


def _joined(parts: list[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = torch.cat([part.weight for part in parts])
    # All have a bias or none has.
    return weight, None if parts[0].bias is None else torch.cat([part.bias for part in parts])


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    out, into = weight.shape
    made = nn.Linear(into, out, bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(bias)
    return made

"""Linear layers in the order in which a CPU multiplies them. Knows no network.

oneDNN, which torch brings, keeps a weight in blocks that fit the processor's registers; torch's
own float32 products go through MKL. Packed once when a network is loaded; on the AMD processor of
docs/develop/performance.md a study is then read in half the time.
The numbers are float32's; only the order of summing differs, as it does between any two libraries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

WORTH = 65_536
"""Weights that a layer must have: calling oneDNN costs more than it saves on fewer."""


class PackedLinear(nn.Module):
    """A linear layer, packed.

    weight: (out, in) float32 in oneDNN's own order, which no other operation reads. bias: (out,)
    or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.register_buffer("weight", packed, persistent=False)
        bias = None if linear.bias is None else linear.bias.detach()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, "none", [], ""
        )
        return out


def has_onednn() -> bool:
    """Whether torch was built with oneDNN, and has what packs for it."""
    built: bool = torch._C._has_mkldnn
    return built and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def can_pack(network: nn.Module) -> bool:
    """Whether the network is one of float32 on a CPU, and there is oneDNN."""
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    return has_onednn() and kinds == {("cpu", torch.float32)}


def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Every linear layer inside `module` by another, one after the other: none is held twice."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, make(child))
        else:
            replace_linears(child, make)


def pack_linears(network: nn.Module) -> None:
    """Pack the linear layers of the network that are large; they give the same, sooner."""
    replace_linears(
        network, lambda layer: PackedLinear(layer) if layer.weight.numel() >= WORTH else layer
    )

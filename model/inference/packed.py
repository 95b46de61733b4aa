"""Linear layers whose weights lie in the order in which a CPU multiplies them.

oneDNN, which comes with torch, keeps a weight in blocks that fit the processor's registers; torch's
own float32 products go through MKL. The weights are packed once, when a network is loaded. On the
AMD processor of docs/develop/performance.md a study is then encoded in half the time. The results
are float32's; only the order of summation differs, as it does between any two libraries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

MIN_WEIGHTS = 65_536
"""Smaller layers are not packed: calling oneDNN costs more than it saves for them."""


class PackedLinear(nn.Module):
    """A linear layer with packed weights.

    Attributes:
        weight: (out, in) float32 in oneDNN's own order, which no other operation can read.
        bias: (out,), or None.
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
    """Whether torch was built with oneDNN and offers the operation that packs weights."""
    built: bool = torch._C._has_mkldnn
    return built and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def can_pack(network: nn.Module) -> bool:
    """Whether the network is all float32 on a CPU, and oneDNN is available."""
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    return has_onednn() and kinds == {("cpu", torch.float32)}


def replace_linears(module: nn.Module, convert: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every linear layer inside `module`, one by one, so that no weight is held twice."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, convert(child))
        else:
            replace_linears(child, convert)


def pack_linears(network: nn.Module) -> None:
    """Pack the large linear layers of the network."""
    replace_linears(
        network,
        lambda layer: PackedLinear(layer) if layer.weight.numel() >= MIN_WEIGHTS else layer,
    )

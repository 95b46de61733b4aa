"""Linear layers with eight-bit integer weights, for CPUs that multiply those fast.

Weights are quantized once, with one scale for each output; inputs are quantized as they come, with
one scale for each row. `nightdraft bench model --int8` measures what this gains
(docs/develop/performance.md). It is off by default, because a draft may come out differently.
"""

from __future__ import annotations

import torch
from torch import nn

from model.inference.packed import replace_linears

INT8_MAX = 127.0


class Int8Linear(nn.Module):
    """A linear layer with quantized weights.

    Attributes:
        weight: (out, in) int8.
        scale: (out,) by which each output is multiplied.
        bias: (out,), or None.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        scale = weight.detach().abs().amax(dim=1).clamp(min=1e-12) / INT8_MAX
        rounded = (weight.detach() / scale[:, None]).round().to(torch.int8)
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / INT8_MAX
        product = torch._int_mm((rows / scale).round().to(torch.int8), self.weight.t())
        out = product.to(x.dtype) * scale * self.scale
        if self.bias is not None:
            out = out + self.bias
        return out.view(*x.shape[:-1], -1)


def quantize_linears(network: nn.Module) -> None:
    """Replace every linear layer of the network by its quantized form."""
    replace_linears(network, lambda linear: Int8Linear(linear.weight, linear.bias))

"""Lets a network that is stored in half precision compute in full precision for a while.

This serves only studies for which half precision gave no finite numbers. Each layer's weights are
widened while that layer runs and no longer, so it needs the extra memory of one layer, and time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def upcast(network: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Make every layer of `network` compute in `dtype` while the block runs.

    Afterwards, also after an error, the network is as it was before.
    """
    hooks = []
    narrow: dict[nn.Module, dict[str, torch.Tensor]] = {}

    def widen(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        stored = {}
        for name, weight in module._parameters.items():
            if weight is not None and weight.is_floating_point() and weight.dtype != dtype:
                stored[name] = weight.data
                weight.data = weight.data.to(dtype)
        narrow[module] = stored
        return tuple(_widened(arg, dtype) for arg in args)

    def restore(module: nn.Module, *_: Any) -> None:
        for name, data in narrow.pop(module, {}).items():
            module._parameters[name].data = data  # type: ignore[union-attr]

    for module in network.modules():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(widen))
            # The hook also runs when the layer fails: its weights must not stay wide.
            hooks.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in list(narrow):
            restore(module)


def _widened(arg: Any, dtype: torch.dtype) -> Any:
    if isinstance(arg, torch.Tensor) and arg.is_floating_point():
        return arg.to(dtype)
    return arg

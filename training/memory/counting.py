"""Counts the bytes that live while torch computes, on a CPU that computes as CUDA does.

torch has a tracker of its own, `torch.distributed._tools.mem_tracker.MemTracker`. It puts a hook on
the gradient of every parameter and so refuses a network with frozen parameters, which fine-tuning
has. Therefore this module counts by itself.

Tensors without memory (FakeTensorMode) have to claim to be on a CPU: if torch is built without
CUDA, as in our tests, its autograd cannot work on tensors that claim to be on a GPU. The two
devices keep different tensors for the backward pass, so `CudaEmulation` replaces the CPU's by
CUDA's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ALIGNED = 8
"""CUDA's memory-efficient attention needs mask rows that begin at multiples of this number."""


class LiveStorageCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of live storages, each once, however many tensors share it.

    Storages made while the mode is on are counted by themselves, others by `add`.

    Attributes:
        live_bytes: Bytes that live now.
        peak_bytes: The most bytes that lived at one time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def add(self, tensors: Iterable[torch.Tensor]) -> int:
        """Count these tensors too, and return the bytes that they add."""
        before = self.live_bytes
        for tensor in tensors:
            self._add(tensor.untyped_storage())
        return self.live_bytes - before

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._live:
            return

        def release(_: object) -> None:
            del self._live[address]
            self.live_bytes -= size

        self._live[address] = weakref.ref(storage, release)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))
        return out


FLOAT32_OPERATIONS: frozenset[str] = frozenset(
    {"binary_cross_entropy_with_logits", "cross_entropy", "layer_norm", "log", "log_softmax"}
    | {"pow", "rsqrt", "softmax", "sum"}
)
"""Operations of our network that CUDA's autocast computes in float32 and a CPU's does not.

A test compares them with torch's own tables. CUDA's cross-entropy converts within its kernel, so a
copy is counted that is not made: a few percent at the very end of the forward pass."""


class CudaEmulation(TorchFunctionMode):
    """Lets CPU tensors keep and make what CUDA would; right in shapes, not in values.

    Attention uses the memory-efficient kernel, which every card has. The flash kernel of newer
    cards keeps as much, but takes no mask, and T5's attention has one. Dropout keeps a mask of
    bytes. Autocast converts to float32 what CUDA's converts.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if torch.is_autocast_enabled("cpu") and getattr(func, "__name__", "") in FLOAT32_OPERATIONS:
            args = tuple(map(_as_float32, args))
            kwargs = {name: _as_float32(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _as_float32(value: Any) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.float() if is_float else value


def _dropout(
    input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> torch.Tensor:
    if not training or p == 0.0 or inplace:
        return functional.dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (x.to(dtype) for x in (query, key, value))
        attn_mask = None if attn_mask is None else attn_mask.to(dtype)
    if attn_mask is not None:
        keys = attn_mask.shape[-1]
        if any(stride % _ALIGNED for stride in attn_mask.stride()[:-1]):
            attn_mask = functional.pad(attn_mask, (0, _ALIGNED - keys % _ALIGNED))[..., :keys]
        attn_mask = attn_mask.expand(*query.shape[:3], keys)
    needs_gradient = any(x.requires_grad for x in (query, key, value))
    out: torch.Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, needs_gradient, dropout_p, is_causal, scale=scale
    )[0]
    return out

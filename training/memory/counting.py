"""What lives while torch computes, in bytes; and a CPU that computes as CUDA does, to count it.

torch has a tracker of its own, `torch.distributed._tools.mem_tracker.MemTracker`. It hangs a hook
on the gradient of every parameter and so refuses a network in which some stand still, which is what
fine-tuning is; so the counting is ours.

Tensors without memory (FakeTensorMode) claim to be on a CPU: where torch is built without CUDA, as
in our tests, its autograd cannot work on tensors that claim to be on a GPU. The two devices keep
different things for the backward pass, so `AsOnCuda` puts CUDA's in place. Knows no network.
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
"""CUDA's memory-efficient attention reads a mask whose rows begin at multiples of so many."""


class LiveStorageCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that live: each once, however many tensors look at it.

    Those made while it is on are seen by themselves, others by `add`. now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def add(self, tensors: Iterable[torch.Tensor]) -> int:
        """Count these too; how many bytes they add."""
        before = self.now
        for tensor in tensors:
            self._add(tensor.untyped_storage())
        return self.now - before

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._live:
            return

        def gone(_: object) -> None:
            del self._live[place]
            self.now -= size

        self._live[place] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

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
"""Of what CUDA's autocast computes in float32 and a CPU's does not, or otherwise: what our network
calls. A test compares it with torch's own tables. Where CUDA widens within the kernel
(cross-entropy) a copy is counted that is not made: a few percent at the very end of the forward."""


class CudaEmulation(TorchFunctionMode):
    """Computes on CPU tensors what CUDA would keep and make; for shapes, not for values.

    Attention by the memory-efficient kernel, which every card has; the flash kernel of newer ones
    keeps as much and takes no mask, and T5's attention has one. Dropout keeps a mask of bytes.
    Autocast widens what CUDA's widens.
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
            args = tuple(map(_wide, args))
            kwargs = {name: _wide(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _wide(value: Any) -> Any:
    floats = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.float() if floats else value


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
        narrow = torch.get_autocast_dtype("cpu")
        query, key, value = (x.to(narrow) for x in (query, key, value))
        attn_mask = None if attn_mask is None else attn_mask.to(narrow)
    if attn_mask is not None:
        read = attn_mask.shape[-1]
        if any(stride % _ALIGNED for stride in attn_mask.stride()[:-1]):
            attn_mask = functional.pad(attn_mask, (0, _ALIGNED - read % _ALIGNED))[..., :read]
        attn_mask = attn_mask.expand(*query.shape[:3], read)
    learns = any(x.requires_grad for x in (query, key, value))
    out: torch.Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, learns, dropout_p, is_causal, scale=scale
    )[0]
    return out

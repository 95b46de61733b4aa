"""Makes a network's own device the current one, because much of torch.cuda asks for no other.

Graphs, events, streams and pinned copies belong to the current device: with `cuda:1` they would
otherwise be made on `cuda:0`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


class OnDevice(Protocol):
    """What lies on a device."""

    @property
    def device(self) -> torch.device:
        """The device."""
        ...


Owner = TypeVar("Owner", bound=OnDevice)


def device_guard(device: torch.device) -> AbstractContextManager[Any]:
    """A block in which a GPU is the current one; nothing on a CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def on_own_device(
    method: Callable[Concatenate[Owner, P], R],
) -> Callable[Concatenate[Owner, P], R]:
    """Run a method with its object's device as the current one."""

    @functools.wraps(method)
    def guarded(self: Owner, /, *arguments: P.args, **options: P.kwargs) -> R:
        with device_guard(self.device):
            return method(self, *arguments, **options)

    return guarded

"""What this machine has free: memory of the device that trains, and room on a disk."""

from __future__ import annotations

import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use (cgroup version 2)."""


@dataclass(frozen=True)
class DeviceMemory:
    """The memory that a training's network is in.

    Args:
        kind: "GPU memory" or "RAM".
        total_bytes: All of it.
        free_bytes: What is not in use.
    """

    kind: str
    total_bytes: int
    free_bytes: int


def device_memory(device: torch.device) -> DeviceMemory:
    """The memory of a device: that of the GPU, or the machine's RAM."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceMemory("GPU memory", total, free)
    memory = psutil.virtual_memory()
    limit, left = _container_memory() or (memory.total, memory.available)
    return DeviceMemory("RAM", min(memory.total, limit), min(memory.available, left))


def _container_memory() -> tuple[int, int] | None:
    """Bytes that this container may use, and that it has left; None where there is no limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        counts = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text().splitlines() if line
        )
    except (OSError, ValueError):
        return None
    # Cached files are given up as soon as a process needs the memory.
    return limit, max(0, limit - used + int(counts.get("inactive_file", 0)))


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has had in use: of the GPU since the last reset, or RAM."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_disk(path: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    existing = next(
        parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists()
    )
    return shutil.disk_usage(existing).free

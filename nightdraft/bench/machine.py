"""Describes the machine of a measurement, and summarises the values of several runs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import psutil


def machine_facts() -> dict[str, Any]:
    """Return the machine and the versions, for the JSON of every bench."""
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(),
            "memory_mb": psutil.virtual_memory().total // 1_000_000,
        },
        "versions": {"nightdraft": version("nightdraft"), "python": platform.python_version()},
    }


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the least and the greatest value, rounded to three decimal places."""
    return {
        "median": round(median(values), 3),
        "least": round(min(values), 3),
        "greatest": round(max(values), 3),
    }

"""Scores of report texts: BLEU, METEOR, ROUGE-L, clinical F1, RadGraph F1, and their intervals.

    from training.metrics import score

The names below load their modules on first use, so that `training.metrics.comparisons` and the
others that need no scoring library stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.metrics.clinical import score_clinical
    from training.metrics.findings import score_findings
    from training.metrics.radgraph import score_radgraph
    from training.metrics.text import measure, score

__all__ = ["measure", "score", "score_clinical", "score_findings", "score_radgraph"]

_MODULES = {
    "measure": "text",
    "score": "text",
    "score_clinical": "clinical",
    "score_findings": "findings",
    "score_radgraph": "radgraph",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

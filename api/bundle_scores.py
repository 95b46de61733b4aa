"""The scores that a bundle declares, as tables in which what lies between 0 and 1 has a bar.

Scores are named as the training writes them: `bleu_4, priors none` is the score `bleu_4` of the
setting `priors none`, and a mapping such as `f1 by finding, priors none` is a table of its own.
What is no number is told as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from api.plots import draw_share


@dataclass(slots=True)
class ScoreTable:
    """Scores below one heading.

    Attributes:
        title: what they are; "" of those that stand alone.
        settings: the columns, by their names; "" where a score names none.
        rows: by the name of a score, what each setting has of it.
    """

    title: str
    settings: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Markup]] = field(default_factory=dict)

    def add(self, name: str, setting: str, value: Any) -> None:
        """Put a score into its place."""
        if setting not in self.settings:
            self.settings.append(setting)
        self.rows.setdefault(name, {})[setting] = _draw(value)


@dataclass(frozen=True, slots=True)
class DeclaredScores:
    """What a bundle says of itself: facts, as on what it was scored, and tables."""

    facts: Mapping[str, str]
    tables: list[ScoreTable]


def read_scores(scores: Mapping[str, Any]) -> DeclaredScores:
    """Sort the scores of a manifest into facts and tables; those that stand alone come first."""
    facts: dict[str, str] = {}
    tables: dict[str, ScoreTable] = {"": ScoreTable("")}
    # PostgreSQL keeps no order of names.
    for full_name, value in sorted(scores.items()):
        name, _, setting = full_name.partition(", ")
        if isinstance(value, Mapping):
            table = tables.setdefault(name, ScoreTable(name))
            for row, score in sorted(value.items()):
                table.add(str(row), setting, score)
        elif _is_number(value):
            tables[""].add(name, setting, value)
        else:
            facts[full_name] = _say(value)
    return DeclaredScores(facts, [table for table in tables.values() if table.rows])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _draw(value: Any) -> Markup:
    if not _is_number(value):
        return escape(_say(value))
    return draw_share(value, f"{value:.3g}") if 0 <= value <= 1 else escape(f"{round(value, 3):,}")


def _say(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

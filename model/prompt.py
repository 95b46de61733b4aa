"""Priors -> the instruction that the network is given. Knows no tokens and no network.

Text from an order is data: whatever it contains, the instruction keeps the template's lines, in
the template's order, each once. A line with nothing to say is left out, "Not provided" included:
a network that has learnt to read "Not provided" has learnt nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from model.case import Case, Priors

QUESTION = "Write the report of this chest radiograph."


@dataclass(frozen=True)
class Line:
    """One line of a template. label: as written before the colon. most: characters kept."""

    label: str
    prior: str
    most: int


@dataclass(frozen=True)
class Template:
    """A template as data: its lines from top to bottom, then the fixed last sentence."""

    lines: tuple[Line, ...]
    question: str = QUESTION


TEMPLATES: dict[str, Template] = {
    # The paper's template for IU X-ray, less its "Problems" line, which was coded from the very
    # report to be written; then what else a hospital has before the film is read.
    "context": Template(
        lines=(
            Line("Image", "image", 120),
            Line("Indication", "indication", 300),
            Line("Procedure", "procedure", 120),
            Line("Prior report", "prior_report", 600),
        )
    ),
    # The fixed instruction alone: stage 1 of the paper, and the floor to compare with.
    "none": Template(lines=()),
}

_LABELS = sorted({line.label for t in TEMPLATES.values() for line in t.lines} | {"Problems"})
_LABEL = re.compile(
    "(" + "|".join(label.replace(" ", r"\s+") for label in _LABELS) + r")(?:\s*:)+", re.IGNORECASE
)
_SILENT = {"", "not provided", "none", "n/a", "na", "unknown", "-"}


def instruct(case: Case, template: str, fits: Callable[[str], bool] | None = None) -> str:
    """The instruction for a case: the template's lines and its question, a line break between.

    fits: says whether the network can take an instruction whole. Where it cannot, the priors are
    shortened from the last line upward until it can; the template's own words stay.

    Raises:
        KeyError: there is no template of that name.
    """
    known = TEMPLATES[template]
    image = describe(view.position for view in case.views)
    most = {line.prior: line.most for line in known.lines}
    text = _fill(known, image, case.priors, most)
    for line in reversed(known.lines):
        while fits is not None and line.prior != "image" and most[line.prior] and not fits(text):
            most[line.prior] //= 2
            text = _fill(known, image, case.priors, most)
    return text


def describe(positions: Iterable[str]) -> str:
    """The paper's Image line: "Chest, 2 views, frontal and lateral"."""
    seen = list(positions)
    named = list(dict.fromkeys(p for p in seen if p != "unknown"))
    count = f"{len(seen)} view" + ("" if len(seen) == 1 else "s")
    return ", ".join(["Chest", count, *([" and ".join(named)] if named else [])])


def clean(text: str, most: int) -> str:
    """Untrusted text as one harmless line of at most `most` characters.

    Control and format characters and line breaks become spaces, angle brackets go (they spell
    special tokens), and a label of a template loses its colon. "" for text that says nothing.
    """
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(
        " " if unicodedata.category(c)[0] == "C" or c in "<>" or c.isspace() else c for c in plain
    )
    plain = _LABEL.sub(r"\1", " ".join(plain.split()))
    if len(plain) > most:
        plain = plain[:most].rsplit(" ", 1)[0] if " " in plain[:most] else plain[:most]
    plain = plain.strip()
    return "" if plain.lower().strip(" .") in _SILENT else plain


def _fill(template: Template, image: str, priors: Priors, most: dict[str, int]) -> str:
    said = {
        "image": image,
        "indication": priors.indication,
        "procedure": priors.procedure,
        "prior_report": priors.prior_report,
    }
    rows = []
    for line in template.lines:
        text = clean(said[line.prior], most[line.prior])
        if text:
            rows.append(f"{line.label}: {text}")
    return " \n ".join([*rows, template.question])

"""How a report looks whole: its sections with the headings and in the order of a style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from records.report_styles.content import PLAIN, StyleContent


@dataclass(frozen=True, slots=True)
class ShownSection:
    """A section as it is shown.

    Attributes:
        section: which one it is (`content.SECTIONS`).
        heading: in the words of the style.
        text: never blank.
    """

    section: str
    heading: str
    text: str


def lay_out(content: StyleContent | None, texts: Mapping[str, str]) -> list[ShownSection]:
    """The sections of a report that have a text, in the order of a style.

    Args:
        content: the style; None is `PLAIN`.
        texts: by section. What the style does not show is left out.
    """
    return [
        ShownSection(each.section, each.heading, texts[each.section])
        for each in (content or PLAIN).sections
        if texts.get(each.section, "").strip()
    ]


def to_text(sections: Sequence[ShownSection]) -> str:
    """A report as one text: each heading on a line of its own, a blank line between sections."""
    return "\n\n".join(f"{each.heading}\n{each.text.strip()}" for each in sections)

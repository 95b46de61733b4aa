"""Report styles for tests."""

from __future__ import annotations

from model.consistency import find_differences
from records.database.session import unit_of_work
from records.database.style_tables import ReportStyle
from records.report_styles import styles
from records.report_styles.content import Phrase, StyleContent, StyleSection, Wording

HOUSE = StyleContent(
    "House",
    (
        StyleSection("impression", "Beurteilung"),
        StyleSection("indication", "Fragestellung"),
        StyleSection("findings", "النتائج"),
    ),
    (Wording("The lungs are clear.", "Lungs clear."),),
    (
        Phrase("Clips", "Surgical clips project over the right axilla."),
        Phrase("Telephoned", "The finding was reported by telephone."),
    ),
)
"""A style with all there is; a heading is in a script that is written from right to left."""


def make_site_style(content: StyleContent = HOUSE, code: str = "default") -> ReportStyle:
    """Save a style of a site, in place of the one that is there."""
    with unit_of_work() as session:
        owner = styles.of_site(session, code)
        last = styles.newest(session, owner)
        made_from = last.version if last else 0
        return styles.save(session, owner, content, made_from, "Dr. Lead", find_differences)

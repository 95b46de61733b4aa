"""Sections of reports in the manner of MIMIC-CXR; all of them are made up here."""

from __future__ import annotations

import pytest

from model.prompting.report_sections import ReportSections, read_sections
from training.corpus.example import target_text

PLAIN = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // eval for
 pneumonia

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear.  The heart is
 not enlarged.

 No effusion.

 IMPRESSION:

 No acute process.
"""


def test_sections_are_lines_without_breaks() -> None:
    assert read_sections(PLAIN) == ReportSections(
        "___F with cough // eval for pneumonia",
        "The lungs are clear. The heart is not enlarged. No effusion.",
        "No acute process.",
    )


def test_the_final_report_counts_and_not_the_wet_read() -> None:
    wet = """ WET READ: ___ ___ 9:35 PM
 FINDINGS: Something quite else.
 IMPRESSION: Something else.
 ______________
"""
    assert read_sections(wet + PLAIN) == read_sections(PLAIN)
    addendum = PLAIN + "\n FINAL ADDENDUM\n The report was called to Dr. ___.\n"
    assert read_sections(addendum) == read_sections(PLAIN)


def test_of_two_sections_of_a_kind_the_later_counts() -> None:
    assert read_sections(PLAIN + "\n IMPRESSION: Worse.\n").impression == "Worse."


def test_a_heading_that_names_the_image_heads_findings() -> None:
    text = " HISTORY:  Fall.\n\n CHEST, TWO VIEWS:  No fracture.\n\n IMPRESSION: Normal.\n"
    assert read_sections(text) == ReportSections("Fall.", "No fracture.", "Normal.")
    assert read_sections(text + " FINDINGS: Clear.\n").findings == "Clear."
    assert read_sections(" FINDINGS AND IMPRESSION:\n Clear.\n").findings == "Clear."
    assert read_sections(" EXAMINATION: CHEST RADIOGRAPH\n").findings == ""


def test_findings_without_a_heading_do_not_leak_into_the_indication() -> None:
    text = " REASON FOR EXAM:  Cough.\n\n As compared to ___, a new opacity.\n"
    assert read_sections(text) == ReportSections("Cough.", "", "")
    assert read_sections(" HISTORY:\n\n There is a new opacity.\n").indication == ""


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (
            " INDICATION:  Cough.\n Lungs are clear.  No effusion.\n\n IMPRESSION: none\n",
            ReportSections("Cough.", "", "none"),
        ),
        (
            " HISTORY: cough. COMPARISON: none. FINDINGS: clear lungs.\n",
            ReportSections("cough.", "clear lungs.", ""),
        ),
        (
            " History: Cough. Comparison: None. Findings: Clear. Impression: Normal.\n",
            ReportSections("Cough.", "Clear.", "Normal."),
        ),
        # Only the word "findings" says where the findings of this report begin.
        (" HISTORY: Cough; findings:clear lungs.\n", ReportSections("Cough;", "", "")),
        (" HISTORY: Cough. Chest: clear.\n\n FINDINGS: x\n", ReportSections("Cough.", "x", "")),
        (
            " HISTORY:\n\n A new opacity.\n\n IMPRESSION: An opacity.\n",
            ReportSections("", "", "An opacity."),
        ),
        # A heading of findings does not make the text after the next heading findings.
        (
            " CHEST, TWO VIEWS: Done.\n\n HISTORY: Cough.\n Lungs are clear.\n\n IMPRESSION: x\n",
            ReportSections("Cough.", "Done.", "x"),
        ),
    ],
)
def test_no_indication_holds_findings(text: str, sections: ReportSections) -> None:
    assert read_sections(text) == sections


def test_headings_within_the_findings_stay_in_them() -> None:
    text = " FINDINGS:\n Lungs: clear.\n HEART: Normal.\n\n PLEURA: no effusion.\n IMPRESSION: x\n"
    assert read_sections(text) == ReportSections(
        "", "Lungs: clear. HEART: Normal. PLEURA: no effusion.", "x"
    )
    walls = " FINDINGS: Clear.\n CHEST WALL: Normal.\n LINES AND TUBES: None.\n"
    assert read_sections(walls).findings == "Clear. CHEST WALL: Normal. LINES AND TUBES: None."
    image = " CHEST, TWO VIEWS:\n HEART: Normal.\n"
    assert read_sections(image).findings == "HEART: Normal."
    image = " FINDINGS:\n CHEST: Clear.\n ABDOMEN: Normal.\n"
    assert read_sections(image).findings == "Clear. ABDOMEN: Normal."
    for ends in ("RECOMMENDATION(S): CT.", "NOTIFICATION: By phone.", "SIGNED BY: ___"):
        assert read_sections(f" FINDINGS: Clear.\n {ends}\n").findings == "Clear."


def test_an_indication_below_its_heading_is_read() -> None:
    assert read_sections(" INDICATION:\n\n Cough.\n\n FINDINGS: Clear.\n").indication == "Cough."


def test_headings_in_small_letters_and_times_of_day() -> None:
    text = " Indication: Seen at 9:23 A.M.\n Findings: Clear.\n Impression: Normal.\n"
    assert read_sections(text) == ReportSections("Seen at 9:23 A.M.", "Clear.", "Normal.")
    assert read_sections("") == read_sections("no heading at all: none") == ReportSections()


def test_a_text_to_write() -> None:
    assert target_text("findings", "Clear.", "Normal.") == "Clear."
    assert target_text("report", "Clear.", "Normal.") == "Findings: Clear. Impression: Normal."
    assert target_text("report", "", "Normal.") == "Impression: Normal."
    assert target_text("report", "", "") == target_text("findings", "", "Normal.") == ""

"""Sections of reports in the manner of MIMIC-CXR; all of them are made up here."""

from __future__ import annotations

from training.corpus.report_sections import ReportSections, read_sections, target_text

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


def test_a_heading_that_names_the_film_heads_findings() -> None:
    text = " HISTORY:  Fall.\n\n CHEST, TWO VIEWS:  No fracture.\n\n IMPRESSION: Normal.\n"
    assert read_sections(text) == ReportSections("Fall.", "No fracture.", "Normal.")
    assert read_sections(text + " FINDINGS: Clear.\n").findings == "Clear."
    assert read_sections(" FINDINGS AND IMPRESSION:\n Clear.\n").findings == "Clear."
    assert read_sections(" EXAMINATION: CHEST RADIOGRAPH\n").findings == ""


def test_findings_without_a_heading_do_not_leak_into_the_indication() -> None:
    text = " REASON FOR EXAM:  Cough.\n\n As compared to ___, a new opacity.\n"
    assert read_sections(text) == ReportSections("Cough.", "", "")
    assert read_sections(" HISTORY:\n\n There is a new opacity.\n").indication == ""


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

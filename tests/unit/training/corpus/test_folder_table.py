"""The table of own reports: what is forgiven, and what is wrong by its line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from records.errors import CorpusError
from tests.support.own_reports import (
    REPORT,
    draw_film,
    list_faults,
    phantom_rows,
    read_examples,
    report_row,
    write_csv,
    write_json_lines,
)  # fmt: skip
from tests.support.paths import DOCS
from training.corpus.example import TRAIN, ExcludedStudy
from training.corpus.folder import FolderCorpus
from training.corpus.folder_table import COLUMNS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_makes_no_difference_is_forgiven(
    delimiter: str, encoding: str, tmp_path: Path
) -> None:
    draw_film(tmp_path / "a.png")
    draw_film(tmp_path / "b.png", position="lateral")
    lines = [
        ["Study ID", "PATIENT", "Study Date", "Image", "View", "Report Text"],
        ["s1", " p1 ", "20260301101500", "a.png", "PA", f'"{REPORT}"'],
        [""] * 6,
        ["s1", "p1", "", "b.png", "LL", ""],  # a second row with a second image
    ]
    text = "\r\n".join(delimiter.join(line) for line in lines)
    (tmp_path / "reports.csv").write_bytes(text.encode(encoding))
    (only,) = read_examples(tmp_path)
    assert [image.position for image in only.images] == ["frontal", "lateral"]
    assert only.patient == "p1"
    assert only.priors.indication == "Cough."


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = phantom_rows(tmp_path, range(1, 7), patients=3)
    table, lines = tmp_path / "csv", tmp_path / "json"
    for folder in (table, lines):
        folder.mkdir()
        for film in tmp_path.glob("*.png"):
            (folder / film.name).symlink_to(film)
    write_csv(table, rows)
    write_json_lines(
        lines, [r | {key: r[key].split(";") for key in ("images", "views")} for r in rows]
    )

    def plain(folder: Path) -> list[tuple[object, ...]]:
        return [
            (e.key, e.patient, e.split, e.target, e.priors, [i.source for i in e.images])
            for e in read_examples(folder)
        ]

    assert plain(table) == plain(lines)
    assert len(plain(table)) == 6


def test_every_wrong_row_is_named_with_its_line(tmp_path: Path) -> None:
    draw_film(tmp_path / "a.png")
    (tmp_path / "reports.csv").write_text(
        "study,patient,date,images,views,report,split\n"
        's1,p1,,a.png,,"two\nlines",\n'  # lines 2 and 3
        "s2,,,a.png,,text,\n"
        ",p3,,a.png,,text,\n"
        "s4,p4,03/04/2026,a.png,,text,\n"
        "s5,p5,2026-02-30,a.png,,text,\n"
        "s6,p6,,gone.png,,text,\n"
        "s7,p7,,a.png,oblique,text,\n"
        "s8,p8,,a.png,PA;LAT,text,\n"
        "s9,p9,,a.png,,text,holdout\n"
        "s10,p10,,,,text,\n"
        "s11,p11,,a.png,,text\n"
        "s12,p12,,a.png,,text,\n"  # the image of s1
        "s1,p1,,a.png,,another text,\n"
    )
    assert list_faults(tmp_path) == [
        (4, "there is no patient; the split by patient needs one"),
        (5, "there is no study"),
        (6, "the date '03/04/2026' is not known; write 2026-11-27 or 2026-11-27T18:05"),
        (7, "the date '2026-02-30' is not known; write 2026-11-27 or 2026-11-27T18:05"),
        (8, "there is no image 'gone.png'"),
        (9, "the view 'oblique' is not known; write frontal, lateral or nothing"),
        (10, "there are 2 views for 1 images"),
        (11, "there is no split 'holdout'; there are train, validate, test"),
        (12, "it names neither an image nor a study_uid"),
        (13, "it has 6 fields, and there are 7 columns"),
        (14, "the image 'a.png' is of the study in line 2, too"),
        (15, "report is another than in line 2, which has the same study"),
    ]
    # Only whether an image is there is not asked where words are enough.
    assert len(list_faults(tmp_path, needs_images=False)) == 11
    # Nothing is half taken: not the first of the two rows of s1, and nothing to learn from.
    corpus = FolderCorpus(tmp_path)
    assert {type(study) for study in corpus.read()} == {ExcludedStudy}
    with pytest.raises(CorpusError, match=r"12 wrong rows \(line 4: there is no patient"):
        list(corpus.read(TRAIN))


def test_wrong_lines_of_json_are_named(tmp_path: Path) -> None:
    good = report_row(tmp_path)
    (tmp_path / "reports.jsonl").write_text(
        json.dumps(good) + "\n"
        "\n"
        "{not json\n"
        "[1, 2]\n"
        + "\n".join(
            json.dumps(report_row(tmp_path, n, **values))
            for n, values in enumerate(
                [{"date": [2026]}, {"images": {"a": 1}}, {"report": "\ud800"}, {"patient": None}], 5
            )
        )
    )
    reasons = list_faults(tmp_path)
    assert [line for line, _ in reasons] == [3, 4, 5, 6, 7, 8]
    assert "not JSON" in reasons[0][1]
    assert reasons[1][1] == "it is no JSON object"
    assert reasons[2][1] == "date is a list; give a text"
    assert reasons[3][1] == "images is neither a text nor a list of texts"
    assert "surrogates" in reasons[4][1]
    assert "no patient" in reasons[5][1]


def test_a_quote_that_is_never_closed_is_a_fault_and_not_one_long_report(tmp_path: Path) -> None:
    draw_film(tmp_path / "a.png")
    (tmp_path / "reports.csv").write_text(
        'study,patient,images,report\ns1,p1,a.png,"Clear.\ns2,p2,a.png,Clear.\n'
    )
    ((line, reason),) = list_faults(tmp_path)
    assert line == 2
    assert "quotes" in reason


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither reports.csv nor reports.jsonl"),
        ({"reports.csv": b"", "reports.jsonl": b""}, "remove one"),
        ({"reports.csv": b"study,images\n"}, "no column 'patient', 'report'"),
        ({"reports.csv": "study,patient,images,report\nä,p,i,r".encode("latin-1")},
         "not UTF-8 at line 2"),
        ({"reports.csv": "study,patient".encode("utf-16")}, "not UTF-8 at line 1"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(FolderCorpus(tmp_path).read())


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["a.png", "s1", "p1", '"', ",", ";", "x;y", "2026-01-01", "\n", "é\0", ""]
            ),
            max_size=7,
        ).map("".join),
        max_size=6,
    )
)
@example(["s1,p1,a.png,\0"])
def test_no_table_breaks_the_reader(written: list[str]) -> None:
    """Each line is a row, a fault or nothing; what is taken has a study and a patient."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "study,patient,images,report\n" + "\n".join(written)
        (folder / "reports.csv").write_text(text, encoding="utf-8")
        corpus = FolderCorpus(folder, needs_images=False)
        for study in corpus.read():
            assert study.key
            assert isinstance(study, ExcludedStudy) or study.patient
        assert all(2 <= fault.line <= 1 + text.count("\n") for fault in corpus.faults())


def test_the_page_of_corpora_documents_every_column() -> None:
    page = (DOCS / "train/corpora.md").read_text(encoding="utf-8")
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning}" in page

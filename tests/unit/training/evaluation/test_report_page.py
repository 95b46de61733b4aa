"""The report: one HTML file that holds everything, Markdown beside its pictures, nothing unsafe."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from records.errors import NotAllowed
from tests.support.evaluations import CLEAR, FLUID, held_out_set, make_evaluation
from tests.support.listed_corpus import ListedCorpus, make_study, make_training_study
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.drafting import Failure, PriorMode
from training.evaluation.evaluate import Evaluation, compare_bundles
from training.evaluation.pages.cases import extreme_cases
from training.evaluation.report_page import WARNING, as_markdown, check_folder, write_report

HOSTILE = (
    "<script>alert(1)</script> | [x](javascript:1) ![y](http://a.b/c) `z` {{ 7 * 7 }} & ünïcode"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use few phantoms for the floors, and no METEOR 1.5, which starts slowly."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


def hostile(name: str = "listed") -> Evaluation:
    """An evaluation whose texts and ids all hold markup, and one of whose images is missing."""
    corpus = ListedCorpus(
        [
            make_training_study("a", CLEAR, "cough"),
            make_study(f"1 {HOSTILE}", HOSTILE, indication=HOSTILE),
            make_study("2", FLUID, views=2),
            make_study("3", CLEAR, missing=True),
            make_study("4", CLEAR),
            make_study("5", f"{CLEAR} {FLUID}", problems=("normal",)),
            make_study(f"6 {HOSTILE}", FLUID),
        ],
        name,
    )
    failed = (Failure(f"6 {HOSTILE}", HOSTILE),)
    return make_evaluation(held_out_set(corpus), [HOSTILE, "", CLEAR, FLUID, CLEAR, ""], failed)


class Reader(HTMLParser):
    """Tags that are opened, what they would fetch, and whether all are closed in turn."""

    VOID = {"meta", "img", "br", "link"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    held_out = held_out_set(PhantomCorpus(), 12)
    html, _ = write_report(tmp_path, make_evaluation(held_out, held_out.floors["nearest"]))
    page = Reader(html.read_text())
    assert page.open == []
    assert page.fetched
    assert all(url.startswith("data:image/png;base64,") for url in page.fetched)
    assert not {"script", "iframe", "link", "object"} & set(page.tags)
    text = " ".join(" ".join(page.texts).split())
    assert WARNING in text
    for heading in ("Scores and floors", "Findings", "Observations", "Worst", "Best"):
        assert heading in text
    for method in ("R2GENCMN", "ORGAN", "ClinicalBLIP without LLM tuning", "N/A", "0.570"):
        assert method in text
    assert "No row of ours" in text


def test_untrusted_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    html, markdown = write_report(tmp_path, hostile())
    page = Reader(html.read_text())
    assert "script" not in page.tags
    assert HOSTILE in page.texts
    written = markdown.read_text()
    assert "<script" not in written
    untrusted_lines = [line for line in written.splitlines() if "ünïcode" in line]
    assert len(untrusted_lines) > 4
    assert not any(re.search(r"(?<!\\)[`\[]", line) for line in untrusted_lines)


def test_every_row_of_a_markdown_table_has_as_many_cells(tmp_path: Path) -> None:
    _, markdown = write_report(tmp_path, hostile())
    rows = 0
    cells = None
    for line in markdown.read_text().splitlines():
        if not line.startswith("|"):
            cells = None
            continue
        count = len(re.findall(r"(?<!\\)\|", line))
        assert cells in (None, count)
        cells, rows = count, rows + 1
    assert rows > 50


def test_markdown_shows_pictures_that_are_there(tmp_path: Path) -> None:
    held_out = held_out_set(PhantomCorpus(), 12)
    _, markdown = write_report(tmp_path, make_evaluation(held_out, held_out.floors["nearest"]))
    picture_paths = set(re.findall(r"\]\((pictures/[^)]+)\)", markdown.read_text()))
    assert picture_paths == {
        f"pictures/{picture.name}" for picture in (tmp_path / "pictures").iterdir()
    }
    assert len(picture_paths) > 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n# b", "a \\# b"),
        ("a <b> & c", "a &lt;b&gt; &amp; c"),
        ("x|y", "x\\|y"),
        ("see http://a.b www.c.d e@f.g", "see http\\://a.b www\\.c.d e\\@f.g"),
        ("0.123 (0.1 to 0.2)", "0.123 (0.1 to 0.2)"),
    ],
)
def test_markdown_text_is_one_line_without_markup(text: str, expected: str) -> None:
    assert as_markdown(text) == expected


def test_a_failed_study_is_listed_with_its_reason_and_is_no_worst_case(tmp_path: Path) -> None:
    result = hostile()
    worst, best = extreme_cases(result)
    keys = [case.key for case in (*worst, *best)]
    assert sorted(keys) == [f"1 {HOSTILE}", "2", "3", "4"]
    html, _ = write_report(tmp_path, result)
    text = " ".join(Reader(html.read_text()).texts)
    assert "1 could not be drafted" in text
    assert "frontal: there is no film 3-0" in text


def test_the_worst_come_first_and_none_is_best_too() -> None:
    texts = [CLEAR, "", f"{CLEAR} {FLUID}", FLUID, CLEAR]
    result = make_evaluation(
        held_out_set(ListedCorpus([make_study(str(n), CLEAR) for n in range(5)])), texts
    )
    worst, best = extreme_cases(result)
    assert [case.key for case in worst] == ["1", "3"]
    assert [case.key for case in best] == ["4", "0"]


def test_our_row_is_only_in_the_table_of_its_corpus(tmp_path: Path) -> None:
    _, markdown = write_report(tmp_path, hostile("iu_xray"))
    tables = markdown.read_text().split("## The paper's tables")[1].split("**Table ")
    own_rows = [line for line in tables[1].splitlines() if line.startswith("| **mine")]
    assert len(own_rows) == 1
    assert re.search(r"– \(1\.5\), 0\.\d{3} \(nltk\)", own_rows[0])
    assert "mine" not in tables[2]
    assert "| **mine 1, prior mode context** |" in tables[3]


def test_without_priors_our_row_is_named_as_the_papers_ablation(tmp_path: Path) -> None:
    result = hostile("iu_xray")
    result = replace(result, modes={PriorMode.NONE: result.main})
    _, markdown = write_report(tmp_path, result)
    assert "| **mine 1, without prior information** |" in markdown.read_text()


def test_two_bundles_stand_side_by_side(tmp_path: Path) -> None:
    result = hostile()
    html, _ = write_report(tmp_path, result, compare_bundles(result, result))
    text = " ".join(" ".join(Reader(html.read_text()).texts).split())
    assert "mine 1 (first)" in text
    assert "approximate randomisation" in text
    assert "1.0000" in text


def test_a_second_report_takes_the_place_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    write_report(tmp_path, hostile())
    (tmp_path / "pictures" / "worst-9-9.png").write_bytes(b"old")
    write_report(tmp_path, hostile())
    assert not (tmp_path / "pictures" / "worst-9-9.png").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_pictures_that_are_not_the_reports_are_kept(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "2026").mkdir(parents=True)
    foreign_files = [
        pictures / "holiday.jpg",
        pictures / "worst-day.png",
        pictures / "best.png",
        pictures / "2026" / "a.png",
    ]
    for path in foreign_files:
        path.write_text("mine")
    write_report(tmp_path, hostile())
    assert (pictures / "scores.png").stat().st_size > 1000
    assert {path.read_text() for path in foreign_files} == {"mine"}


def test_every_picture_of_a_report_is_removed_with_it(tmp_path: Path) -> None:
    held_out = held_out_set(PhantomCorpus(), 12)
    write_report(tmp_path, make_evaluation(held_out, held_out.floors["nearest"]))
    first = {path.name for path in (tmp_path / "pictures").iterdir()}
    write_report(
        tmp_path, make_evaluation(held_out_set(ListedCorpus([make_study("1", CLEAR)])), [CLEAR])
    )
    assert len(first) > 10
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"scores.png"}


@pytest.mark.parametrize("name", ["pictures", "report.html", "report.md"])
def test_a_foreign_file_in_the_reports_place_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mine") if name == "pictures" else path.mkdir()
    with pytest.raises(NotAllowed, match=f"{name} is .*name another folder"):
        check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_nowhere_is_no_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").symlink_to(tmp_path / "gone")
    with pytest.raises(NotAllowed, match="pictures is no folder"):
        check_folder(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("mine")
    with pytest.raises(NotAllowed, match=r"no report can be written to .*name another folder"):
        check_folder(path)
    assert path.read_text() == "mine"

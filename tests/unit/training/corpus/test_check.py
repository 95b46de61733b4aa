"""Counting a corpus, its page of examples, its pace, and the command that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from model.case import Priors
from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle
from nightdraft.cli.corpora import corpus as command
from records.errors import CorpusError, NotAllowed
from training.corpus.check import Pace, measure_pace, summarise_corpus
from training.corpus.example import Example, ExcludedStudy
from training.corpus.page import draw_page


@dataclass(frozen=True)
class Plain:
    """An image of one grey; None cannot be read."""

    grey: int | None
    position: str = "frontal"
    source: str = "film"

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        if self.grey is None:
            raise PixelError("the film film cannot be read: it is made so")
        return np.full((preprocessing.size, preprocessing.size), self.grey, np.uint8)


def example(key: str, split: str, target: str, patient: str = "", **rest: object) -> Example:
    images = rest.pop("images", (Plain(90),))
    return Example(key, patient or key, split, images, target, **rest)  # type: ignore[arg-type]


@dataclass
class Listed:
    """A corpus of the given entries."""

    entries: list[Example | ExcludedStudy]
    name: str = "listed"

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.name}

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        return (
            entry
            for entry in self.entries
            if not split or (isinstance(entry, Example) and entry.split == split)
        )

    def remarks(self) -> dict[str, int]:
        return {"films beyond the third, not read": 7}


SMALL = Listed(
    [
        example("a", "train", "The lungs are clear.", priors=Priors(indication="Cough")),
        example("b", "train", "The lungs are clear."),
        ExcludedStudy("x", "no findings"),
        example("c", "test", "The lungs are clear", images=(Plain(1), Plain(2, "lateral"))),
        example("d", "test", "The lungs are clear.", priors=Priors(prior_report="Before.")),
        ExcludedStudy("y", "no findings"),
        ExcludedStudy("z", "no films"),
        example("e", "validate", "Large effusion, and more words than that.", patient="a"),
    ]
)


def test_a_summary_counts_everything() -> None:
    calls: list[tuple[str, float, float | None]] = []

    def progress(step: str, done: float, total: float | None) -> None:
        calls.append((step, done, total))

    summary = summarise_corpus(SMALL, progress=progress)
    assert summary.studies == 8
    assert calls == [("reading listed", done, None) for done in range(1, 9)]
    assert summary.examples == {"train": 2, "validate": 1, "test": 2}
    assert summary.patients == {"train": 2, "validate": 1, "test": 2}
    assert summary.in_two_splits == 1
    assert summary.views == {1: 4, 2: 1}
    assert summary.positions == {"frontal": 5, "lateral": 1}
    assert summary.left_out == {"no findings": (2, "x"), "no films": (1, "z")}
    assert summary.words == {"least": 4, "median": 4, "mean": 4.6, "95 of 100": 7, "most": 7}
    assert (summary.without_indication, summary.with_prior_report) == (4, 1)
    assert summary.remarks == {"films beyond the third, not read": 7}


def test_duplicate_texts_are_counted() -> None:
    doubles = summarise_corpus(SMALL).doubles
    assert doubles["word for word"] == {
        "train": {"elsewhere": 2, "within": 1},
        "validate": {"elsewhere": 0, "within": 0},
        "test": {"elsewhere": 1, "within": 0},
    }
    assert doubles["lower case, no punctuation"]["test"] == {"elsewhere": 2, "within": 1}


def test_a_limit_is_of_studies_and_of_each_split_where_there_is_no_end() -> None:
    assert summarise_corpus(SMALL, limit=3).studies == 3
    assert summarise_corpus(Listed([])).words == {}

    @dataclass
    class Endless:
        name: str = "endless"

        @property
        def identity(self) -> dict[str, str]:
            return {"name": self.name}

        def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
            return (example(f"{split}-{n}", split, f"Text {n}.") for n in count())

    assert summarise_corpus(Endless(), limit=5, endless=True).examples == {
        "train": 5,
        "validate": 5,
        "test": 5,
    }
    assert summarise_corpus(Endless(), endless=True).studies == 600


def test_the_page_shows_the_images_and_is_reproducible(tmp_path: Path) -> None:
    corpus = Listed([example(f"k{n}", "train", f"Text {n}.") for n in range(40)])
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    summary = summarise_corpus(corpus, page=first)
    summarise_corpus(Listed(corpus.entries[::-1]), page=second)
    assert (summary.page, summary.page_films, summary.page_films_unreadable) == (str(first), 8, 0)
    picture, second_picture = pixels(first), pixels(second)
    # Eight images of 224 x 224 in grey 90.
    assert (picture == 90).sum() == pytest.approx(8 * 224 * 224, rel=0.01)
    # The same examples, in another order.
    assert np.array_equal(np.bincount(picture.ravel()), np.bincount(second_picture.ravel()))


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.array(picture.convert("L"))


def test_an_image_that_cannot_be_read_is_shown_as_unreadable(tmp_path: Path) -> None:
    unreadable = example(
        "k",
        "test",
        "Word " * 400 + "x" * 300,
        images=(Plain(None), Plain(None, "lateral"), Plain(90)),
        priors=Priors("Indication " * 90, "XR CHEST", "Prior " * 200),
        oracle=Oracle(("Opacity",), "Chest, 2 views"),
        oracle_template="oracle_iu",
    )
    assert (
        summarise_corpus(Listed([unreadable]), page=tmp_path / "p.png").page_films_unreadable == 2
    )
    with pytest.raises(CorpusError, match="cannot be written"):
        draw_page([unreadable], "Title", tmp_path / "nowhere" / "p.png")
    assert draw_page([], "Nothing", tmp_path / "empty.png") == 0


def test_pace_is_of_texts_and_of_images() -> None:
    preprocessing = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    corpus = Listed([example(f"k{n}", "train", "Text.", images=(Plain(None),)) for n in range(40)])
    timed = measure_pace(corpus, preprocessing, max_examples=30, with_images=10)
    assert timed.examples_per_s > timed.with_films_per_s > 0
    assert timed.films_per_s >= timed.with_films_per_s
    assert measure_pace(Listed([]), preprocessing) == Pace(pytest.approx(0, abs=5), 0.0, 0.0, 0.0)  # type: ignore[arg-type]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(command, ["check", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_the_command_on_phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = run("phantoms", "--limit", "6", "--target", "findings", "--json", "c.json", "--pace")
    assert "examples train 6, validate 6, test 6" in output
    assert "patients in two splits 0" in output
    assert "examples a second" in output
    with Image.open("corpus-phantoms.png") as picture:
        assert picture.width > 1000
    summary = json.loads(Path("c.json").read_text())
    assert summary["examples"] == {"train": 6, "validate": 6, "test": 6}
    assert summary["reading"]["target"] == "findings"
    assert summary["pace"]["films_per_s"] > 0


def test_the_command_refuses_what_is_not_there(tmp_path: Path) -> None:
    for arguments, message in (
        (["nothing"], "no corpus 'nothing'"),
        (["iu_xray", str(tmp_path)], "no reports of IU X-ray"),
        (["phantoms", "--split", "paper"], "no split 'paper'"),
    ):
        with pytest.raises(CorpusError, match=message):
            CliRunner().invoke(command, ["check", *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["phantoms:ward"], ["phantoms", "ward"]])
def test_the_command_takes_name_and_path_in_both_forms(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --limit: a corpus without end has one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.corpus.check.ENDLESS_LIMIT", 8)
    output = run(*arguments)
    assert "examples train 8, validate 8, test 8" in output
    assert "with a prior report 0" not in output  # the usual site has none
    assert [path.name for path in tmp_path.iterdir()] == ["corpus-phantoms.png"]


def test_the_command_names_its_page_by_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "iu"
    folder.mkdir(parents=True)
    folder.joinpath("indiana_reports.csv").write_text(
        "uid,Problems,image,indication,findings,impression\n1,,,Cough,Clear.,Normal.\n"
    )
    monkeypatch.chdir(tmp_path)
    assert "studies read 1 " in run(f"iu_xray:{folder}", "--words-only", "--split", "patients")
    assert Path("corpus-iu_xray.png").exists()


def test_the_command_looks_where_it_will_write_before_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_if_called(*_: object, **__: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.corpus.check.summarise_corpus", fail_if_called)
    Path("folder").mkdir()
    for arguments, message in (
        (["--json", "nowhere/c.json"], r"the counts cannot be written to nowhere/c\.json"),
        (["--json", "folder"], "the counts cannot be written to folder .*; name another file"),
        (["--page", "nowhere/p.png"], r"the page cannot be written to nowhere/p\.png"),
    ):
        with pytest.raises(NotAllowed, match=message):
            CliRunner().invoke(command, ["check", "phantoms", *arguments], catch_exceptions=False)
    with pytest.raises(CorpusError, match="'phantoms:ward' has a path already; leave out 'usual'"):
        CliRunner().invoke(command, ["check", "phantoms:ward", "usual"], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.slow
def test_the_command_on_the_samples(samples: Path, tmp_path: Path) -> None:
    page = tmp_path / "p.png"
    output = run("iu_xray", str(samples / "iu"), "--page", str(page))
    assert "examples train 2, validate 0, test 3" in output
    assert "left out 3,323 no films, such as CXR1 " in output
    assert "films there 11" in output
    assert pixels(page).std() > 10

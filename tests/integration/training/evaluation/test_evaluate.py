"""A bundle is scored from the command to the page: the shipped one, on a few phantoms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

import pytest
import typer

from model.decoding import Serving
from model.errors import BundleError
from model.labels import RuleLabeller
from model.progress import no_progress
from nightdraft.cli.evaluate import evaluate_command
from records.errors import CorpusError, NotAllowed, SettingsError
from tests.support.evaluations import SCORING
from tests.support.listed_corpus import MissingImage
from training.corpus.example import TEST, TRAIN, VALIDATE, Corpus, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.drafting import PriorMode
from training.evaluation.evaluate import Evaluation, evaluate, prepare_held_out_set
from training.evaluation.scoring import ScoringConfig

STUDIES = 12


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one thread, few phantoms for the floors, and no METEOR 1.5, which starts slowly."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


class OneMissingImage:
    """A few phantoms, one of whose images is missing."""

    name = "lost"
    identity: ClassVar[dict[str, str]] = {"name": name}

    def read(self, split: str = "") -> Iterator[Example]:
        for number, example in enumerate(islice(PhantomCorpus().read(split), STUDIES)):
            lost = split == TEST and number == 3
            images = (MissingImage("film-3"),) if lost else example.images
            yield Example(
                key="same" if split == TEST else example.key,  # ids need not be unique
                patient=example.patient,
                split=split,
                images=images,
                target=example.target,
                priors=example.priors,
                truth=example.truth,
            )


def test_the_shipped_bundle_finds_what_is_drawn_and_not_what_is_swapped() -> None:
    calls: list[tuple[str, float, float | None]] = []
    result = evaluate(
        "demo",
        PhantomCorpus(),
        modes=(PriorMode.CONTEXT,),
        scoring=SCORING,
        limit=STUDIES,
        device="cpu",
        progress=lambda step, done, total: calls.append((step, done, total)),
    )
    main = result.main
    assert main.agreement is not None
    assert main.swapped is not None
    assert main.agreement.f1 >= 0.8
    assert main.swapped.f1 <= 0.5
    assert main.agreement.f1 == pytest.approx(main.scores.findings["finding_f1_micro"].value)
    assert main.support is not None
    own, swapped = main.support.own.scores, main.support.swapped.scores
    assert own["supported"].value >= 0.8
    assert swapped["supported"].value <= 0.5
    assert swapped["not_supported"].value > own["not_supported"].value
    best_floor = max(floor.wording["lower"]["bleu_4"].value for floor in result.floors.values())
    assert main.scores.wording["lower"]["bleu_4"].value > best_floor
    assert ("drafting, context", STUDIES, STUDIES) in calls
    assert ("drafting, context, films swapped", STUDIES, STUDIES) in calls


def test_a_study_whose_image_is_missing_is_an_empty_draft_with_its_reason() -> None:
    def texts(evaluation: Evaluation) -> tuple[str, ...]:
        return evaluation.main.drafts.texts

    lost = evaluate(
        "demo", OneMissingImage(), modes=(PriorMode.CONTEXT,), scoring=SCORING, device="cpu"
    )
    complete = evaluate(
        "demo",
        PhantomCorpus(),
        modes=(PriorMode.CONTEXT,),
        scoring=SCORING,
        limit=STUDIES,
        device="cpu",
    )
    assert [item.reason for _, item in lost.failures()] == ["there is no film film-3"]
    assert texts(lost)[3] == ""
    assert texts(lost)[:3] + texts(lost)[4:] == texts(complete)[:3] + texts(complete)[4:]
    assert len(lost.held_out.examples) == STUDIES
    rouge = [item.main.scores.wording["lower"]["rouge_l"].value for item in (lost, complete)]
    assert rouge[0] < rouge[1]


def test_the_command_writes_figures_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    evaluate_command(
        "demo",
        "phantoms",
        against="demo",
        seed=1,
        limit=6,
        modes=["context", "oracle"],
        normalisation=["lower"],
        device="cpu",
        out=tmp_path / "report",
        json=figures,
    )
    figures = json.loads(figures.read_text())
    assert (figures["corpus"], figures["seed"], figures["limit"], figures["studies"]) == (
        "phantoms",
        1,
        6,
        6,
    )
    assert figures["finding_f1_micro"] > figures["finding_f1_micro_films_swapped"]
    assert list(figures["modes"]) == ["context"]
    assert "gives no priors out of its reports" in figures["modes_left_out"]["oracle"]
    assert {comparison["p"] for comparison in figures["against"]["modes"]["context"].values()} <= {
        1.0,
        None,
    }
    assert figures["modes"]["context"]["image_support"]["own"]["studies"] == 6
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Image support" in page
    assert figures["bundle"]["digest"] in page
    assert "phantom-1001000000" in page  # seed 1 is another stretch of the held-out ones
    assert (tmp_path / "report" / "report.md").is_file()
    printed = capsys.readouterr().out
    assert "prior mode oracle is left out" in printed
    assert "finding F1" in printed
    assert "prior mode context, films swapped" in printed
    assert "not for clinical use" in printed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bundle": "nowhere"}, BundleError, "there is no bundle at nowhere"),
        ({"against": "nowhere"}, BundleError, "there is no bundle at nowhere"),
        ({"corpus": "chests"}, CorpusError, "there is no corpus 'chests'; there are"),
        ({"limit": 0}, CorpusError, "a limit of 0 leaves no study"),
        ({"modes": ["dreamt"]}, typer.BadParameter, "no prior mode 'dreamt'; there are"),
        (
            {"as_paper": True},
            SettingsError,
            r"paper's corpora \(iu_xray, mimic_cxr\), not phantoms",
        ),
        ({"normalisation": ["upper"]}, CorpusError, "no normalisation 'upper'"),
        ({"json": Path("nowhere/at/all.json")}, NotAllowed, "cannot be written to nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_an_error_before_anything_is_drafted(
    options: dict[str, object],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a bundle was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model.inference.engine.Engine.load", load)
    with pytest.raises(error, match=message):
        evaluate_command(**({"bundle": "demo", "corpus": "phantoms"} | options))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_figures_that_are_there_stay_until_there_are_new_ones(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text("mine")
    with pytest.raises(CorpusError):
        evaluate_command("demo", "phantoms", limit=0, json=figures)
    assert figures.read_text() == "mine"


def test_a_bundle_that_can_be_prompted_in_no_mode_says_why() -> None:
    with pytest.raises(BundleError, match=r"in none of these prior modes .predicted: the bundle"):
        evaluate(
            "demo",
            PhantomCorpus(),
            modes=(PriorMode.PREDICTED,),
            scoring=SCORING,
            limit=2,
            device="cpu",
        )


def test_training_and_test_phantoms_are_disjoint() -> None:
    training_keys = {example.key for example in islice(PhantomCorpus().read(TRAIN), 50)}
    assert not training_keys & {example.key for example in islice(PhantomCorpus().read(TEST), 50)}


def test_evaluate_passes_split_beams_and_the_papers_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    seen: dict[str, object] = {}

    def prepare(corpus: Corpus, scoring: object, limit: object, progress: object, part: str) -> str:
        seen.update(part=part, target=getattr(corpus, "target", ""))
        return "held out"

    def draft(*arguments: object) -> None:
        seen.update(modes=arguments[3], serving=arguments[6])
        raise Enough

    monkeypatch.setattr("training.evaluation.evaluate.prepare_held_out_set", prepare)
    monkeypatch.setattr("training.evaluation.evaluate.evaluate_bundle", draft)
    with pytest.raises(Enough):
        evaluate_command("demo", "phantoms", split="validate", beams=3)
    assert (seen["part"], seen["serving"]) == ("validate", Serving(beams=3))
    assert seen["modes"] == tuple(PriorMode)
    (tmp_path / "indiana_reports.csv").write_text(
        "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
        "1,normal,normal,Xray Chest PA and Lateral,pain,,Clear.,Clear.\n"
    )
    (tmp_path / "indiana_projections.csv").write_text(
        "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n"
    )
    with pytest.raises(Enough):
        evaluate_command("demo", f"iu_xray:{tmp_path}", as_paper=True)
    assert (seen["part"], seen["target"], seen["modes"]) == (
        "test",
        "findings",
        (PriorMode.ORACLE,),
    )


def test_the_validation_split_can_be_scored() -> None:
    held_out = prepare_held_out_set(
        PhantomCorpus(), ScoringConfig(RuleLabeller()), 3, no_progress, VALIDATE
    )
    corpus = PhantomCorpus()
    expected = [corpus.example(VALIDATE, n).key for n in range(3)]
    assert [example.key for example in held_out.examples] == expected

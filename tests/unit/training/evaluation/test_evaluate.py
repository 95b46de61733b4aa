"""What an evaluation scores, and what it refuses: on studies and drafts written by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from model.errors import TemplateError
from model.labels import load_labeller
from model.manifest import Manifest
from records.errors import CorpusError
from tests.support.evaluations import BUNDLE, CLEAR, FLUID, HOW, drafted, evaluation, hold, hush
from tests.support.listed_corpus import Listed, learnt, study
from training.corpus.example import TEST, ExcludedStudy
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.drafting import Failure, Mode, prompt_for
from training.evaluation.evaluate import compare_bundles
from training.evaluation.figures import as_json
from training.evaluation.heldout import ENDLESS
from training.evaluation.scoring import compare, count_unsupported_comparisons, score


@pytest.fixture(autouse=True)
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR 1.5 takes seconds to start, and says so in its note where it cannot."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)


@pytest.fixture(autouse=True)
def _few_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of phantoms, for the floors."""
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


# ---- The studies ----


def test_an_empty_test_split_is_refused() -> None:
    corpus = Listed([learnt("a", CLEAR), ExcludedStudy("b", "no report")])
    with pytest.raises(CorpusError, match="listed has no study in its test split"):
        hold(corpus)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(CorpusError, match=f"a limit of {limit} leaves no study"):
        hold(PhantomCorpus(), limit)


def test_an_unknown_normalisation_is_refused_before_anything_is_read() -> None:
    with pytest.raises(CorpusError, match="no normalisation 'upper'; ask for one of raw, lower"):
        hold(Listed([]), how=replace(HOW, normalisations=("upper",)))


def test_phantoms_have_a_limit_of_their_own() -> None:
    held = hold(PhantomCorpus())
    assert len(held.examples) == held.limit == ENDLESS
    assert held.truth is not None
    assert held.normal == tuple(not truth for truth in held.truth)


def test_duplicates_of_the_training_split_are_left_out_of_a_group() -> None:
    corpus = Listed(
        [
            learnt("a", CLEAR.upper()),
            study("1", CLEAR),
            study("2", FLUID),
            study("3", FLUID.replace(".", "")),
            ExcludedStudy("4", "no report"),
        ]
    )
    held = hold(corpus)
    places = {group.name: group.places for group in held.groups}
    assert held.duplicates == 1
    assert places["not word for word in the training split"] == (1, 2)
    assert places["that, and each text once"] == (1,)


def test_studies_are_grouped_by_views_and_by_what_the_coders_say() -> None:
    corpus = Listed(
        [
            study("1", CLEAR, views=2, problems=("normal",)),
            study("2", FLUID, views=3, problems=("Pleural Effusion", "Cardiomegaly")),
        ]
    )
    held = hold(corpus)
    places = {group.name: group.places for group in held.groups}
    assert (places["2 views"], places["3 views"]) == ((0,), (1,))
    assert (places["normal"], places["abnormal"]) == ((0,), (1,))
    assert held.normal_by == "the corpus's coders"


def test_where_nobody_coded_the_labeller_says_what_is_normal() -> None:
    held = hold(Listed([study("1", CLEAR), study("2", FLUID)]))
    assert held.normal == (True, False)
    assert held.normal_by == load_labeller(None).name


def test_a_draft_is_scored_by_its_findings_where_the_references_are_findings() -> None:
    draft = f"Findings: {CLEAR} Impression: Normal chest."
    assert hold(Listed([study("1", CLEAR)])).scored(draft) == CLEAR
    assert hold(Listed([study("1", draft)])).scored(draft) == draft


# ---- How a bundle is asked ----


def instruction(mode: Mode, manifest: Manifest) -> str:
    one = study("1", CLEAR, indication="Cough", prior_report="Clear lungs.", problems=("normal",))
    how = prompt_for(mode, manifest, [one], lambda _: True)
    return how.instruct(one, one.case(manifest.preprocessing))


def test_each_mode_says_what_it_may() -> None:
    assert "Cough" in instruction(Mode.CONTEXT, BUNDLE)
    assert "Prior report: Clear lungs." in instruction(Mode.CONTEXT, BUNDLE)
    assert instruction(Mode.NONE, BUNDLE) == "Write the report of this chest radiograph."
    assert instruction(Mode.ORACLE, BUNDLE).startswith("Problems: normal \n")


def test_without_the_bare_template_none_is_context_without_priors() -> None:
    said = instruction(Mode.NONE, replace(BUNDLE, templates=()))
    assert "Image: Chest, 1 view, frontal" in said
    assert "Cough" not in said
    assert "Clear" not in said


@pytest.mark.parametrize(
    ("mode", "manifest", "reason"),
    [
        (Mode.ORACLE, replace(BUNDLE, templates=()), "not trained with the template 'oracle_iu'"),
        (Mode.PREDICTED, BUNDLE, "not trained with the template 'predicted'; ask for 'context'"),
        (Mode.PREDICTED, replace(BUNDLE, templates=("predicted",)), "names no classifier"),
        (Mode.CONTEXT, replace(BUNDLE, template="oracle_iu"), "not trained with .* 'context'"),
    ],
)
def test_a_mode_that_the_bundle_was_not_trained_for_says_why(
    mode: Mode, manifest: Manifest, reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason):
        instruction(mode, manifest)


def test_phantoms_tell_nothing_of_their_reports() -> None:
    with pytest.raises(TemplateError, match="gives no priors out of its reports"):
        prompt_for(Mode.ORACLE, BUNDLE, [PhantomCorpus().example(TEST, 0)], lambda _: True)


# ---- Scores ----


def test_the_reports_themselves_score_one_and_floors_less() -> None:
    held = hold(PhantomCorpus(), 8)
    came = evaluation(held, held.references)
    assert came.main.scored.wording["lower"]["bleu_4"].value == pytest.approx(1.0)
    assert came.main.scored.findings["finding_f1_micro"].value == 1.0
    assert len(came.floors) == 3
    for floor in came.floors.values():
        assert floor.wording["lower"]["bleu_4"].value < 0.9
        assert floor.findings["finding_f1_micro"].value < 0.5
    assert "needs Java" in came.notes["lower"]["meteor_1_5"]


def test_each_writer_is_scored_as_it_would_be_alone() -> None:
    """They are measured together; each is cut out again."""
    held = hold(Listed([study("1", CLEAR), study("2", FLUID), study("3", f"{CLEAR} {FLUID}")]))
    texts = {"one": [CLEAR, CLEAR, CLEAR], "two": [FLUID, FLUID, CLEAR]}
    both = score(held, texts, HOW, ["two"], hush).by_name
    for name, own in texts.items():
        alone = score(held, {name: own}, HOW, ["two"], hush).by_name[name]
        assert both[name].main.keys() == alone.main.keys()
        for key, one in alone.main.items():
            assert both[name].main[key].value == pytest.approx(one.value)
        assert both[name].rouge_l == pytest.approx(alone.rouge_l)
    assert (bool(both["one"].groups), bool(both["two"].groups)) == (False, True)


def test_a_group_has_the_scores_of_its_own_studies() -> None:
    held = hold(Listed([study("1", CLEAR, views=1), study("2", FLUID, views=2)]))
    scored = score(held, {"w": [CLEAR, CLEAR]}, HOW, ["w"], hush).by_name["w"]
    found = {group.name: scores["rouge_l"].value for group, scores in scored.groups}
    assert found["1 view"] == found["normal"] == pytest.approx(1.0)
    assert found["2 views"] == found["abnormal"] < 0.5


def test_comparisons_count_only_where_no_earlier_report_was_told() -> None:
    held = hold(Listed([study("1", "Stable."), study("2", CLEAR), study("3", CLEAR)]))
    stable = "Unchanged from prior. The lungs are clear."
    found = count_unsupported_comparisons(
        held, drafted([stable, stable, CLEAR], [False, True, False])
    )
    assert (found.studies, found.drafts, found.references) == (2, 1, 1)


# ---- Two bundles, and JSON ----


def test_the_same_drafts_twice_are_not_told_apart() -> None:
    held = hold(PhantomCorpus(), 6)
    found = compare(held, held.references, held.references, HOW, hush)
    assert {one.p for one in found.values()} == {1.0}


def test_right_drafts_are_told_from_drafts_of_others() -> None:
    held = hold(PhantomCorpus(), 12)
    other = held.floors["shuffled"]
    found = compare(held, held.references, other, replace(HOW, resamples=99), hush)
    assert found["rouge_l"].p == pytest.approx(0.01)
    assert found["rouge_l"].first == pytest.approx(1.0)
    assert found["finding_f1_micro"].difference.value > 0.5


def test_bundles_are_compared_on_the_same_studies_alone() -> None:
    one, other = hold(PhantomCorpus(), 3), hold(PhantomCorpus(), 2)
    with pytest.raises(CorpusError, match="not scored on the same studies"):
        compare_bundles(evaluation(one, one.references), evaluation(other, other.references))


def test_bundles_without_a_mode_in_common_are_not_compared() -> None:
    held = hold(PhantomCorpus(), 2)
    one = evaluation(held, held.references)
    other = replace(one, modes={Mode.NONE: one.main})
    with pytest.raises(CorpusError, match="no prior mode in common"):
        compare_bundles(one, other)


def test_the_json_holds_the_figures_and_no_text() -> None:
    held = hold(PhantomCorpus(), 5)
    came = evaluation(held, [*held.references[:4], ""], (Failure(held.examples[4].key, "dark"),))
    said = json.loads(json.dumps(as_json(came, compare_bundles(came, came)), allow_nan=False))
    assert said["bundle"] == {"name": "mine", "version": "1", "digest": BUNDLE.digest}
    assert (said["studies"], said["limit"], said["mode"]) == (5, 5, "context")
    assert said["failures"] == [{"mode": "context", "key": held.examples[4].key, "reason": "dark"}]
    assert said["finding_f1_micro"] == said["modes"]["context"]["finding_f1_micro"]
    assert set(said["floors"]) == {"fixed", "nearest", "shuffled"}
    assert said["modes_left_out"] == {"oracle": "for no reason"}
    assert said["against"]["modes"]["context"]["bleu_4"]["p"] == 1.0
    assert held.references[0] not in json.dumps(said)


def test_what_is_no_number_is_null_in_json() -> None:
    held = hold(PhantomCorpus(), 2)
    came = evaluation(held, ["", ""])
    assert math.isnan(came.main.scored.findings["finding_precision"].value)
    findings = as_json(came)["modes"]["context"]["findings"]
    assert findings["finding_precision"]["value"] is None

"""What an evaluation scores, and what it refuses: on studies and drafts written by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from model.errors import TemplateError
from model.labels import load_labeller
from model.manifest import Manifest
from model.progress import no_progress
from records.errors import CorpusError
from tests.support.evaluations import (
    BUNDLE,
    CLEAR,
    FLUID,
    SCORING,
    held_out_set,
    make_drafts,
    make_evaluation,
)
from tests.support.listed_corpus import ListedCorpus, make_study, make_training_study
from training.corpus.example import TEST, ExcludedStudy
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.drafting import Failure, PriorMode, prompt_for
from training.evaluation.evaluate import compare_bundles
from training.evaluation.figures import as_json
from training.evaluation.heldout import ENDLESS_LIMIT
from training.evaluation.scoring import (
    compare_systems,
    count_unsupported_comparisons,
    score_systems,
)


@pytest.fixture(autouse=True)
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR 1.5 takes seconds to start, and says so in its note where it cannot."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)


@pytest.fixture(autouse=True)
def _few_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few phantoms for the floors."""
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


# ---- The studies ----


def test_an_empty_test_split_is_refused() -> None:
    corpus = ListedCorpus([make_training_study("a", CLEAR), ExcludedStudy("b", "no report")])
    with pytest.raises(CorpusError, match="listed has no study in its test split"):
        held_out_set(corpus)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(CorpusError, match=f"a limit of {limit} leaves no study"):
        held_out_set(PhantomCorpus(), limit)


def test_an_unknown_normalisation_is_refused_before_anything_is_read() -> None:
    with pytest.raises(CorpusError, match="no normalisation 'upper'; ask for one of raw, lower"):
        held_out_set(ListedCorpus([]), scoring=replace(SCORING, normalisations=("upper",)))


def test_phantoms_have_a_limit_of_their_own() -> None:
    held_out = held_out_set(PhantomCorpus())
    assert len(held_out.examples) == held_out.limit == ENDLESS_LIMIT
    assert held_out.truth is not None
    assert held_out.normal == tuple(not truth for truth in held_out.truth)


def test_duplicates_of_the_training_split_are_left_out_of_a_group() -> None:
    corpus = ListedCorpus(
        [
            make_training_study("a", CLEAR.upper()),
            make_study("1", CLEAR),
            make_study("2", FLUID),
            make_study("3", FLUID.replace(".", "")),
            ExcludedStudy("4", "no report"),
        ]
    )
    held_out = held_out_set(corpus)
    indices = {group.name: group.indices for group in held_out.groups}
    assert held_out.duplicates == 1
    assert indices["not word for word in the training split"] == (1, 2)
    assert indices["that, and each text once"] == (1,)


def test_studies_are_grouped_by_views_and_by_what_the_coders_say() -> None:
    corpus = ListedCorpus(
        [
            make_study("1", CLEAR, views=2, problems=("normal",)),
            make_study("2", FLUID, views=3, problems=("Pleural Effusion", "Cardiomegaly")),
        ]
    )
    held_out = held_out_set(corpus)
    indices = {group.name: group.indices for group in held_out.groups}
    assert (indices["2 views"], indices["3 views"]) == ((0,), (1,))
    assert (indices["normal"], indices["abnormal"]) == ((0,), (1,))
    assert held_out.normal_by == "the corpus's coders"


def test_without_codes_the_labeller_says_what_is_normal() -> None:
    held_out = held_out_set(ListedCorpus([make_study("1", CLEAR), make_study("2", FLUID)]))
    assert held_out.normal == (True, False)
    assert held_out.normal_by == load_labeller(None).name


def test_a_draft_is_scored_by_its_findings_where_the_references_are_findings() -> None:
    draft = f"Findings: {CLEAR} Impression: Normal chest."
    assert held_out_set(ListedCorpus([make_study("1", CLEAR)])).scored_part(draft) == CLEAR
    assert held_out_set(ListedCorpus([make_study("1", draft)])).scored_part(draft) == draft


# ---- How a bundle is prompted ----


def instruction(mode: PriorMode, manifest: Manifest) -> str:
    study = make_study(
        "1", CLEAR, indication="Cough", prior_report="Clear lungs.", problems=("normal",)
    )
    prompts = prompt_for(mode, manifest, [study], lambda _: True)
    prompt, _ = prompts.instruct(study, study.case(manifest.preprocessing))
    return prompt


def test_each_mode_says_what_it_may() -> None:
    assert "Cough" in instruction(PriorMode.CONTEXT, BUNDLE)
    assert "Prior report: Clear lungs." in instruction(PriorMode.CONTEXT, BUNDLE)
    assert instruction(PriorMode.NONE, BUNDLE) == "Write the report of this chest radiograph."
    assert instruction(PriorMode.ORACLE, BUNDLE).startswith("Problems: normal \n")


def test_without_the_bare_template_none_is_context_without_priors() -> None:
    figures = instruction(PriorMode.NONE, replace(BUNDLE, templates=()))
    assert "Image: Chest, 1 view, frontal" in figures
    assert "Cough" not in figures
    assert "Clear" not in figures


@pytest.mark.parametrize(
    ("mode", "manifest", "reason"),
    [
        (
            PriorMode.ORACLE,
            replace(BUNDLE, templates=()),
            "not trained with the template 'oracle_iu'",
        ),
        (
            PriorMode.PREDICTED,
            BUNDLE,
            "not trained with the template 'predicted'; ask for 'context'",
        ),
        (PriorMode.PREDICTED, replace(BUNDLE, templates=("predicted",)), "names no classifier"),
        (PriorMode.CONTEXT, replace(BUNDLE, template="oracle_iu"), "not trained with .* 'context'"),
    ],
)
def test_a_mode_that_the_bundle_was_not_trained_for_says_why(
    mode: PriorMode, manifest: Manifest, reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason):
        instruction(mode, manifest)


def test_phantoms_tell_nothing_of_their_reports() -> None:
    with pytest.raises(TemplateError, match="gives no priors out of its reports"):
        prompt_for(PriorMode.ORACLE, BUNDLE, [PhantomCorpus().example(TEST, 0)], lambda _: True)


# ---- Scores ----


@pytest.mark.slow
def test_the_reports_themselves_score_one_and_floors_less() -> None:
    held_out = held_out_set(PhantomCorpus(), 8)
    result = make_evaluation(held_out, held_out.references)
    assert result.main.scores.wording["lower"]["bleu_4"].value == pytest.approx(1.0)
    assert result.main.scores.findings["finding_f1_micro"].value == 1.0
    assert len(result.floors) == 3
    for floor in result.floors.values():
        assert floor.wording["lower"]["bleu_4"].value < 0.9
        assert floor.findings["finding_f1_micro"].value < 0.5
    assert "needs Java" in result.notes["lower"]["meteor_1_5"]


def test_each_writer_is_scored_as_it_would_be_alone() -> None:
    """The systems are scored together, and each score equals that of the system alone."""
    held_out = held_out_set(
        ListedCorpus(
            [make_study("1", CLEAR), make_study("2", FLUID), make_study("3", f"{CLEAR} {FLUID}")]
        )
    )
    texts = {"one": [CLEAR, CLEAR, CLEAR], "two": [FLUID, FLUID, CLEAR]}
    joint = score_systems(held_out, texts, SCORING, ["two"], no_progress).by_system
    for name, own in texts.items():
        single = score_systems(held_out, {name: own}, SCORING, ["two"], no_progress).by_system[name]
        assert joint[name].main.keys() == single.main.keys()
        for key, score in single.main.items():
            assert joint[name].main[key].value == pytest.approx(score.value)
        assert joint[name].rouge_l == pytest.approx(single.rouge_l)
    assert (bool(joint["one"].groups), bool(joint["two"].groups)) == (False, True)


def test_a_group_has_the_scores_of_its_own_studies() -> None:
    held_out = held_out_set(
        ListedCorpus([make_study("1", CLEAR, views=1), make_study("2", FLUID, views=2)])
    )
    scored = score_systems(held_out, {"w": [CLEAR, CLEAR]}, SCORING, ["w"], no_progress).by_system[
        "w"
    ]
    scores_by_group = {group.name: scores["rouge_l"].value for group, scores in scored.groups}
    assert scores_by_group["1 view"] == scores_by_group["normal"] == pytest.approx(1.0)
    assert scores_by_group["2 views"] == scores_by_group["abnormal"] < 0.5


def test_comparisons_count_only_without_an_earlier_report_in_the_prompt() -> None:
    held_out = held_out_set(
        ListedCorpus([make_study("1", "Stable."), make_study("2", CLEAR), make_study("3", CLEAR)])
    )
    stable = "Unchanged from prior. The lungs are clear."
    counts = count_unsupported_comparisons(
        held_out, make_drafts([stable, stable, CLEAR], [False, True, False])
    )
    assert (counts.studies, counts.drafts, counts.references) == (2, 1, 1)


# ---- Two bundles, and JSON ----


def test_the_same_drafts_twice_do_not_differ() -> None:
    held_out = held_out_set(PhantomCorpus(), 6)
    comparisons = compare_systems(
        held_out, held_out.references, held_out.references, SCORING, no_progress
    )
    assert {comparison.p for comparison in comparisons.values()} == {1.0}


def test_right_drafts_differ_from_drafts_of_other_studies() -> None:
    held_out = held_out_set(PhantomCorpus(), 12)
    other = held_out.floors["shuffled"]
    comparisons = compare_systems(
        held_out, held_out.references, other, replace(SCORING, resamples=99), no_progress
    )
    assert comparisons["rouge_l"].p == pytest.approx(0.01)
    assert comparisons["rouge_l"].first == pytest.approx(1.0)
    assert comparisons["finding_f1_micro"].difference.value > 0.5


def test_bundles_are_compared_on_the_same_studies_alone() -> None:
    three_studies, two_studies = held_out_set(PhantomCorpus(), 3), held_out_set(PhantomCorpus(), 2)
    with pytest.raises(CorpusError, match="not scored on the same studies"):
        compare_bundles(
            make_evaluation(three_studies, three_studies.references),
            make_evaluation(two_studies, two_studies.references),
        )


def test_bundles_without_a_mode_in_common_are_not_compared() -> None:
    held_out = held_out_set(PhantomCorpus(), 2)
    with_context = make_evaluation(held_out, held_out.references)
    without_priors = replace(with_context, modes={PriorMode.NONE: with_context.main})
    with pytest.raises(CorpusError, match="no prior mode in common"):
        compare_bundles(with_context, without_priors)


def test_the_json_holds_the_figures_and_no_text() -> None:
    held_out = held_out_set(PhantomCorpus(), 5)
    result = make_evaluation(
        held_out, [*held_out.references[:4], ""], (Failure(held_out.examples[4].key, "dark"),)
    )
    figures = json.loads(
        json.dumps(as_json(result, compare_bundles(result, result)), allow_nan=False)
    )
    assert figures["bundle"] == {"name": "mine", "version": "1", "digest": BUNDLE.digest}
    assert (figures["studies"], figures["limit"], figures["mode"]) == (5, 5, "context")
    assert figures["failures"] == [
        {"mode": "context", "key": held_out.examples[4].key, "reason": "dark"}
    ]
    assert figures["finding_f1_micro"] == figures["modes"]["context"]["finding_f1_micro"]
    assert set(figures["floors"]) == {"fixed", "nearest", "shuffled"}
    assert figures["modes_left_out"] == {"oracle": "for no reason"}
    assert figures["against"]["modes"]["context"]["bleu_4"]["p"] == 1.0
    assert held_out.references[0] not in json.dumps(figures)


def test_what_is_no_number_is_null_in_json() -> None:
    held_out = held_out_set(PhantomCorpus(), 2)
    result = make_evaluation(held_out, ["", ""])
    assert math.isnan(result.main.scores.findings["finding_precision"].value)
    findings = as_json(result)["modes"]["context"]["findings"]
    assert findings["finding_precision"]["value"] is None


def test_the_headline_is_of_the_mode_that_is_served() -> None:
    held_out = held_out_set(ListedCorpus([make_study("1", CLEAR), make_study("2", FLUID)]))
    evaluation = make_evaluation(held_out, [CLEAR, FLUID])
    result = evaluation.main
    modes = dict.fromkeys((PriorMode.NONE, PriorMode.CONTEXT, PriorMode.PREDICTED), result)
    for template, headline in (("predicted", "predicted"), ("context", "context"), ("x", "none")):
        manifest = replace(BUNDLE, template=template)
        assert replace(evaluation, manifest=manifest, modes=modes).mode == headline


def test_scores_that_saw_the_report_are_not_kept() -> None:
    study = make_study("1", CLEAR, problems=("normal",))
    case = study.case(BUNDLE.preprocessing)
    _, by_report = prompt_for(PriorMode.ORACLE, BUNDLE, [study], lambda _: True).instruct(
        study, case
    )
    _, by_order = prompt_for(PriorMode.CONTEXT, BUNDLE, [study], lambda _: True).instruct(
        study, case
    )
    assert by_report == {}
    assert by_order is None  # those of the draft itself are kept

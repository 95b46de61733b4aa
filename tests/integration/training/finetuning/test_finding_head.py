"""A finding head is fitted to a bundle that stands, and never changes what it writes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundling.build import BundleDescription, make_bundle
from model.bundling.store import load_bundle
from model.case import DraftText
from model.errors import BundleError
from model.inference.engine import Engine
from model.labels import RuleLabeller
from model.manifest import read_manifest, resolve, verify, write_manifest
from model.network.finding_head import FINDING_HEAD_FILE
from model.prompting.prompt import build_instruction
from model.reporter import Reporter
from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, VALIDATE, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.finetuning.batches import SampleTransform
from training.finetuning.finding_head import HeadConfig, add_finding_head

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CONFIG = HeadConfig(examples=150, calibration_examples=60, epochs=10)


def examples(split: str, count: int) -> list[Example]:
    return list(islice(PhantomCorpus().read(split), count))


@pytest.fixture(scope="module")
def without_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "without"
    shutil.copytree(resolve("demo"), folder)
    (folder / FINDING_HEAD_FILE).unlink()
    write_manifest(folder, replace(read_manifest(folder), finding_head={}, classifier=""))
    return folder


@pytest.fixture(scope="module")
def with_head(without_head: Path) -> Path:
    folder = without_head.with_name("with")
    shutil.copytree(without_head, folder)
    add_finding_head(
        folder,
        examples(TRAIN, 150),
        examples(VALIDATE, 60),
        RuleLabeller(),
        SampleTransform(),
        CONFIG,
        device=CPU,
    )
    return folder


def drafts_of(bundle: Path) -> dict[str, DraftText]:
    cases = [e.case(read_manifest(bundle).preprocessing) for e in examples(TEST, 4)]
    reporter = Reporter.load(bundle, "cpu")
    return {d.key: d for d in reporter.draft(cases) if isinstance(d, DraftText)}


def test_drafts_are_the_same_with_a_head(without_head: Path, with_head: Path) -> None:
    plain, scored = drafts_of(without_head), drafts_of(with_head)
    assert len(plain) == 4
    for key, draft in plain.items():
        assert draft.finding_scores == {}
        assert scored[key].text == draft.text
        assert scored[key].logprobs == draft.logprobs
        assert set(scored[key].finding_scores) == set(
            read_manifest(with_head).finding_head["observations"]
        )


def test_the_engine_gives_the_scores_of_the_network(with_head: Path) -> None:
    """In groups as on a GPU: each case gets its own scores."""
    model, _ = load_bundle(with_head, CPU)
    cases = [e.case(model.preprocessing) for e in examples(TEST, 5)]
    prompted = [(case, build_instruction(case, "context", model.fits)) for case in cases]
    engine = Engine.load(with_head, "cpu")[0]
    engine.runner.group_size = 4
    outputs = {output.key: output for output in engine.write(prompted)}
    for case, instruction in prompted:
        inputs = model.gather([case], [instruction])
        with torch.inference_mode():
            expected = model.score_findings(inputs, model.encode_images(inputs)[1])
        assert expected is not None
        scores = outputs[case.key].finding_scores
        np.testing.assert_allclose(list(scores.values()), expected[0].numpy(), atol=1e-4)
        assert engine.runner.score_findings(case, instruction) == pytest.approx(scores, abs=1e-4)


def test_the_manifest_says_how_it_was_fitted(with_head: Path) -> None:
    manifest = verify(with_head)
    record = manifest.finding_head
    assert record["examples"] == 150
    assert record["calibration"]["studies"] == 60
    assert record["labeller"] == RuleLabeller.name
    assert record["scores"]["auc"]["Consolidation"] > 0.9
    assert manifest.classifier == "finding_head"


def test_what_occurs_too_seldom_is_not_learnt(with_head: Path) -> None:
    observations = read_manifest(with_head).finding_head["observations"]
    assert "Pneumothorax" in observations
    assert "Fracture" not in observations  # no phantom has one


def test_without_held_out_studies_nothing_is_calibrated(without_head: Path, tmp_path: Path) -> None:
    folder = tmp_path / "uncalibrated"
    shutil.copytree(without_head, folder)
    manifest = add_finding_head(
        folder,
        examples(TRAIN, 100),
        [],
        RuleLabeller(),
        SampleTransform(),
        replace(CONFIG, epochs=1),
        device=CPU,
    )
    assert manifest.finding_head["calibration"]["thresholds"] == {}
    assert manifest.finding_head["calibration"]["studies"] == 0


def test_too_few_studies_leave_the_bundle_as_it_was(without_head: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(without_head, folder)
    with pytest.raises(CorpusError, match="take more studies"):
        add_finding_head(
            folder, examples(TRAIN, 5), [], RuleLabeller(), SampleTransform(), device=CPU
        )
    assert verify(folder) == read_manifest(without_head)


def test_a_copy_keeps_the_head(with_head: Path, tmp_path: Path) -> None:
    copy = make_bundle(tmp_path / "copy", with_head, BundleDescription("copy", "9"))
    assert copy.finding_head == read_manifest(with_head).finding_head
    assert load_bundle(tmp_path / "copy", CPU)[0].finding_head is not None


def test_a_bundle_whose_head_is_missing_is_refused(with_head: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(with_head, folder)
    (folder / FINDING_HEAD_FILE).unlink()
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BundleError, match="finding_head"):
        load_bundle(folder, CPU)

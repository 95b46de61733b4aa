"""The reporter, which is all of the model that a worker uses, with and without a bundle."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from model.case import Case, DraftText, FailedCase, Priors
from model.decoding import Serving
from model.errors import BundleError, DeviceError
from model.inference.engine import Engine
from model.manifest import read_manifest
from model.prompting.prompt import QUESTION
from model.reporter import Drafter, NullReporter, Reporter, load_reporter
from training.corpus.phantoms import HELD_OUT, phantom


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("demo", "cpu", Serving(slots=4))[0]


@pytest.fixture(scope="module")
def reporter(engine: Engine) -> Reporter:
    return Reporter(engine, read_manifest("demo"))


def case(seed: int) -> Case:
    return phantom(HELD_OUT + seed).case(112)


def test_drafts_of_the_shipped_bundle(reporter: Reporter) -> None:
    cases = [case(n) for n in range(6)]
    drafts = {d.key: d for d in reporter.draft(cases)}
    assert set(drafts) == {c.key for c in cases}
    for draft in drafts.values():
        assert isinstance(draft, DraftText)
        assert draft.text.startswith("Findings:")
        assert draft.findings
        assert draft.impression
        assert draft.prompt.endswith(QUESTION)
        assert len(draft.tokens) == len(draft.logprobs) > 10
        assert all(value <= 1e-4 for value in draft.logprobs)
        assert draft.device == "cpu"
        assert draft.dtype == "float32"
        assert not draft.cut


def test_a_refused_case_does_not_stop_the_others(reporter: Reporter) -> None:
    cases = [case(0), replace(case(1), views=()), case(2)]
    kinds = {d.key: type(d) for d in reporter.draft(cases)}
    assert kinds == {cases[0].key: DraftText, cases[1].key: FailedCase, cases[2].key: DraftText}


def test_a_flood_of_words_leaves_the_template(reporter: Reporter) -> None:
    flood = replace(case(0), priors=Priors("zebra crossing " * 300, "日本" * 200, "x" * 5000))
    draft = next(reporter.draft([flood]))
    assert isinstance(draft, DraftText)
    assert draft.prompt.startswith("Image: Chest")
    assert draft.prompt.endswith(QUESTION)


@pytest.mark.parametrize("template", ["oracle_iu", "oracle_mimic", "predicted", "nonsense"])
def test_what_must_not_be_served_is_refused_at_load(engine: Engine, template: str) -> None:
    manifest = replace(read_manifest("demo"), template=template, finding_head={}, classifier="")
    with pytest.raises(BundleError, match=template):
        Reporter(engine, manifest)


def test_a_template_that_the_network_cannot_take_is_refused_at_load(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.runner.model, "max_instruction_tokens", 12)
    with pytest.raises(BundleError, match="without any prior"):
        Reporter(engine, read_manifest("demo"))


def test_the_manifest_is_the_bundles(reporter: Reporter) -> None:
    assert reporter.manifest == read_manifest("demo")
    assert reporter.manifest.digest == read_manifest("demo").digest
    assert len(reporter.settings_digest) == 64


def test_the_null_reporter_says_that_no_image_was_read() -> None:
    null = load_reporter("null")
    assert isinstance(null, NullReporter)
    assert null.manifest.name == "null"
    draft = next(null.draft([case(0)]))
    assert isinstance(draft, DraftText)
    assert "No model has looked" in draft.findings
    assert "not written by a model" in draft.impression
    assert null.settings_digest == NullReporter().settings_digest


def test_both_wear_the_same_face(reporter: Reporter) -> None:
    faces: list[Drafter] = [reporter, NullReporter()]
    assert len({face.settings_digest for face in faces}) == 2


def test_null_needs_no_torch() -> None:
    code = (
        "import sys; from model.reporter import load_reporter;"
        "load_reporter('null'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_such_bundle_and_no_such_device() -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        load_reporter("/nowhere/at/all")
    with pytest.raises(DeviceError):
        Reporter.load("demo", device="abacus")

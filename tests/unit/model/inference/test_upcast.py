"""Half precision: what it keeps, and what is run again in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.bundling.store import load_bundle
from model.case import FailedCase
from model.decoding import Decoding
from model.inference.engine import Engine
from model.inference.types import RequestOutput
from model.inference.upcast import upcast
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import build_instruction
from training.corpus.phantoms import phantom
from training.corpus.phantoms_words import extract_findings

CPU = torch.device("cpu")
DECODING = Decoding(60)
CASES = [replace(phantom(n).case(112), key=str(n)) for n in range(8)]


@pytest.fixture
def narrow() -> ClinicalBLIP:
    return load_bundle("demo", CPU, dtype=torch.float16)[0]


@pytest.fixture(scope="module")
def wide() -> ClinicalBLIP:
    return load_bundle("demo", CPU)[0]


def prompted_cases(model: ClinicalBLIP):  # type: ignore[no-untyped-def]
    return [(case, build_instruction(case, "context", model.fits)) for case in CASES]


def overflow(model: ClinicalBLIP) -> None:
    """Logits that float16 cannot hold; in float32 their order, and so the text, is the same."""
    language = model.network.language_model
    # The head gets a weight of its own, because transformers ties it to the word embeddings.
    language.lm_head.weight = torch.nn.Parameter(language.lm_head.weight.detach() * 16384.0)


@pytest.mark.slow
def test_the_engine_writes_in_half_precision_what_it_writes_in_full(
    narrow: ClinicalBLIP, wide: ClinicalBLIP
) -> None:
    assert Engine(narrow, CPU, DECODING, 3).dtype_name == "float16"
    short = {w.key: w for w in Engine(narrow, CPU, DECODING, 3).write(prompted_cases(narrow))}
    full = {w.key: w for w in Engine(wide, CPU, DECODING, 3).write(prompted_cases(wide))}
    for key, output in short.items():
        expected = full[key]
        assert isinstance(output, RequestOutput)
        assert isinstance(expected, RequestOutput)
        # Of two sentences for the same finding, equally likely, either may be written.
        assert extract_findings(output.text) == extract_findings(expected.text)
        assert output.rerun == ""


@pytest.mark.slow
def test_values_that_are_no_numbers_are_run_again_in_float32_and_reported(
    narrow: ClinicalBLIP,
) -> None:
    # The same weights, rounded to float16, and all computed in float32.
    rounded = load_bundle("demo", CPU, dtype=torch.float16)[0]
    rounded.network.float()
    reference = {w.key: w for w in Engine(rounded, CPU, DECODING, 2).write(prompted_cases(rounded))}
    overflow(narrow)
    engine = Engine(narrow, CPU, DECODING, 2)
    drafts = list(engine.write(prompted_cases(narrow)))
    assert len(drafts) == len(CASES)
    for output in drafts:
        expected = reference[output.key]
        assert isinstance(output, RequestOutput)
        assert isinstance(expected, RequestOutput)
        assert output.rerun == "float32"
        assert output.text == expected.text
    assert engine.counters.reruns == len(CASES)


@pytest.mark.slow
def test_no_numbers_in_float32_either_is_the_cases_own_failure(narrow: ClinicalBLIP) -> None:
    with torch.no_grad():
        narrow.network.language_model.lm_head.weight.fill_(torch.nan)
    for output in Engine(narrow, CPU, DECODING, 2).write(prompted_cases(narrow)):
        assert isinstance(output, FailedCase)
        assert "not a number" in str(output.error)


def test_upcast_computes_in_full_and_leaves_no_trace(
    narrow: ClinicalBLIP, wide: ClinicalBLIP
) -> None:
    before = {name: (p.data_ptr(), p.dtype) for name, p in narrow.network.named_parameters()}
    inputs = narrow.gather([CASES[0]], [prompted_cases(narrow)[0][1]])
    with upcast(narrow.network):
        repeated = narrow.generate(inputs, DECODING)
    assert [output.ids for output in repeated] == [
        output.ids for output in wide.generate(inputs, DECODING)
    ]
    assert before == {n: (p.data_ptr(), p.dtype) for n, p in narrow.network.named_parameters()}


def test_upcast_is_over_after_an_error_too(narrow: ClinicalBLIP) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    layer = narrow.network.language_model.decoder.block[0].layer[0].SelfAttention.q
    hook = layer.register_forward_hook(broken)
    inputs = narrow.gather([CASES[0]], ["Write."])
    with pytest.raises(RuntimeError, match="broken"), upcast(narrow.network):
        narrow.generate(inputs, DECODING)
    hook.remove()
    kinds = {p.dtype for name, p in narrow.network.named_parameters() if ".wo." not in name}
    assert torch.float32 in kinds  # query_tokens
    assert layer.weight.dtype == torch.float16
    with upcast(narrow.network):
        assert narrow.generate(inputs, DECODING)

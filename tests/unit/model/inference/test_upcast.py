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
WAY = Decoding(60)
CASES = [replace(phantom(n).case(112), key=str(n)) for n in range(8)]


@pytest.fixture
def narrow() -> ClinicalBLIP:
    return load_bundle("demo", CPU, dtype=torch.float16)[0]


@pytest.fixture(scope="module")
def wide() -> ClinicalBLIP:
    return load_bundle("demo", CPU)[0]


def asked(model: ClinicalBLIP):  # type: ignore[no-untyped-def]
    return [(case, build_instruction(case, "context", model.fits)) for case in CASES]


def overflow(model: ClinicalBLIP) -> None:
    """Logits that float16 cannot hold; in float32 their order, and so the text, is the same."""
    language = model.network.language_model
    # A weight of its own: transformers shares the head's with the words that are read.
    language.lm_head.weight = torch.nn.Parameter(language.lm_head.weight.detach() * 16384.0)


def test_the_engine_writes_in_half_precision_what_it_writes_in_full(
    narrow: ClinicalBLIP, wide: ClinicalBLIP
) -> None:
    assert Engine(narrow, CPU, WAY, 3).dtype_name == "float16"
    short = {w.key: w for w in Engine(narrow, CPU, WAY, 3).write(asked(narrow))}
    full = {w.key: w for w in Engine(wide, CPU, WAY, 3).write(asked(wide))}
    for key, one in short.items():
        other = full[key]
        assert isinstance(one, RequestOutput)
        assert isinstance(other, RequestOutput)
        # Of two sentences for the same finding, as likely as each other, either may be written.
        assert extract_findings(one.text) == extract_findings(other.text)
        assert one.rerun == ""


def test_no_numbers_are_run_again_in_float32_and_said(
    narrow: ClinicalBLIP,
) -> None:
    # The same weights, rounded to float16, and all computed in float32.
    rounded = load_bundle("demo", CPU, dtype=torch.float16)[0]
    rounded.network.float()
    right = {w.key: w for w in Engine(rounded, CPU, WAY, 2).write(asked(rounded))}
    overflow(narrow)
    engine = Engine(narrow, CPU, WAY, 2)
    drafts = list(engine.write(asked(narrow)))
    assert len(drafts) == len(CASES)
    for one in drafts:
        other = right[one.key]
        assert isinstance(one, RequestOutput)
        assert isinstance(other, RequestOutput)
        assert one.rerun == "float32"
        assert one.text == other.text
    assert engine.counters.reruns == len(CASES)


def test_no_numbers_in_float32_either_is_the_cases_own_failure(narrow: ClinicalBLIP) -> None:
    with torch.no_grad():
        narrow.network.language_model.lm_head.weight.fill_(torch.nan)
    for one in Engine(narrow, CPU, WAY, 2).write(asked(narrow)):
        assert isinstance(one, FailedCase)
        assert "not a number" in str(one.error)


def test_upcast_computes_in_full_and_leaves_no_trace(
    narrow: ClinicalBLIP, wide: ClinicalBLIP
) -> None:
    before = {name: (p.data_ptr(), p.dtype) for name, p in narrow.network.named_parameters()}
    inputs = narrow.gather([CASES[0]], [asked(narrow)[0][1]])
    with upcast(narrow.network):
        again = narrow.generate(inputs, WAY)
    assert [one.ids for one in again] == [one.ids for one in wide.generate(inputs, WAY)]
    assert before == {n: (p.data_ptr(), p.dtype) for n, p in narrow.network.named_parameters()}


def test_upcast_is_over_after_an_error_too(narrow: ClinicalBLIP) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    layer = narrow.network.language_model.decoder.block[0].layer[0].SelfAttention.q
    hook = layer.register_forward_hook(broken)
    inputs = narrow.gather([CASES[0]], ["Write."])
    with pytest.raises(RuntimeError, match="broken"), upcast(narrow.network):
        narrow.generate(inputs, WAY)
    hook.remove()
    kinds = {p.dtype for name, p in narrow.network.named_parameters() if ".wo." not in name}
    assert torch.float32 in kinds  # query_tokens
    assert layer.weight.dtype == torch.float16
    with upcast(narrow.network):
        assert narrow.generate(inputs, WAY)

"""The engine writes what transformers' `generate` writes, whatever else is in flight.

In float64, where two orders of the same sums give the same text; in float32 by how likely the
tokens are. The network is the shipped one, so texts end by themselves and at different lengths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundling.store import load_bundle
from model.case import Case
from model.decoding import Decoding
from model.inference.engine import Engine
from model.inference.types import RequestOutput
from model.network.clinicalblip import ClinicalBLIP, GeneratedText
from model.prompting.prompt import build_instruction
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")
STUDIES = 14
DECODINGS = (
    Decoding(70),
    Decoding(33),  # some are cut
    Decoding(70, no_repeat_ngram=2),
    Decoding(50, beams=2, length_penalty=-1.0),
    Decoding(50, beams=3),
    Decoding(40, beams=5, length_penalty=2.0, no_repeat_ngram=3),
)


@dataclass(frozen=True)
class Reference:
    """What `generate` wrote of each study, one at a time."""

    cases: list[tuple[Case, str]]
    drafts: list[GeneratedText]


@pytest.fixture(scope="module")
def exact() -> ClinicalBLIP:
    model, _ = load_bundle("demo", CPU)
    model.network.double()
    return model


@lru_cache
def prompted_cases(model: ClinicalBLIP) -> list[tuple[Case, str]]:
    """Studies of one, two and three views, and instructions of many lengths."""
    cases = []
    for seed in range(STUDIES):
        case = replace(phantom(seed).case(112), key=str(seed))
        if seed % 5 == 0:
            case = replace(case, views=(*case.views, *phantom(seed + 100).case(112).views)[:3])
        cases.append((case, build_instruction(case, "context", model.fits)))
    return cases


@lru_cache
def reference(model: ClinicalBLIP, decoding: Decoding) -> Reference:
    cases = prompted_cases(model)
    drafts = [model.generate(model.gather([c], [text]), decoding)[0] for c, text in cases]
    return Reference(cases, drafts)


@pytest.mark.slow
def test_the_studies_are_of_many_kinds(exact: ClinicalBLIP) -> None:
    cases = prompted_cases(exact)
    assert {len(case.views) for case, _ in cases} == {1, 2, 3}
    assert len({len(draft.ids) for draft in reference(exact, DECODINGS[0]).drafts}) > 5
    assert {draft.cut for draft in reference(exact, DECODINGS[1]).drafts} == {True, False}


@pytest.mark.slow
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    decoding=st.sampled_from(DECODINGS),
    order=st.permutations(range(STUDIES)),
    count=st.integers(1, STUDIES),
    slots=st.integers(1, 9),
    group_size=st.integers(1, 4),
    pauses=st.lists(st.integers(0, STUDIES), max_size=3),
)
def test_tokens_are_those_of_generate(
    exact: ClinicalBLIP,
    decoding: Decoding,
    order: list[int],
    count: int,
    slots: int,
    group_size: int,
    pauses: list[int],
) -> None:
    expected = reference(exact, decoding)
    source: list[tuple[Case, str] | None] = [expected.cases[n] for n in order[:count]]
    for place in pauses:
        # None is a pause, but before the first case it would be the end.
        source.insert(max(1, place), None)
    engine = Engine(exact, CPU, decoding, slots, group_size=group_size)
    drafts = {int(output.key): output for output in engine.write(source)}
    while len(drafts) < count:
        # A pause while no case is in flight ends the stream; the other cases need a new one.
        rest = [expected.cases[n] for n in order[:count] if n not in drafts]
        drafts |= {int(output.key): output for output in engine.write(rest)}
    for number, output in drafts.items():
        draft = expected.drafts[number]
        assert isinstance(output, RequestOutput)
        assert output.tokens == draft.tokens
        assert output.text == draft.text
        assert output.cut == draft.cut
        assert output.logprobs == pytest.approx(draft.logprobs, abs=1e-5)


def test_float32_is_as_likely(exact: ClinicalBLIP) -> None:
    model, _ = load_bundle("demo", CPU)
    decoding = Decoding(70)
    drafts = {w.key: w for w in Engine(model, CPU, decoding, 5).write(prompted_cases(exact))}
    for (case, _), expected in zip(
        prompted_cases(exact), reference(exact, decoding).drafts, strict=True
    ):
        output = drafts[case.key]
        assert isinstance(output, RequestOutput)
        # Where the texts differ, the first difference is between two equally likely tokens.
        assert sum(output.logprobs) == pytest.approx(sum(expected.logprobs), abs=0.05)

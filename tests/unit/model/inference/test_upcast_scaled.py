"""Float16 beside float32 where activations are as large as in trained T5: distributions, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional

from model.decoding import Decoding
from model.inference.engine import Engine
from model.inference.types import RequestOutput
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import build_random
from tests.support.noise_cases import INSTRUCTION, noise_cases

CPU = torch.device("cpu")
LARGE = 2.0**15
STEPS = 12
FLOAT16_MAX = torch.finfo(torch.float16).max


def build_model(dtype: torch.dtype, scale: float = LARGE) -> ClinicalBLIP:
    return build_random("tiny", seed=4, activation_scale=scale, dtype=dtype)


def log_probabilities(model: ClinicalBLIP, texts: torch.Tensor) -> torch.Tensor:
    """(B, T, V) log-probabilities of each next token of the texts."""
    inputs = model.gather(noise_cases(model), [INSTRUCTION] * 3)
    with torch.inference_mode():
        image_features, _ = model.encode_images(inputs)
        logits: torch.Tensor = model.network.language_model(
            inputs_embeds=model.embed(inputs, image_features),
            attention_mask=inputs.attention_mask,
            decoder_input_ids=texts,
        ).logits
    return logits.float().log_softmax(-1)


def divergence(log_expected: torch.Tensor, log_actual: torch.Tensor) -> torch.Tensor:
    """(B, T) KL divergence of `other` from `one`, in nats."""
    return functional.kl_div(log_actual, log_expected, reduction="none", log_target=True).sum(-1)


@contextmanager
def largest(model: ClinicalBLIP, layer: str) -> Iterator[list[float]]:
    """The largest output of each call of the T5 layers with this name."""
    maxima: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: maxima.append(float(out.abs().max())))
        for name, module in model.network.language_model.named_modules()
        if name.endswith(f".{layer}")
    ]
    yield maxima
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="module")
def texts() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.cat([torch.zeros(3, 1), torch.randint(4, 260, (3, STEPS))], dim=1).long()


@pytest.mark.parametrize("scale", [1.0, LARGE])
def test_the_next_token_is_as_likely_in_float16(texts: torch.Tensor, scale: float) -> None:
    wide = log_probabilities(build_model(torch.float32, scale), texts)
    narrow = log_probabilities(build_model(torch.float16, scale), texts)
    assert torch.isfinite(narrow).all()
    assert divergence(wide, narrow).max() < 1e-3
    assert (wide.argmax(-1) == narrow.argmax(-1)).float().mean() > 0.9


def test_the_scale_is_that_of_trained_t5_and_plain_half_runs_over(texts: torch.Tensor) -> None:
    """The output of `wo` does not fit float16; if `.half()` narrows `wo` too, the text is lost."""
    narrow = build_model(torch.float16)
    with largest(narrow, "wo") as maxima:
        narrow_log_probabilities = log_probabilities(narrow, texts)
    assert max(maxima) > FLOAT16_MAX
    with largest(narrow, "o") as maxima:
        log_probabilities(narrow, texts)
    assert max(maxima) < FLOAT16_MAX
    plain = build_model(torch.float16)
    plain.network.half()
    with largest(plain, "wo") as maxima:
        plain_log_probabilities = log_probabilities(plain, texts)
    assert torch.inf in maxima or max(maxima) >= FLOAT16_MAX
    wide = log_probabilities(build_model(torch.float32), texts)
    assert divergence(wide, narrow_log_probabilities).max() < 1e-3
    assert (
        not torch.isfinite(plain_log_probabilities).all()
        or divergence(wide, plain_log_probabilities).max() > 0.1
    )


def test_bfloat16_needs_no_wider_parts(texts: torch.Tensor) -> None:
    model = build_model(torch.bfloat16)
    assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16}
    assert (
        divergence(
            log_probabilities(build_model(torch.float32), texts), log_probabilities(model, texts)
        ).mean()
        < 0.05
    )


def test_the_engine_writes_the_same_tokens() -> None:
    """The engine's own decoder handles the same large activations."""
    drafts: list[dict[str, tuple[str, ...]]] = []
    for dtype in (torch.float32, torch.float16):
        model = build_model(dtype)
        written = Engine(model, CPU, Decoding(40), 2).write(
            [(case, INSTRUCTION) for case in noise_cases(model, 6)]
        )
        tokens_by_key: dict[str, tuple[str, ...]] = {}
        for output in written:
            assert isinstance(output, RequestOutput)
            assert output.rerun == ""
            tokens_by_key[output.key] = output.tokens
        drafts.append(tokens_by_key)
    wide, narrow = drafts
    # A tie that rounding breaks the other way changes all later tokens, so count up to there.
    common_tokens = sum(common_prefix_length(wide[key], narrow[key]) for key in wide)
    assert common_tokens / sum(map(len, wide.values())) > 0.8


def common_prefix_length(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))

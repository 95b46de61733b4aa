"""The network over one to three views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.case import Case, Priors, View
from model.decoding import Decoding
from model.errors import CaseError
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import QUESTION, build_instruction
from training.corpus.phantoms import phantom

INSTRUCTION = "Image: Chest, 1 view, frontal \n Write the report of this chest radiograph."


def case(seed: int, views: int = 1) -> Case:
    images = [View(phantom(seed + n).render("frontal", 112), "frontal") for n in range(views)]
    return Case(f"case-{seed}", tuple(images))


def encode(model: ClinicalBLIP, cases: list[Case], instructions: list[str]) -> list[torch.Tensor]:
    """Return each case's rows of T5's encoder, without padding."""
    inputs = model.gather(cases, instructions)
    with torch.inference_mode():
        embeddings, _ = model.encode_images(inputs)
        hidden = model.network.language_model.encoder(
            inputs_embeds=model.embed(inputs, embeddings), attention_mask=inputs.attention_mask
        ).last_hidden_state
    return [row[mask.bool()] for row, mask in zip(hidden, inputs.attention_mask, strict=True)]


def test_one_view_is_plain_instructblip(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1)], [INSTRUCTION])
    labels = untrained.language_tokenizer(["Findings: The lungs are clear."], return_tensors="pt")
    with torch.inference_mode():
        embeddings, _ = untrained.encode_images(inputs)
        logits = untrained.network.language_model(
            inputs_embeds=untrained.embed(inputs, embeddings),
            attention_mask=inputs.attention_mask,
            labels=labels["input_ids"],
        ).logits
        plain = untrained.network(
            pixel_values=inputs.pixels,
            qformer_input_ids=inputs.qformer_input_ids,
            qformer_attention_mask=inputs.qformer_attention_mask,
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            labels=labels["input_ids"],
        ).logits
    assert torch.equal(logits, plain)


def test_one_view_generates_as_plain_instructblip(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1)], [INSTRUCTION])
    draft = untrained.generate(inputs, Decoding(12))[0]
    plain = untrained.network.generate(
        pixel_values=inputs.pixels,
        qformer_input_ids=inputs.qformer_input_ids,
        qformer_attention_mask=inputs.qformer_attention_mask,
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        max_new_tokens=12,
        do_sample=False,
    )
    text = untrained.language_tokenizer.decode(plain[0], skip_special_tokens=True)
    assert text.strip() == draft.text


def test_other_cases_of_a_batch_change_nothing(untrained: ClinicalBLIP) -> None:
    cases = [case(1), case(10, views=3), case(20, views=2)]
    instructions = [
        INSTRUCTION,
        "Write the report.",
        INSTRUCTION + " Indication: cough and a long story before it",
    ]
    batch = encode(untrained, cases, instructions)
    for case_, instruction, row in zip(cases, instructions, batch, strict=True):
        single = encode(untrained, [case_], [instruction])[0]
        torch.testing.assert_close(single, row, atol=2e-5, rtol=1e-4)


def test_each_view_has_its_query_tokens(untrained: ClinicalBLIP) -> None:
    queries = untrained.config.num_query_tokens
    inputs = untrained.gather([case(1), case(5, views=3)], [INSTRUCTION, INSTRUCTION])
    image_tokens = (inputs.input_ids == untrained.config.image_token_index).sum(dim=1)
    assert image_tokens.tolist() == [queries, 3 * queries]
    assert inputs.pixels.shape == (4, 3, 112, 112)
    assert len(inputs.qformer_input_ids) == 4


def test_views_keep_their_order(untrained: ClinicalBLIP) -> None:
    two_views = case(5, views=2)
    reversed_ = replace(two_views, views=two_views.views[::-1])
    first, second = (
        untrained.encode_images(untrained.gather([case_], [INSTRUCTION]))[0].detach()
        for case_ in (two_views, reversed_)
    )
    torch.testing.assert_close(first, second.flip(0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(first[0], first[1], atol=1e-4)


def test_logprobs_are_those_of_the_tokens(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1), case(2, views=2)], [INSTRUCTION, INSTRUCTION])
    for number, draft in enumerate(untrained.generate(inputs, Decoding(8))):
        assert len(draft.tokens) == len(draft.logprobs) == len(draft.ids)
        with torch.inference_mode():
            embeddings, _ = untrained.encode_images(inputs)
            steps = untrained.network.language_model(
                inputs_embeds=untrained.embed(inputs, embeddings)[number : number + 1],
                attention_mask=inputs.attention_mask[number : number + 1],
                decoder_input_ids=torch.tensor([[0, *draft.ids]]),
            ).logits.log_softmax(-1)[0]
        expected = [float(steps[n, token]) for n, token in enumerate(draft.ids)]
        assert draft.logprobs == pytest.approx(expected, abs=1e-3)
        assert draft.cut == (len(draft.ids) == 8)


def test_a_long_instruction_is_cut_for_both_tokenizers(untrained: ClinicalBLIP) -> None:
    long = "zebra " * 2000
    assert untrained.fits(INSTRUCTION)
    assert not untrained.fits(long)
    inputs = untrained.gather([case(1)], [long])
    assert inputs.qformer_input_ids.shape[1] == untrained.max_instruction_tokens
    queries = untrained.config.num_query_tokens
    assert inputs.input_ids.shape[1] == queries + untrained.max_instruction_tokens


@pytest.mark.parametrize("name", ["language_tokenizer", "qformer_tokenizer"])
def test_the_indication_is_cut_before_the_template(untrained: ClinicalBLIP, name: str) -> None:
    """Whichever tokenizer needs more tokens, both read the template to its last word."""
    story = "cough and fever since days, " * 8
    long = replace(case(1), priors=Priors(indication=story, procedure="CHEST 1 VIEW"))
    tokenizer = getattr(untrained, name)
    # Enough for the template and a little of the indication, by the tokenizer that needs more.
    tokenizers = (untrained.language_tokenizer, untrained.qformer_tokenizer)
    template_tokens = max(len(t(INSTRUCTION)["input_ids"]) for t in tokenizers)
    narrow = ClinicalBLIP(
        untrained.network,
        untrained.language_tokenizer,
        untrained.qformer_tokenizer,
        untrained.preprocessing,
        template_tokens + 20,
    )
    instruction = build_instruction(long, "context", narrow.fits)
    inputs = narrow.gather([long], [instruction])
    ids = (inputs.input_ids if "language" in name else inputs.qformer_input_ids)[0]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text.strip().endswith(QUESTION)
    assert "Image: Chest, 1 view, frontal" in text
    assert "Indication: cough" in text
    assert story.strip() not in text
    assert narrow.fits(instruction)


@pytest.mark.parametrize(
    "views",
    [
        (),
        tuple(View(np.zeros((112, 112), np.uint8), "frontal") for _ in range(4)),
        (View(np.zeros((64, 64), np.uint8), "frontal"),),
        (View(np.zeros((112, 112), np.float32), "frontal"),),  # type: ignore[arg-type]
    ],
)
def test_a_case_that_cannot_be_read_is_refused(
    untrained: ClinicalBLIP, views: tuple[View, ...]
) -> None:
    with pytest.raises(CaseError):
        untrained.check(Case("x", views))


def test_every_text_comes_back_from_its_tokens(untrained: ClinicalBLIP) -> None:
    text = "Findings: 3 × 4 mm, “näheres” 胸部."
    ids = untrained.language_tokenizer(text)["input_ids"]
    assert untrained.language_tokenizer.decode(ids, skip_special_tokens=True).strip() == text

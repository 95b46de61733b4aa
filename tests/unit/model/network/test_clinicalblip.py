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
from model.prompting.prompt import QUESTION, instruct
from training.corpus.phantoms import phantom

ASK = "Image: Chest, 1 view, frontal \n Write the report of this chest radiograph."


def case(seed: int, views: int = 1) -> Case:
    films = [View(phantom(seed + n).render("frontal", 112), "frontal") for n in range(views)]
    return Case(f"case-{seed}", tuple(films))


def encode(model: ClinicalBLIP, cases: list[Case], asks: list[str]) -> list[torch.Tensor]:
    """Each case's rows of T5's encoder, padding left out."""
    inputs = model.gather(cases, asks)
    with torch.inference_mode():
        shown, _ = model.see(inputs)
        hidden = model.network.language_model.encoder(
            inputs_embeds=model.embed(inputs, shown), attention_mask=inputs.words_mask
        ).last_hidden_state
    return [row[mask.bool()] for row, mask in zip(hidden, inputs.words_mask, strict=True)]


def test_one_view_is_plain_instructblip(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1)], [ASK])
    labels = untrained.language(["Findings: The lungs are clear."], return_tensors="pt")
    with torch.inference_mode():
        shown, _ = untrained.see(inputs)
        ours = untrained.network.language_model(
            inputs_embeds=untrained.embed(inputs, shown),
            attention_mask=inputs.words_mask,
            labels=labels["input_ids"],
        ).logits
        plain = untrained.network(
            pixel_values=inputs.pixels,
            qformer_input_ids=inputs.asked,
            qformer_attention_mask=inputs.asked_mask,
            input_ids=inputs.words,
            attention_mask=inputs.words_mask,
            labels=labels["input_ids"],
        ).logits
    assert torch.equal(ours, plain)


def test_one_view_generates_as_plain_instructblip(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1)], [ASK])
    draft = untrained.generate(inputs, Decoding(12))[0]
    plain = untrained.network.generate(
        pixel_values=inputs.pixels,
        qformer_input_ids=inputs.asked,
        qformer_attention_mask=inputs.asked_mask,
        input_ids=inputs.words,
        attention_mask=inputs.words_mask,
        max_new_tokens=12,
        do_sample=False,
    )
    assert untrained.language.decode(plain[0], skip_special_tokens=True).strip() == draft.text


def test_batch_mates_change_nothing(untrained: ClinicalBLIP) -> None:
    cases = [case(1), case(10, views=3), case(20, views=2)]
    asks = [ASK, "Write the report.", ASK + " Indication: cough and a long story before it"]
    together = encode(untrained, cases, asks)
    for one, ask, row in zip(cases, asks, together, strict=True):
        torch.testing.assert_close(encode(untrained, [one], [ask])[0], row, atol=2e-5, rtol=1e-4)


def test_each_view_brings_its_queries(untrained: ClinicalBLIP) -> None:
    queries = untrained.config.num_query_tokens
    inputs = untrained.gather([case(1), case(5, views=3)], [ASK, ASK])
    image = (inputs.words == untrained.config.image_token_index).sum(dim=1)
    assert image.tolist() == [queries, 3 * queries]
    assert inputs.pixels.shape == (4, 3, 112, 112)
    assert len(inputs.asked) == 4


def test_views_stand_in_their_order(untrained: ClinicalBLIP) -> None:
    both = case(5, views=2)
    turned = replace(both, views=both.views[::-1])
    first, second = (
        untrained.see(untrained.gather([one], [ASK]))[0].detach() for one in (both, turned)
    )
    torch.testing.assert_close(first, second.flip(0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(first[0], first[1], atol=1e-4)


def test_logprobs_are_those_of_the_tokens(untrained: ClinicalBLIP) -> None:
    inputs = untrained.gather([case(1), case(2, views=2)], [ASK, ASK])
    for number, draft in enumerate(untrained.generate(inputs, Decoding(8))):
        assert len(draft.tokens) == len(draft.logprobs) == len(draft.ids)
        with torch.inference_mode():
            shown, _ = untrained.see(inputs)
            steps = untrained.network.language_model(
                inputs_embeds=untrained.embed(inputs, shown)[number : number + 1],
                attention_mask=inputs.words_mask[number : number + 1],
                decoder_input_ids=torch.tensor([[0, *draft.ids]]),
            ).logits.log_softmax(-1)[0]
        again = [float(steps[n, token]) for n, token in enumerate(draft.ids)]
        assert draft.logprobs == pytest.approx(again, abs=1e-3)
        assert draft.cut == (len(draft.ids) == 8)


def test_a_long_instruction_is_cut_for_both_readers(untrained: ClinicalBLIP) -> None:
    long = "zebra " * 2000
    assert untrained.fits(ASK)
    assert not untrained.fits(long)
    inputs = untrained.gather([case(1)], [long])
    assert inputs.asked.shape[1] == untrained.most_tokens
    assert inputs.words.shape[1] == untrained.config.num_query_tokens + untrained.most_tokens


@pytest.mark.parametrize("reader", ["language", "asking"])
def test_the_indication_is_cut_before_the_template(untrained: ClinicalBLIP, reader: str) -> None:
    """Whichever tokenizer has less room, both read the template to its last word."""
    story = "cough and fever since days, " * 8
    long = replace(case(1), priors=Priors(indication=story, procedure="CHEST 1 VIEW"))
    tokenizer = getattr(untrained, reader)
    # Room for the template and a little of the indication, by the tokenizer that needs more.
    bare = max(len(t(ASK)["input_ids"]) for t in (untrained.language, untrained.asking))
    narrow = ClinicalBLIP(
        untrained.network,
        untrained.language,
        untrained.asking,
        untrained.preprocessing,
        bare + 20,
    )
    instruction = instruct(long, "context", narrow.fits)
    inputs = narrow.gather([long], [instruction])
    ids = {"language": inputs.words, "asking": inputs.asked}[reader][0]
    read = tokenizer.decode(ids, skip_special_tokens=True)
    assert read.strip().endswith(QUESTION)
    assert "Image: Chest, 1 view, frontal" in read
    assert "Indication: cough" in read
    assert story.strip() not in read
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
def test_what_cannot_be_read_is_refused(untrained: ClinicalBLIP, views: tuple[View, ...]) -> None:
    with pytest.raises(CaseError):
        untrained.check(Case("x", views))


def test_every_text_comes_back_from_its_tokens(untrained: ClinicalBLIP) -> None:
    text = "Findings: 3 × 4 mm, “näheres” 胸部."
    ids = untrained.language(text)["input_ids"]
    assert untrained.language.decode(ids, skip_special_tokens=True).strip() == text

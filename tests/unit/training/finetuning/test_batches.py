"""The order of the examples, and how an example becomes a sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import build_random
from model.prompting.oracle import Oracle
from model.prompting.prompt import QUESTION, Symptoms
from training.corpus.example import TRAIN, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.finetuning.batches import (
    BatchLoader,
    SampleOrder,
    SampleTransform,
    augment_views,
    make_sample,
)
from training.finetuning.objectives import Batch, Sample, collate

PLAIN = SampleTransform(drop_priors=0.0, drop_lines=0.0).without_augmentation()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def example(number: int = 0) -> Example:
    return PhantomCorpus().example(TRAIN, number)


def test_every_example_comes_once_an_epoch() -> None:
    order = SampleOrder(np.arange(103), seed=4, group=3)
    first = [order.at(n) for n in range(103)]
    second = [order.at(103 + n) for n in range(103)]
    assert sorted(index for _, index in first) == list(range(103))
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in first] != [index for _, index in second]
    # A position does not depend on the positions that were read before it.
    fresh = SampleOrder(np.arange(103), seed=4, group=3)
    assert [fresh.at(n) for n in reversed(range(206))] == [*reversed(second), *reversed(first)]
    assert [SampleOrder(np.arange(103), 5, 3).at(n) for n in range(103)] != first


def test_examples_of_similar_length_are_in_one_batch() -> None:
    lengths = np.random.default_rng(0).integers(0, 1000, 600)
    order = SampleOrder(lengths, seed=0, group=6)
    groups = [[lengths[order.at(n + k)[1]] for k in range(6)] for n in range(0, 600, 6)]
    spread = np.mean([max(group) - min(group) for group in groups])
    by_chance = np.mean([np.ptp(lengths[n : n + 6]) for n in range(0, 600, 6)])
    assert spread < by_chance / 4


def test_several_processes_read_the_batch_of_one_process() -> None:
    model = build_random("tiny")
    examples = [example(n) for n in range(12)]

    def loader(batch_size: int, rank: int, world_size: int) -> BatchLoader:
        return BatchLoader(
            model, examples, PLAIN, priors=True, batch_size=batch_size, seed=1,
            max_target_tokens=20,
            rank=rank, world_size=world_size,
        )  # fmt: skip

    single = loader(4, 0, 1).batch(2).labels
    shared = [loader(2, rank, 2).batch(2).labels for rank in (0, 1)]
    rows = {tuple(t[t >= 0].tolist()) for t in single}
    assert {tuple(t[t >= 0].tolist()) for part in shared for t in part} == rows


def test_a_batch_is_the_same_wherever_a_run_is_resumed() -> None:
    model = build_random("tiny")
    examples = [example(n) for n in range(10)]
    loader = BatchLoader(
        model, examples, SampleTransform(), priors=True, batch_size=2, seed=0, max_target_tokens=30
    )
    stream = loader.batches(0)
    straight = [next(stream) for _ in range(8)]
    stream.close()
    later = loader.batches(5)
    resumed = next(later)
    later.close()
    assert torch.equal(straight[5].inputs.pixels, resumed.inputs.pixels)
    assert torch.equal(straight[5].inputs.input_ids, resumed.inputs.input_ids)
    assert torch.equal(straight[5].labels, resumed.labels)


def test_images_are_rotated_and_never_flipped() -> None:
    image = np.zeros((1, 56, 56), np.uint8)
    image[0, 10:20, 35:50] = 200  # a shadow on the image's upper right
    rng = np.random.default_rng(0)
    augmented = np.concatenate([augment_views(image, SampleTransform(), rng) for _ in range(300)])
    right, left = augmented[:, :, 28:].sum((1, 2), float), augmented[:, :, :28].sum((1, 2), float)
    assert (right > left).all()
    upper, lower = augmented[:, :28].sum((1, 2), float), augmented[:, 28:].sum((1, 2), float)
    assert (upper > lower).all()
    assert len({m.tobytes() for m in augmented}) == 300
    unchanged = augment_views(image, PLAIN, rng)
    assert np.abs(unchanged.astype(int) - image).max() <= 1


def test_a_third_of_the_images_are_as_served() -> None:
    model = build_random("tiny")
    served = example(3).case(model.preprocessing)
    transform = SampleTransform()
    rng = np.random.default_rng(0)
    samples = [
        make_sample(example(3), model.preprocessing, transform, lambda _: True, rng, priors=True)
        for _ in range(300)
    ]
    as_served = [
        all(
            np.array_equal(view.pixels, other.pixels)
            for view, other in zip(sample.case.views, served.views, strict=True)
        )
        for sample in samples
    ]
    assert 75 <= sum(as_served) <= 125


def test_noise_and_blur_change_the_grain_of_an_image() -> None:
    rng = np.random.default_rng(0)
    image = np.tile(np.arange(56, dtype=np.uint8) % 2 * 100 + 50, (1, 56, 1))  # stripes
    flat = np.full((1, 56, 56), 128, np.uint8)

    def spread(pixels: np.ndarray, **changes: float) -> float:
        changed = [augment_views(pixels, replace(PLAIN, **changes), rng) for _ in range(50)]
        return float(np.mean([each.std() for each in changed]))

    assert spread(flat) == 0.0
    assert 255 * 0.02 < spread(flat, noise=0.06) < 255 * 0.04  # on average half of the greatest
    assert spread(flat, blur=2.0) < 0.5
    assert spread(image, blur=2.0) < spread(image) / 2
    mean = np.mean([augment_views(image, replace(PLAIN, blur=2.0), rng).mean() for _ in range(50)])
    assert abs(float(mean) - image.mean()) < 1


def test_a_long_target_is_cut_at_its_end_whatever_the_tokenizers_settings(tmp_path: Path) -> None:
    model = build_random("tiny")
    # As InstructBLIP's tokenizer files have it.
    for name, tokenizer in (("t5", model.language_tokenizer), ("qformer", model.qformer_tokenizer)):
        tokenizer.truncation_side = "left"
        tokenizer.save_pretrained(tmp_path / name)
        config = tmp_path / name / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": "left"}))
    language, qformer = (
        PreTrainedTokenizerFast.from_pretrained(tmp_path / name) for name in ("t5", "qformer")
    )
    assert language.truncation_side == "left"
    model = ClinicalBLIP(
        model.network, language, qformer, model.preprocessing, max_instruction_tokens=20
    )
    long = "The lungs are clear. " * 20
    study = example()
    case = study.case(model.preprocessing)
    end = language.eos_token_id
    whole = language(long)["input_ids"]
    assert whole[-1] == end

    def batch(limit: int, **options: bool) -> Batch:
        samples = [Sample(case, long, long), Sample(case, "Write.", "Clear.")]
        return collate(model, samples, limit, **options)

    cut = batch(12)
    assert cut.labels[0].tolist() == whole[:12]
    assert end not in cut.labels[0].tolist()
    short = language("Clear.")["input_ids"]
    assert cut.labels[1, : len(short)].tolist() == short
    assert short[-1] == end
    assert (cut.labels[1, len(short) :] == -100).all()
    assert (cut.cut, batch(len(whole)).cut) == (1, 0)
    assert batch(len(whole)).labels[0].tolist() == whole
    assert cut.to(torch.device("cpu")).cut == 1
    # Runs of version 0.2.0 go on as they began.
    assert batch(12, end_cut_targets=True).labels[0].tolist() == [*whole[:11], end]
    # The instruction keeps its beginning, too.
    queries = model.config.num_query_tokens * len(case.views)
    assert cut.inputs.input_ids[0, queries : queries + 19].tolist() == whole[:19]


def test_priors_are_dropped_as_often_as_set() -> None:
    model = build_random("tiny")
    study = replace(example(3), priors=replace(example(3).priors, prior_report="Clear lungs."))
    transform = replace(PLAIN, drop_priors=0.25)
    rng = np.random.default_rng(0)
    samples = [
        make_sample(study, model.preprocessing, transform, lambda _: True, rng, priors=True)
        for _ in range(400)
    ]
    bare = sum(sample.instruction == QUESTION for sample in samples)
    assert 70 <= bare <= 130
    assert all("Prior report" in x.instruction for x in samples if x.instruction != QUESTION)
    stage1 = make_sample(study, model.preprocessing, transform, lambda _: True, rng, priors=False)
    assert stage1.instruction == QUESTION


def test_comparisons_stay_only_where_the_prompt_has_a_prior_report() -> None:
    model = build_random("tiny")
    text = "The lungs are clear. The effusion is unchanged."
    without = replace(example(), target=text)
    with_report = replace(without, priors=replace(without.priors, prior_report="Effusion."))

    def target(study: Example, transform: SampleTransform) -> str:
        rng = np.random.default_rng(0)
        return make_sample(
            study, model.preprocessing, transform, lambda _: True, rng, priors=True
        ).target

    assert target(without, PLAIN) == "The lungs are clear. Effusion."
    assert target(with_report, PLAIN) == text
    assert target(without, replace(PLAIN, keep_comparisons=True)) == text
    # The bare instruction has no prior report, whatever the study has.
    assert target(with_report, replace(PLAIN, drop_priors=1.0)) == "The lungs are clear. Effusion."


def test_the_papers_priors_come_from_the_report() -> None:
    model = build_random("tiny")
    study = replace(
        example(), oracle=Oracle(("Cardiomegaly",), "Chest, 2 views"), oracle_template="oracle_iu"
    )
    transform = replace(PLAIN, templates=("oracle_iu",))
    rng = np.random.default_rng(0)
    sample = make_sample(study, model.preprocessing, transform, lambda _: True, rng, priors=True)
    assert sample.instruction.startswith("Problems: Cardiomegaly")
    with pytest.raises(ValueError, match="has nothing for the template"):
        make_sample(example(), model.preprocessing, transform, lambda _: True, rng, priors=True)


def test_the_symptoms_of_predicted_come_from_the_example() -> None:
    seen = Symptoms(("Edema",), ("Fracture", "Pneumonia"))
    preprocessing = build_random("tiny").preprocessing
    transform = replace(PLAIN, templates=("predicted",))

    def instruction(study: Example, transform: SampleTransform) -> str:
        rng = np.random.default_rng(0)
        sample = make_sample(study, preprocessing, transform, lambda _: True, rng, priors=True)
        return sample.instruction

    study = replace(example(), symptoms=seen)
    assert instruction(study, transform).startswith(
        "Symptoms of existence: Edema \n Symptoms of non-existence: Fracture, Pneumonia \n Image: "
    )
    # Lines are left out as those of an order are.
    assert instruction(study, replace(transform, drop_lines=1.0)).startswith("Image: ")
    with pytest.raises(ValueError, match="has nothing for the template 'predicted'"):
        instruction(example(), transform)

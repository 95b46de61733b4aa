"""The whole way from the Indiana University CSV to a score: a tiny model learns a few by heart."""

from __future__ import annotations

from pathlib import Path

import torch

from model.case import FailedCase
from model.decoding import Decoding
from model.inference.engine import Engine
from model.prompting.prompt import build_instruction
from training.corpus.example import Example
from training.corpus.prepared_dataset import prepare_dataset
from training.corpus.registry import open_corpus
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import Run
from training.finetuning.stages import Method, ParameterGroup, Stage
from training.metrics.text import score
from training.recipes.phantoms_network import build_network

ALL = Stage("all", (ParameterGroup("all", r".*", Method.WHOLE, 3e-3, 0.0),), priors=True)
LONGEST = 100


def test_from_csv_to_score(samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    corpus = open_corpus(f"iu_xray:{samples / 'iu'}")
    examples = [one for one in corpus.read() if isinstance(one, Example)]
    assert len(examples) == 5
    assert sum(len(one.images) for one in examples) == 9
    assert all(one.priors.indication for one in examples)

    model = build_network(0)
    shelf = prepare_dataset(
        tmp_path / "shelf", iter(examples), model.preprocessing, {}, processes=0
    )
    config = TrainingConfig(
        steps=170, batch=5, accumulation=1, precision="float32", most_target=LONGEST, save_every=0
    )
    transform = SampleTransform(drop_priors=0.0, drop_lines=0.0, keep_comparisons=True).still()
    run = Run(
        tmp_path / "run", model, ALL, shelf, transform, config, device="cpu", log=lambda _: None
    )
    # By heart, and quickly: nothing dropped.
    for module in run.objective.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert run.train().loss < 0.05

    engine = Engine(model.eval(), torch.device("cpu"), Decoding(LONGEST), 5)
    cases = [one.case(model.preprocessing) for one in examples]
    drafts = {}
    for written in engine.write(
        (case, build_instruction(case, "context", engine.fits)) for case in cases
    ):
        assert not isinstance(written, FailedCase), written
        drafts[written.key] = written.text
    # As far as they were learnt: to the longest target, the end among its tokens.
    learnt = [model.language_tokenizer(one.target)["input_ids"][: LONGEST - 1] for one in examples]
    references = [
        [model.language_tokenizer.decode(ids, skip_special_tokens=True)] for ids in learnt
    ]
    scores = score([drafts[one.key] for one in examples], references)
    assert scores["bleu_4"] is not None
    assert scores["bleu_4"] > 0.9
    # Another study's films and words give another report: it is not one text for all.
    assert len(set(drafts.values())) == 5

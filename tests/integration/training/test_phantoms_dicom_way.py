"""Phantoms as DICOM, read as a department's films are, are drafted as well as drawn ones."""

from __future__ import annotations

from pathlib import Path

import torch

from model.bundle import load_bundle
from model.case import Case, Priors, View
from model.decoding import Decoding
from model.engine import Engine
from model.pixels import view_pixels
from training.corpus.phantoms import HELD_OUT
from training.corpus.phantoms_dicom import write_phantoms
from training.evaluate_phantoms import agree, draft_texts


def test_the_way_through_dicom_costs_nothing(tmp_path: Path) -> None:
    model, manifest = load_bundle("demo", torch.device("cpu"))
    cases, truth = [], []
    for one, paths in write_phantoms(tmp_path, range(HELD_OUT, HELD_OUT + 60), size=512):
        views = tuple(
            View(
                view_pixels(path, manifest.preprocessing.size, manifest.preprocessing.resize),
                path.stem,
            )
            for path in paths
        )
        cases.append(Case(str(one.seed), views, Priors(one.indication, one.procedure)))
        truth.append(one.findings)
    engine = Engine(model, torch.device("cpu"), Decoding(manifest.max_new_tokens), 16)
    assert agree(truth, draft_texts(engine, cases)).f1 >= 0.9

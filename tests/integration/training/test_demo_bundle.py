"""The bundle that ships: it names what is drawn, and it looks. The recipe: it runs and resumes."""

from pathlib import Path

import torch

from model.bundle import load_bundle
from model.manifest import read_manifest, resolve, verify
from training.evaluate_phantoms import score_phantoms
from training.recipes.phantoms import train_phantoms


def test_it_names_the_drawn_findings_and_looks():
    model = load_bundle("demo", torch.device("cpu"))
    scores = score_phantoms(model, 500)
    assert scores.right.f1 >= 0.80
    assert scores.swapped.f1 <= scores.right.f1 - 0.3


def test_it_is_whole_small_and_says_what_it_is_not_for():
    folder = resolve("demo")
    verify(folder)
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 25_000_000
    manifest = read_manifest("demo")
    assert manifest.demonstration
    assert "must not be used on patients" in manifest.notice
    assert manifest.intended_use.least_age == 18


def test_the_recipe_makes_a_bundle_that_loads(tmp_path: Path):
    made = train_phantoms(tmp_path / "bundle", minutes=0.05, studies=64, held_out=4)
    assert made.digest == read_manifest(tmp_path / "bundle").digest
    load_bundle(tmp_path / "bundle", torch.device("cpu"))
    assert not list(tmp_path.glob("*.checkpoint*"))

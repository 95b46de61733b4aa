"""Bundles are saved and loaded again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from model.bundling.store import choose_device, load_bundle, save_bundle
from model.decoding import Decoding
from model.errors import BundleError, DeviceError
from model.manifest import NULL, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bundle(untrained: ClinicalBLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    preprocessing = untrained.preprocessing
    save_bundle(folder, untrained, replace(NULL, name="tiny", preprocessing=preprocessing))
    return folder


@pytest.mark.slow
def test_the_tokenizers_are_saved_without_truncation_and_padding(
    untrained: ClinicalBLIP, tmp_path: Path
) -> None:
    for tokenizer in (untrained.language_tokenizer, untrained.qformer_tokenizer):
        tokenizer("a long text", truncation=True, max_length=2, padding=True)
    save_bundle(tmp_path / "b", untrained, replace(NULL, preprocessing=untrained.preprocessing))
    for name in ("language", "asking"):
        saved = json.loads((tmp_path / "b" / name / "tokenizer.json").read_text())
        assert saved["truncation"] is None
        assert saved["padding"] is None


def test_a_loaded_bundle_writes_the_same(bundle: Path, untrained: ClinicalBLIP) -> None:
    loaded, manifest = load_bundle(bundle, CPU)
    assert manifest.name == "tiny"
    assert "transformers" in manifest.libraries
    inputs = loaded.gather([phantom(1).case(112)], ["Write the report."])
    expected = untrained.gather([phantom(1).case(112)], ["Write the report."])
    assert torch.equal(inputs.input_ids, expected.input_ids)
    assert loaded.generate(inputs, Decoding(8)) == untrained.generate(inputs, Decoding(8))
    for name, weight in untrained.network.state_dict().items():
        assert torch.equal(weight, loaded.network.state_dict()[name]), name


def test_the_head_is_saved_as_untied(bundle: Path, untrained: ClinicalBLIP) -> None:
    with safe_open(bundle / "model.safetensors", framework="pt") as weights:
        head = weights.get_tensor("language_model.lm_head.weight")
    assert torch.equal(head, untrained.network.language_model.lm_head.weight)
    config = json.loads((bundle / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config["text_config"]["tie_word_embeddings"] is False


def test_nothing_in_a_bundle_is_pickled(bundle: Path) -> None:
    kinds = {path.suffix for path in bundle.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors"}


def test_a_bundle_is_readable_by_its_worker(bundle: Path) -> None:
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in bundle.rglob("*"))


def test_half_precision_keeps_some_weights_wide(bundle: Path) -> None:
    loaded, _ = load_bundle(bundle, CPU, dtype=torch.float16)
    dtypes = {name: weight.dtype for name, weight in loaded.network.named_parameters()}
    assert dtypes["query_tokens"] == torch.float32
    wide = [name for name in dtypes if name.endswith(".wo.weight")]
    assert wide
    assert all(dtypes[name] == torch.float32 for name in wide)
    assert dtypes["language_projection.weight"] == torch.float16


def test_changed_weights_are_refused(untrained: ClinicalBLIP, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    save_bundle(folder, untrained, replace(NULL, preprocessing=untrained.preprocessing))
    weights = folder / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(folder, CPU)


def test_a_manifest_without_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    write_manifest(tmp_path, NULL)
    with pytest.raises(BundleError, match="no network"):
        load_bundle(tmp_path, CPU)


def test_saving_again_replaces_the_bundle(untrained: ClinicalBLIP, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    manifest = replace(NULL, preprocessing=untrained.preprocessing)
    save_bundle(folder, untrained, manifest)
    save_bundle(folder, untrained, replace(manifest, version="2"))
    assert load_bundle(folder, CPU)[1].version == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(DeviceError, match="abacus"):
        choose_device("abacus")
    assert choose_device("cpu") == CPU

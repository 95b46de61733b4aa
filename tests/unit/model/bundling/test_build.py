"""Bundles from three kinds of sources, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bundling.build import BundleDescription, make_bundle
from model.bundling.store import check_bundle, load_bundle
from model.decoding import Serving
from model.errors import BundleError, TemplateError
from model.manifest import MANIFEST, read_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import build_random
from model.network.weights import HEAD, INDEX, WEIGHTS
from model.reporter import Reporter
from tests.support.base_models import adapter_folder, base_folder, put_full_weights, unmerged
from tests.support.noise_cases import INSTRUCTION, noise_cases

CPU = torch.device("cpu")
DESCRIPTION = BundleDescription(
    name="ours",
    version="1",
    templates=("context", "none"),
    licence="BSD",
    training={"films": 7},
    scores={"BLEU-4": 0.1},
    max_instruction_tokens=200,
)


def tiny() -> ClinicalBLIP:
    return build_random("tiny", seed=5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_folder(tmp_path / "base", tiny())


def logits(model: ClinicalBLIP) -> torch.Tensor:
    """Return the logits of three cases, of one, two and three views."""
    inputs = model.gather(noise_cases(model), [INSTRUCTION] * 3)
    with torch.inference_mode():
        embeddings, _ = model.encode_images(inputs)
        result: torch.Tensor = model.network.language_model(
            inputs_embeds=model.embed(inputs, embeddings),
            attention_mask=inputs.attention_mask,
            decoder_input_ids=torch.tensor([[0, 17, 42]] * 3),
        ).logits
    return result


def test_a_base_becomes_a_bundle_that_names_its_source(base: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    out = tmp_path / "made"
    manifest = make_bundle(out, base, DESCRIPTION, progress=lambda step, *_: steps.append(step))
    assert manifest == check_bundle(out) == read_manifest(out)
    assert (manifest.name, manifest.version, manifest.licence) == ("ours", "1", "BSD")
    assert (manifest.template, manifest.templates) == ("context", ("none",))
    assert (manifest.base_model, manifest.adapters) == ("base", ())
    assert (manifest.training, manifest.scores) == ({"films": 7}, {"BLEU-4": 0.1})
    assert manifest.preprocessing == tiny().preprocessing  # the network's size, not the processor's
    assert not manifest.demonstration
    assert {"torch", "transformers"} <= set(manifest.libraries)
    assert list(dict.fromkeys(steps)) == ["writing", "hashing"]
    loaded, _ = load_bundle(out, CPU)
    assert torch.equal(logits(loaded), logits(tiny()))
    assert Reporter.load(out, "cpu", Serving(slots=1)).manifest == manifest


def test_a_base_in_several_files(tmp_path: Path) -> None:
    model = tiny()
    folder = base_folder(tmp_path / "base", model)
    (folder / WEIGHTS).unlink()
    model.network.save_pretrained(
        folder, state_dict=model.network.state_dict(), max_shard_size="300KB"
    )
    assert (folder / INDEX).is_file()
    make_bundle(tmp_path / "made", folder, DESCRIPTION, shard_bytes=10**9)
    assert torch.equal(logits(load_bundle(tmp_path / "made", CPU)[0]), logits(tiny()))


@pytest.mark.slow
@pytest.mark.parametrize("stages", [("stage1",), ("stage2",), ("stage1", "stage2")])
def test_a_merged_adapter_gives_what_it_gave_unmerged(
    base: Path, tmp_path: Path, stages: tuple[str, ...]
) -> None:
    folders = [adapter_folder(tmp_path / stage, tiny(), stage) for stage in stages]
    out = tmp_path / "made"
    manifest = make_bundle(out, base, DESCRIPTION, adapters=folders)
    assert [adapter["name"] for adapter in manifest.adapters] == list(stages)
    assert all(adapter["rank"] == 4 and adapter["sha256"] for adapter in manifest.adapters)
    reference = tiny()
    for folder in folders:
        # Only the last adapter stays unmerged: peft would wrap what it has wrapped.
        wrapped = unmerged(reference, folder)
        if folder is not folders[-1]:
            wrapped.merge_and_unload()
    loaded, _ = load_bundle(out, CPU)
    torch.testing.assert_close(logits(loaded), logits(reference), atol=1e-4, rtol=1e-4)
    assert (logits(loaded) - logits(tiny())).abs().max() > 0.005
    # On disk it is the published network: no adapter, nothing split, a head of its own.
    names = dict(tiny().network.named_parameters())
    stored = load_file(out / WEIGHTS)
    assert set(stored) == set(names)
    assert torch.equal(stored[HEAD], names[HEAD])


@pytest.mark.slow
def test_a_bundle_can_be_a_source_and_its_values_are_kept(base: Path, tmp_path: Path) -> None:
    first = make_bundle(tmp_path / "first", base, DESCRIPTION, revision="c0ffee")
    adapter = adapter_folder(tmp_path / "stage1", tiny(), "stage1")
    second = make_bundle(
        tmp_path / "second",
        tmp_path / "first",
        BundleDescription("ours", "2", scores={"BLEU-4": 0.2}),
        adapters=[adapter],
    )
    assert (second.base_model, second.base_revision) == ("base", "c0ffee")
    assert (second.template, second.licence) == (first.template, first.licence)
    assert (second.training, second.scores) == (first.training, {"BLEU-4": 0.2})
    third = make_bundle(tmp_path / "third", tmp_path / "second", BundleDescription("ours", "3"))
    assert third.adapters == second.adapters


def test_full_weights_beside_an_adapter(base: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "stage2", tiny(), "stage2")
    queries = torch.randn(1, 32, 64)
    put_full_weights(adapter, {"query_tokens": queries})
    make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[adapter])
    assert torch.equal(load_bundle(tmp_path / "made", CPU)[0].network.query_tokens, queries)
    put_full_weights(adapter, {"query_tokens": queries[:, :4]})
    with pytest.raises(BundleError, match=r"query_tokens \(1, 4, 64\) is not a weight"):
        make_bundle(tmp_path / "other", base, DESCRIPTION, adapters=[adapter])


def test_half_precision_on_disk_keeps_some_weights_wide(base: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "made", base, DESCRIPTION, dtype=torch.float16)
    kinds = {name: tensor.dtype for name, tensor in load_file(tmp_path / "made" / WEIGHTS).items()}
    wide = {name for name, kind in kinds.items() if kind == torch.float32}
    assert wide == {n for n in kinds if n == "query_tokens" or n.endswith(".wo.weight")}
    assert all(kind == torch.float16 for name, kind in kinds.items() if name not in wide)
    weights = load_file(base / WEIGHTS)
    weights["language_projection.bias"][0] = 1e6
    save_file(weights, base / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"language_projection\.bias has values that float16"):
        make_bundle(tmp_path / "other", base, DESCRIPTION, dtype=torch.float16)
    assert not (tmp_path / "other").exists()


def test_a_tokenizer_of_a_named_class_is_read_as_it_is(base: Path, tmp_path: Path) -> None:
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "T5Tokenizer"}))
    make_bundle(tmp_path / "made", base, DESCRIPTION)
    ids = load_bundle(tmp_path / "made", CPU)[0].language_tokenizer(INSTRUCTION)["input_ids"]
    assert ids == tiny().language_tokenizer(INSTRUCTION)["input_ids"]


# ---- The hub ----

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine, empty."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


def test_a_base_by_its_name_from_the_hubs_cache(base: Path, tmp_path: Path, cache: Path) -> None:
    repository = cache / "models--somebody--instructblip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(base, repository / "snapshots" / COMMIT)
    # The hub also has pickled weights, which are not requested.
    (repository / "snapshots" / COMMIT / "pytorch_model.bin").write_bytes(b"?")
    manifest = make_bundle(tmp_path / "made", "somebody/instructblip", DESCRIPTION)
    assert (manifest.base_model, manifest.base_revision) == ("somebody/instructblip", COMMIT)


def test_nothing_is_downloaded_by_default(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(BundleError, match=r"hub's cache on this machine; --download fetches it"):
        make_bundle(tmp_path / "made", "somebody/instructblip", DESCRIPTION)


def test_a_download_leaves_out_pickled_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request: dict[str, Any] = {}

    def fetch(name: str, **options: Any) -> str:
        request.update(options, name=name)
        return str(base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    make_bundle(tmp_path / "made", "a/b", DESCRIPTION, revision="v2", download=True)
    assert request == {
        "name": "a/b",
        "revision": "v2",
        "allow_patterns": ["*.json", "*.safetensors"],
        "local_files_only": False,
    }


# ---- What is refused ----


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "optimizer.pt", "rng.pkl"])
def test_pickled_files_alone_are_refused_by_name(base: Path, tmp_path: Path, pickled: str) -> None:
    adapter = adapter_folder(tmp_path / "stage1", tiny(), "stage1")
    (adapter / "adapter_model.safetensors").rename(adapter / pickled)
    with pytest.raises(BundleError, match=rf"{pickled}: pickled files are never read"):
        make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[adapter])
    (base / WEIGHTS).rename(base / pickled)
    with pytest.raises(BundleError, match=rf"{pickled}: .*save it again"):
        make_bundle(tmp_path / "made", base, DESCRIPTION)
    assert not (tmp_path / "made").exists()


def test_pickled_files_beside_whole_safetensors_are_left_alone(base: Path, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "stage1", tiny(), "stage1")
    for folder in (base, adapter):
        (folder / "pytorch_model.bin").write_bytes(b"never read")
    manifest = make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[adapter])
    assert not any(name.endswith(".bin") for name in manifest.files)


def test_weights_that_are_not_the_networks_are_refused(base: Path, tmp_path: Path) -> None:
    weights = load_file(base / WEIGHTS)
    weights["one.too.many"] = weights.pop(HEAD)
    save_file(weights, base / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"missing: language_model\.lm_head.*one\.too\.many"):
        make_bundle(tmp_path / "made", base, DESCRIPTION)


def test_a_bundle_is_kept_unless_it_is_to_be_replaced(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    first = make_bundle(out, base, DESCRIPTION)
    with pytest.raises(BundleError, match="already holds ours 1"):
        make_bundle(out, base, replace(DESCRIPTION, version="2"))
    assert check_bundle(out) == first
    # A bundle may be made from the one that it replaces; a failure leaves the old one whole.
    with pytest.raises(TemplateError):
        make_bundle(out, out, replace(DESCRIPTION, templates=("poem",)), overwrite=True)
    assert check_bundle(out) == first
    assert make_bundle(out, out, BundleDescription("ours", "2"), overwrite=True).version == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "made"]
    other = tmp_path / "letters"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="is not a bundle"):
        make_bundle(other, base, DESCRIPTION, overwrite=True)
    assert (other / "letter.txt").is_file()


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (replace(DESCRIPTION, templates=()), "give --template"),
        (replace(DESCRIPTION, licence=None), "give --licence"),
        (replace(DESCRIPTION, max_instruction_tokens=20), "give --max-instruction-tokens"),
        (replace(DESCRIPTION, max_instruction_tokens=513), "reads at most 512 tokens"),
    ],
)
def test_values_that_a_bundle_needs(
    base: Path, tmp_path: Path, description: BundleDescription, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        make_bundle(tmp_path / "made", base, description)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "no .*config.json"),
        ("tokenizer.json", "no .*tokenizer.json"),
        ("qformer_tokenizer/tokenizer.json", "no .*qformer_tokenizer"),
        ("preprocessor_config.json", "no preprocessor_config.json"),
        (WEIGHTS, "does not hold model.safetensors"),
    ],
)
def test_files_that_a_base_needs(base: Path, tmp_path: Path, name: str, message: str) -> None:
    (base / name).unlink()
    with pytest.raises(BundleError, match=message):
        make_bundle(tmp_path / "made", base, DESCRIPTION)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no folder"):
        make_bundle(tmp_path / "made", tmp_path / "nowhere", DESCRIPTION)


def test_a_damaged_bundle_cannot_be_a_source(base: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "made", base, DESCRIPTION)
    with (tmp_path / "made" / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(BundleError, match="SHA-256"):
        make_bundle(tmp_path / "other", tmp_path / "made", BundleDescription("x", "1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "only LORA is merged"),
        ({"target_modules": ["nowhere"]}, "not an adapter of this network"),
        ({"r": 8}, "not an adapter of this network"),
        ({"target_modules": r".*qkv\.q_proj"}, "not an adapter of this network"),
    ],
)
def test_an_adapter_of_another_network_is_refused(
    base: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    adapter = adapter_folder(tmp_path / "stage1", tiny(), "stage1")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[adapter])


def test_a_missing_adapter_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no adapter"):
        make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"does not hold adapter_config\.json"):
        make_bundle(tmp_path / "made", base, DESCRIPTION, adapters=[tmp_path / "empty"])


def test_a_full_disk_is_an_error(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "model.bundling.build.shutil.disk_usage", lambda _: SimpleNamespace(total=9, used=8, free=1)
    )  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="GB free"):
        make_bundle(tmp_path / "made", base, DESCRIPTION)
    assert not (tmp_path / "made" / MANIFEST).exists()

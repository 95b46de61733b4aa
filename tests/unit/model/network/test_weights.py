"""Weights from disk and to disk: what is refused, and how much memory loading takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import InstructBlipForConditionalGeneration

from model.bundling.store import check_bundle, load_bundle, save_bundle
from model.errors import BundleError
from model.manifest import NULL, read_manifest, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.network.qkv import split_attention
from model.network.sizes import SIZES, build_random
from model.network.weights import (
    ALIASES,
    HEAD,
    INDEX,
    SHARED,
    WEIGHTS,
    build_meta_network,
    read_index,
)
from tests.support.noise_cases import INSTRUCTION, noise_cases

CPU = torch.device("cpu")


def write_tiny(folder: Path, model: ClinicalBLIP, shard_bytes: int = 2**30) -> Path:
    manifest = replace(NULL, name="tiny", template="none", preprocessing=model.preprocessing)
    save_bundle(
        folder,
        model,
        replace(manifest, max_instruction_tokens=model.max_instruction_tokens),
        shard_bytes=shard_bytes,
    )
    return folder


@pytest.fixture(scope="module")
def tiny() -> ClinicalBLIP:
    return build_random("tiny", seed=3)


@pytest.fixture
def bundle(tiny: ClinicalBLIP, tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", tiny)


def rewrite(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Put other weights into a bundle, with a manifest that lists them."""
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    write_manifest(folder, read_manifest(folder))


def logits(network: InstructBlipForConditionalGeneration, model: ClinicalBLIP) -> torch.Tensor:
    inputs = model.gather(noise_cases(model, 1), [INSTRUCTION])
    with torch.inference_mode():
        return network(
            pixel_values=inputs.pixels,
            qformer_input_ids=inputs.qformer_input_ids,
            qformer_attention_mask=inputs.qformer_attention_mask,
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            decoder_input_ids=torch.tensor([[0, 17, 42]]),
        ).logits


@pytest.mark.parametrize("shard_bytes", [2**30, 200_000])
def test_plain_transformers_loads_it_with_the_same_logits(
    tiny: ClinicalBLIP, tmp_path: Path, shard_bytes: int
) -> None:
    folder = write_tiny(tmp_path / "tiny", tiny, shard_bytes)
    plain = InstructBlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    model, _ = load_bundle(folder, CPU)
    expected = logits(tiny.network, tiny)
    assert torch.equal(logits(plain, tiny), expected)
    assert torch.equal(logits(model.network, tiny), expected)
    # T5's head is a weight of its own again, not the embeddings.
    assert not torch.equal(plain.get_parameter(HEAD), plain.get_parameter(SHARED))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_number_formats_are_those_of_transformers(bundle: Path, dtype: torch.dtype) -> None:
    plain = InstructBlipForConditionalGeneration.from_pretrained(bundle, dtype=dtype)
    network = load_bundle(bundle, CPU, dtype)[0].network
    assert set(dict(network.named_parameters())) == set(dict(plain.named_parameters()))
    for name, weight in plain.named_parameters():
        loaded = network.get_parameter(name)
        # transformers searches "wo" anywhere, and finds it in the Q-Former's word embeddings.
        assert loaded.dtype == weight.dtype or name == "qformer.embeddings.word_embeddings.weight"
        assert torch.equal(loaded, weight.to(loaded.dtype)), name
    for name, buffer in plain.named_buffers():
        assert torch.equal(network.get_buffer(name), buffer), name
    config, expected = (n.config.to_dict()["text_config"] for n in (network, plain))
    assert config | {"dtype": None} == expected | {"dtype": None}
    assert network.generation_config == plain.generation_config


def test_shards_are_not_larger_than_the_limit(tiny: ClinicalBLIP, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", tiny, 200_000)
    index = json.loads((folder / INDEX).read_text())
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(shards) > 5
    assert shards == sorted(set(index["weight_map"].values()))
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert all((folder / shard).stat().st_size < 220_000 for shard in shards)
    total = sum(p.nbytes for p in tiny.network.parameters())
    assert index["metadata"]["total_size"] == total
    for name, file_name in index["weight_map"].items():
        with safe_open(folder / file_name, framework="pt") as file:
            assert torch.equal(file.get_tensor(name), tiny.network.get_parameter(name))


def test_a_split_network_is_saved_fused(tmp_path: Path) -> None:
    model = build_random("tiny", seed=3)
    before = write_tiny(tmp_path / "before", model)
    split_attention(model.network)
    after = write_tiny(tmp_path / "after", model)
    assert (after / WEIGHTS).read_bytes() == (before / WEIGHTS).read_bytes()


# ---- What is refused ----


def test_keys_are_refused_by_name(tiny: ClinicalBLIP, bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    renamed, resized = "language_projection.weight", "qformer.embeddings.layernorm.bias"
    weights["vision_model.extra.weight"] = weights.pop(renamed)
    weights[resized] = torch.zeros(5)
    rewrite(bundle, weights)
    for load in (check_bundle, lambda folder: load_bundle(folder, CPU)):
        with pytest.raises(BundleError) as refused:
            load(bundle)
        message = str(refused.value)
        assert f"missing: {renamed};" in message
        assert "unexpected: vision_model.extra.weight;" in message
        assert f"of another shape: {resized} (5, the configuration says 64)" in message


def test_many_wrong_keys_are_counted(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    rewrite(bundle, {n: w for n, w in weights.items() if not n.startswith("vision_model")})
    missing = sum(name.startswith("vision_model") for name in weights)
    with pytest.raises(BundleError, match=f"and {missing - 4} more"):
        check_bundle(bundle)


def test_a_head_that_transformers_5_left_out_is_refused(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    del weights[HEAD]
    rewrite(bundle, weights)
    with pytest.raises(BundleError, match=r"missing: language_model\.lm_head\.weight.*tie_word"):
        check_bundle(bundle)


def test_keys_of_older_transformers_are_ignored(tiny: ClinicalBLIP, bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    for alias in ALIASES:
        weights[alias] = weights[SHARED].clone()
    weights["qformer.embeddings.position_ids"] = torch.arange(512.0)[None]
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    weights[f"language_model.{unused}"] = torch.zeros(32, 2)
    rewrite(bundle, weights)
    loaded, _ = load_bundle(bundle, CPU)
    assert torch.equal(logits(loaded.network, tiny), logits(tiny.network, tiny))
    del weights[SHARED]
    rewrite(bundle, weights)
    loaded, _ = load_bundle(bundle, CPU)
    assert torch.equal(logits(loaded.network, tiny), logits(tiny.network, tiny))
    weights[ALIASES[1]] += 1
    rewrite(bundle, weights)
    with pytest.raises(BundleError, match="one matrix of embeddings"):
        load_bundle(bundle, CPU)


def test_pickled_weights_are_never_read(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()
    (bundle / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/x'\ntR.")
    write_manifest(bundle, read_manifest(bundle))
    with pytest.raises(BundleError, match=r"pytorch_model\.bin: pickled files are never read"):
        load_bundle(bundle, CPU)


def test_quantised_weights_are_refused(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    weights["language_projection.weight"] = weights["language_projection.weight"].to(torch.int8)
    rewrite(bundle, weights)
    with pytest.raises(BundleError, match="is stored as I8, not as F64, F32"):
        check_bundle(bundle)


def test_half_a_file_is_refused(bundle: Path) -> None:
    path = bundle / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BundleError, match="not a whole safetensors file"):
        read_index(bundle)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[", "not an index"),
        ({"weight_map": {HEAD: "../model.safetensors"}}, "not a safetensors file beside it"),
        ({"weight_map": {HEAD: "model.bin"}}, "not a safetensors file beside it"),
        ({"weight_map": {HEAD: "gone.safetensors"}}, "does not hold gone.safetensors"),
        ({"weight_map": {"strange": "model.safetensors"}}, "says that strange is in"),
    ],
)
def test_a_wrong_index_is_refused(bundle: Path, index: object, message: str) -> None:
    (bundle / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    with pytest.raises(BundleError, match=message):
        read_index(bundle)


def test_a_language_model_other_than_t5_is_refused() -> None:
    config = SIZES["tiny"].config()
    config.text_config.model_type = "opt"
    with pytest.raises(BundleError, match="only T5"):
        build_meta_network(config)


# ---- Memory ----

MEASURE = """
import re, sys
from pathlib import Path
import torch
from model.bundling.store import load_bundle

def status(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
load_bundle(sys.argv[1], torch.device("cpu"))  # first, so that imports do not count
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
calls = []
model, _ = load_bundle(
    sys.argv[2],
    torch.device("cpu"),
    getattr(torch, sys.argv[3]),
    lambda *call: calls.append(call),
)
peak = status("VmHWM") - before
weights = sum(p.nbytes for p in model.network.parameters())
what, done, total = calls[-1]
assert (what, done) == ("loading", total), calls[-1]
print(weights, peak)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a gigabyte in float32, in a single file."""
    size = replace(
        SIZES["tiny"],
        language={**SIZES["tiny"].language, "d_model": 640, "d_ff": 1792, "num_layers": 6},
    )
    return write_tiny(tmp_path_factory.mktemp("large") / "large", build_random(size))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_loading_needs_little_more_memory_than_the_weights(
    bundle: Path, large: Path, dtype: str
) -> None:
    """The peak of the whole process counts, with the mapped pages of the file."""
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, bundle, large, dtype],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    weights, peak = map(int, process.stdout.split())
    assert weights > 100e6
    print(f"{dtype}: peak {peak / weights:.3f} x {weights / 1e6:.0f} MB")
    assert peak <= 1.15 * weights

"""Weights from disk into place and back: what is refused, and what it takes."""

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
from model.network.weights import ALIASES, HEAD, INDEX, SHARED, WEIGHTS, read_index, skeleton
from tests.support.noise_cases import ASK, noise_cases

CPU = torch.device("cpu")


def made(folder: Path, model: ClinicalBLIP, shard_bytes: int = 2**30) -> Path:
    manifest = replace(NULL, name="tiny", template="none", preprocessing=model.preprocessing)
    save_bundle(
        folder,
        model,
        replace(manifest, max_instruction_tokens=model.most_tokens),
        shard_bytes=shard_bytes,
    )
    return folder


@pytest.fixture(scope="module")
def tiny() -> ClinicalBLIP:
    return build_random("tiny", seed=3)


@pytest.fixture
def bundle(tiny: ClinicalBLIP, tmp_path: Path) -> Path:
    return made(tmp_path / "tiny", tiny)


def rewrite(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights in a bundle, and a manifest that believes in them."""
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    write_manifest(folder, read_manifest(folder))


def logits(network: InstructBlipForConditionalGeneration, model: ClinicalBLIP) -> torch.Tensor:
    inputs = model.gather(noise_cases(model, 1), [ASK])
    with torch.inference_mode():
        return network(
            pixel_values=inputs.pixels,
            qformer_input_ids=inputs.asked,
            qformer_attention_mask=inputs.asked_mask,
            input_ids=inputs.words,
            attention_mask=inputs.words_mask,
            decoder_input_ids=torch.tensor([[0, 17, 42]]),
        ).logits


@pytest.mark.parametrize("shard_bytes", [2**30, 200_000])
def test_plain_transformers_reads_it_and_says_the_same(
    tiny: ClinicalBLIP, tmp_path: Path, shard_bytes: int
) -> None:
    folder = made(tmp_path / "tiny", tiny, shard_bytes)
    plain = InstructBlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    ours, _ = load_bundle(folder, CPU)
    wanted = logits(tiny.network, tiny)
    assert torch.equal(logits(plain, tiny), wanted)
    assert torch.equal(logits(ours.network, tiny), wanted)
    # T5's head came back as itself, not as the embeddings.
    assert not torch.equal(plain.get_parameter(HEAD), plain.get_parameter(SHARED))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_number_formats_are_those_of_transformers(bundle: Path, dtype: torch.dtype) -> None:
    plain = InstructBlipForConditionalGeneration.from_pretrained(bundle, dtype=dtype)
    ours = load_bundle(bundle, CPU, dtype)[0].network
    assert set(dict(ours.named_parameters())) == set(dict(plain.named_parameters()))
    for name, weight in plain.named_parameters():
        mine = ours.get_parameter(name)
        # transformers looks for "wo" anywhere, and finds it in the Q-Former's words.
        assert mine.dtype == weight.dtype or name == "qformer.embeddings.word_embeddings.weight"
        assert torch.equal(mine, weight.to(mine.dtype)), name
    for name, buffer in plain.named_buffers():
        assert torch.equal(ours.get_buffer(name), buffer), name
    said, wanted = (n.config.to_dict()["text_config"] for n in (ours, plain))
    assert said | {"dtype": None} == wanted | {"dtype": None}
    assert ours.generation_config == plain.generation_config


def test_shards_hold_no_more_than_they_may(tiny: ClinicalBLIP, tmp_path: Path) -> None:
    folder = made(tmp_path / "tiny", tiny, 200_000)
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


def test_a_network_taken_apart_is_saved_as_it_was(tmp_path: Path) -> None:
    model = build_random("tiny", seed=3)
    before = made(tmp_path / "before", model)
    split_attention(model.network)
    after = made(tmp_path / "after", model)
    assert (after / WEIGHTS).read_bytes() == (before / WEIGHTS).read_bytes()


# ---- What is refused ----


def test_keys_are_refused_by_name(tiny: ClinicalBLIP, bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    one, other = "language_projection.weight", "qformer.embeddings.layernorm.bias"
    weights["vision_model.extra.weight"] = weights.pop(one)
    weights[other] = torch.zeros(5)
    rewrite(bundle, weights)
    for look in (check_bundle, lambda folder: load_bundle(folder, CPU)):
        with pytest.raises(BundleError) as refused:
            look(bundle)
        said = str(refused.value)
        assert f"missing: {one};" in said
        assert "unexpected: vision_model.extra.weight;" in said
        assert f"of another shape: {other} (5, the configuration says 64)" in said


def test_many_wrong_keys_are_counted(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    rewrite(bundle, {n: w for n, w in weights.items() if not n.startswith("vision_model")})
    gone = sum(name.startswith("vision_model") for name in weights)
    with pytest.raises(BundleError, match=f"and {gone - 4} more"):
        check_bundle(bundle)


def test_a_head_that_transformers_5_left_out_is_refused(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    del weights[HEAD]
    rewrite(bundle, weights)
    with pytest.raises(BundleError, match=r"missing: language_model\.lm_head\.weight.*tie_word"):
        check_bundle(bundle)


def test_what_older_transformers_wrote_besides_is_left_out(
    tiny: ClinicalBLIP, bundle: Path
) -> None:
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
    ("index", "said"),
    [
        ("[", "not an index"),
        ({"weight_map": {HEAD: "../model.safetensors"}}, "no safetensors file beside it"),
        ({"weight_map": {HEAD: "model.bin"}}, "no safetensors file beside it"),
        ({"weight_map": {HEAD: "gone.safetensors"}}, "holds no gone.safetensors"),
        ({"weight_map": {"strange": "model.safetensors"}}, "says that strange is in"),
    ],
)
def test_an_index_that_does_not_hold_is_refused(bundle: Path, index: object, said: str) -> None:
    (bundle / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    with pytest.raises(BundleError, match=said):
        read_index(bundle)


def test_only_t5_writes() -> None:
    config = SIZES["tiny"].config()
    config.text_config.model_type = "opt"
    with pytest.raises(BundleError, match="only T5"):
        skeleton(config)


# ---- What it takes ----

MEASURE = """
import re, sys
from pathlib import Path
import torch
from model.bundling.store import load_bundle

def status(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
load_bundle(sys.argv[1], torch.device("cpu"))  # what is imported at the first use
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
shares = []
model, _ = load_bundle(
    sys.argv[2],
    torch.device("cpu"),
    getattr(torch, sys.argv[3]),
    lambda what, share: shares.append((what, share)),
)
peak = status("VmHWM") - before
weights = sum(p.nbytes for p in model.network.parameters())
assert shares[-1] == ("loading", 1.0), shares[-1]
print(weights, peak)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a gigabyte in float32, in a single file."""
    size = replace(
        SIZES["tiny"],
        language={**SIZES["tiny"].language, "d_model": 640, "d_ff": 1792, "num_layers": 6},
    )
    return made(tmp_path_factory.mktemp("large") / "large", build_random(size))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_loading_takes_the_weights_and_little_more(bundle: Path, large: Path, dtype: str) -> None:
    """The process's whole peak, mapped pages of the file among it."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, bundle, large, dtype],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    weights, peak = map(int, done.stdout.split())
    assert weights > 100e6
    print(f"{dtype}: peak {peak / weights:.3f} x {weights / 1e6:.0f} MB")
    assert peak <= 1.15 * weights

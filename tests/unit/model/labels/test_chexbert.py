"""CheXbert's weights load, its heads are read in their order, and no code in a file is run.

The weights are random and the network is small, so these tests cover the loading and the reading of
the heads, not how well CheXbert labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig

from model.errors import BundleError
from model.labels import NO_FINDING, OBSERVATIONS, Label, load_labeller
from model.labels.chexbert import CheXbert, CheXbertNetwork

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("heart", "lungs", "clear", "no", "effusion", "##s", ".", "small", "edema"),
]
TEXTS = ["Heart. Lungs clear.", "No effusions.", "", "small edema " * 400, "lungs"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network() -> CheXbertNetwork:
    torch.manual_seed(0)
    return CheXbertNetwork(BertConfig(**SMALL, initializer_range=1.0)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    return tmp_path


def published(network: torch.nn.Module) -> dict[str, Any]:
    """Return a checkpoint as the authors published it: DataParallel's names and an optimizer."""
    weights = {f"module.{name}": weight for name, weight in network.state_dict().items()}
    weights["module.bert.embeddings.position_ids"] = torch.arange(512)[None]
    return {"epoch": 3, "model_state_dict": weights, "optimizer_state_dict": {"state": {}}}


def test_the_published_form_loads_and_labels(folder: Path, network: CheXbertNetwork) -> None:
    torch.save(published(network), folder / "chexbert.pth")
    chexbert = CheXbert.load(folder, "cpu")
    assert chexbert.key == "chexbert"
    assert chexbert.name.startswith("CheXbert, weights ")
    batch = chexbert.label(TEXTS)
    assert all(tuple(labels) == OBSERVATIONS for labels in batch)
    assert len({tuple(labels.values()) for labels in batch}) > 1  # the labels depend on the text
    # Padding changes nothing: a report has the same labels alone and in a batch.
    assert batch == [chexbert.label([text])[0] for text in TEXTS]
    assert batch == chexbert.label(TEXTS * 5)[-len(TEXTS) :]
    assert chexbert.label([]) == []


def test_the_whole_network_is_filled_from_the_file(folder: Path, network: CheXbertNetwork) -> None:
    torch.save(published(network), folder / "chexbert.pth")
    loaded = CheXbert.load(folder, "cpu").network.state_dict()
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(weight, loaded[name]) for name, weight in network.state_dict().items())


def test_heads_and_classes_are_in_chexberts_order(folder: Path, network: CheXbertNetwork) -> None:
    # CheXbert, src/constants.py: 0 blank, 1 positive, 2 negative, 3 uncertain; No Finding is last.
    order = (Label.BLANK, Label.PRESENT, Label.ABSENT, Label.UNCERTAIN)
    for number, head in enumerate(network.linear_heads):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias[number % len(head.bias)] = 1.0
    torch.save(published(network), folder / "chexbert.pth")
    chexbert = CheXbert.load(folder, "cpu")
    (labels,) = chexbert.label(["Heart."])
    expected = {name: order[n % 4] for n, name in enumerate(OBSERVATIONS[:-1])}
    assert labels == expected | {NO_FINDING: Label.PRESENT}
    assert chexbert.are_normal(["Heart."]) == [True]


def test_a_long_report_is_cut_and_still_ends_as_a_report(
    folder: Path, network: CheXbertNetwork
) -> None:
    torch.save(published(network), folder / "chexbert.pth")
    tokens = CheXbert.load(folder, "cpu").tokenize("Edema.\nNo  effusions " * 300)
    pieces = [VOCABULARY[token] for token in tokens]
    assert len(pieces) == 512
    assert pieces[:7] == ["[CLS]", "edema", ".", "no", "effusion", "##s", "edema"]
    assert pieces[-1] == "[SEP]"


def test_safetensors_are_preferred_to_a_pickled_file(
    folder: Path, network: CheXbertNetwork
) -> None:
    save_file(network.state_dict(), folder / "chexbert.safetensors")
    (folder / "chexbert.pth").write_bytes(b"not read")
    assert load_labeller(folder).key == "chexbert"


class FileMaker:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_wants_to_run_code_is_refused_and_not_run(
    folder: Path, network: CheXbertNetwork
) -> None:
    marker = folder / "ran"
    torch.save(published(network) | {"more": FileMaker(marker)}, folder / "chexbert.pth")
    with pytest.raises(BundleError, match=r"holds more than weights.*chexbert\.safetensors"):
        CheXbert.load(folder, "cpu")
    assert not marker.exists()
    torch.load(folder / "chexbert.pth", weights_only=False)  # without the check it is run
    assert marker.exists()


@pytest.mark.parametrize("missing", ["chexbert.pth", "vocab.txt"])
def test_a_missing_file_is_an_error(folder: Path, network: CheXbertNetwork, missing: str) -> None:
    torch.save(published(network), folder / "chexbert.pth")
    (folder / missing).unlink()
    with pytest.raises(BundleError, match="put chexbert"):
        CheXbert.load(folder, "cpu")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chexbert.pth", b"PK\x03\x04 cut off"),
        ("chexbert.pth", b""),
        ("chexbert.safetensors", b"\x00" * 20),
    ],
)
def test_a_damaged_file_is_an_error(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}"):
        CheXbert.load(folder, "cpu")


def test_other_weights_are_an_error(folder: Path, network: CheXbertNetwork) -> None:
    checkpoint = published(network)
    checkpoint["model_state_dict"].pop("module.linear_heads.3.bias")
    torch.save(checkpoint, folder / "chexbert.pth")
    with pytest.raises(BundleError, match=r"1 weights .* linear_heads\.3\.bias"):
        CheXbert.load(folder, "cpu")
    torch.save({"model_state_dict": {"a": "text"}}, folder / "chexbert.pth")
    with pytest.raises(BundleError, match="not a table of weights"):
        CheXbert.load(folder, "cpu")


def test_another_vocabulary_or_config_is_an_error(folder: Path, network: CheXbertNetwork) -> None:
    torch.save(published(network), folder / "chexbert.pth")
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, *map(str, range(100))]))
    with pytest.raises(BundleError, match="bert-base-uncased"):
        CheXbert.load(folder, "cpu")
    for text in ("heart\nlungs\n", "\xff"):
        (folder / "vocab.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(BundleError, match=r"vocab\.txt .* does not belong to a BERT"):
            CheXbert.load(folder, "cpu")
    (folder / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"config\.json"):
        CheXbert.load(folder, "cpu")

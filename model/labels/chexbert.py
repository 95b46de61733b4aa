"""CheXbert's labels of a report, by its own weights, which the user brings.

CheXbert (Smit et al. 2020, arXiv:2004.09167) is BERT-base with a linear head for each observation.
The licence of the weights forbids passing them on, so they are never shipped and never downloaded.
A folder holds

    chexbert.pth          as its authors publish it, or chexbert.safetensors
    vocab.txt             of bert-base-uncased
    config.json           only where the network is another than bert-base-uncased
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from model.bundling.store import choose_device
from model.errors import BundleError
from model.labels.base import NO_FINDING, OBSERVATIONS, Label, Labels
from model.manifest import sha256_of_files

PICKLED, SAFE, VOCABULARY, CONFIG = (
    "chexbert.pth",
    "chexbert.safetensors",
    "vocab.txt",
    "config.json",
)
_CLASSES = (Label.BLANK, Label.PRESENT, Label.ABSENT, Label.UNCERTAIN)
"""The classes of a head, in order; the head of "No Finding" has only the first two."""
_MAX_TOKENS = 512
_BATCH_SIZE = 16
# Older checkpoints contain BERT's position ids, which are not weights.
_NOT_WEIGHTS = ("bert.embeddings.position_ids",)


class CheXbertNetwork(nn.Module):
    """BERT with 14 linear heads; its parts are named as in the published checkpoint."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.bert = BertModel(config)
        self.linear_heads = nn.ModuleList(
            nn.Linear(config.hidden_size, 2 if name == NO_FINDING else len(_CLASSES))
            for name in OBSERVATIONS
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the class of each observation (B, 14) from tokens and mask (B, T)."""
        cls_state = self.bert(tokens, attention_mask=mask)[0][:, 0]  # (B, D)
        return torch.stack([head(cls_state).argmax(dim=-1) for head in self.linear_heads], dim=1)


class CheXbert:
    """A labeller with CheXbert's weights; `load` makes one.

    Args:
        network: The network, on `device`, in evaluation mode.
        tokenizer: The tokenizer of its vocabulary.
        device: The device of the network.
        name: What labels, with the digest of the weights.
    """

    key = "chexbert"

    def __init__(
        self,
        network: CheXbertNetwork,
        tokenizer: BertWordPieceTokenizer,
        device: torch.device,
        name: str,
    ) -> None:
        self.name = name
        self.network = network
        self._device = device
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, device: str | None = None) -> CheXbert:
        """Load CheXbert from a folder.

        Args:
            folder: The folder with the files that the module's docstring lists.
            device: The name of the device; None takes the first GPU, or the CPU without one.

        Raises:
            BundleError: A file is missing, holds something other than CheXbert's weights, or
                wants to run code. Nothing in it is executed.
            DeviceError: There is no such device.
        """
        torch_device = choose_device(device)
        path = _weights_path(folder)
        try:
            config = folder / CONFIG
            options = json.loads(config.read_text("utf-8")) if config.is_file() else {}
            network = CheXbertNetwork(BertConfig(**options))
            lines = (folder / VOCABULARY).read_text("utf-8").splitlines()
            vocabulary = {piece: number for number, piece in enumerate(lines)}
            tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(
                f"{CONFIG} or {VOCABULARY} in {folder} does not belong to a BERT; copy it again "
                f"({error})"
            ) from error
        if tokenizer.get_vocab_size() > network.bert.config.vocab_size:
            raise BundleError(
                f"{VOCABULARY} in {folder} has {tokenizer.get_vocab_size()} words, but the network "
                f"has {network.bert.config.vocab_size}; copy the one of bert-base-uncased there"
            )
        _load_state(network, _read_weights(path), path)
        digest = sha256_of_files(folder, [path.name])[path.name]
        network.eval().requires_grad_(False).to(torch_device)
        return cls(network, tokenizer, torch_device, f"CheXbert, weights {digest[:12]}")

    @torch.inference_mode()
    def label(self, texts: Sequence[str]) -> list[Labels]:
        """Return the labels of each report, in order; only its first 512 tokens are read."""
        encoded = [self.tokenize(text) for text in texts]
        labels: list[Labels] = [{} for _ in texts]
        # Reports of similar length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda number: len(encoded[number]))
        for start in range(0, len(order), _BATCH_SIZE):
            batch = order[start : start + _BATCH_SIZE]
            rows = [torch.tensor(encoded[number]) for number in batch]
            tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
            classes = self.network(tokens.to(self._device), mask.long().to(self._device)).tolist()
            for number, row in zip(batch, classes, strict=True):
                labels[number] = dict(
                    zip(OBSERVATIONS, (_CLASSES[index] for index in row), strict=True)
                )
        return labels

    def are_normal(self, texts: Sequence[str]) -> list[bool]:
        """Return for each report whether its "No Finding" is present."""
        return [labels[NO_FINDING] is Label.PRESENT for labels in self.label(texts)]

    def tokenize(self, text: str) -> list[int]:
        """Return a report's token ids, at most 512, the last of them [SEP]."""
        ids: list[int] = self._tokenizer.encode(" ".join(text.split())).ids
        return ids if len(ids) <= _MAX_TOKENS else [*ids[: _MAX_TOKENS - 1], ids[-1]]


def _weights_path(folder: Path) -> Path:
    paths = [folder / name for name in (SAFE, PICKLED) if (folder / name).is_file()]
    if not paths or not (folder / VOCABULARY).is_file():
        raise BundleError(
            f"{folder} does not hold CheXbert; put {PICKLED} or {SAFE} there, and the {VOCABULARY} "
            "of bert-base-uncased beside it"
        )
    return paths[0]


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights by name, without the prefix that DataParallel writes."""
    try:
        if path.name == SAFE:
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path.name} holds more than weights and wants to run code, which was not run; get "
            f"the file from CheXbert's authors, or its weights as {SAFE}"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"{path.name} cannot be read; copy it again") from error
    if isinstance(state, Mapping) and isinstance(state.get("model_state_dict"), Mapping):
        state = state["model_state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BundleError(f"{path.name} is not a table of weights; copy CheXbert's own file there")
    weights = {str(name).removeprefix("module."): weight for name, weight in state.items()}
    return {name: weight for name, weight in weights.items() if name not in _NOT_WEIGHTS}


def _load_state(network: CheXbertNetwork, weights: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        expected = network.state_dict()
        wrong = [
            name
            for name in sorted(expected.keys() | weights.keys())
            if name not in expected
            or name not in weights
            or expected[name].shape != weights[name].shape
        ]
        raise BundleError(
            f"{path.name} does not hold CheXbert's weights: {len(wrong)} weights are missing, "
            f"unexpected or of another shape, first {wrong[0] if wrong else 'unknown'}; copy "
            f"CheXbert's own file there, or put the {CONFIG} of its network beside it"
        ) from error

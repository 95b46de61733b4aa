"""CheXbert's labels of a report, by its own weights, which a user brings. Knows no rules.

Smit et al. 2020 (arXiv:2004.09167): BERT-base and a linear head for each observation. The weights'
licence forbids passing them on, so they are never shipped and never downloaded; a folder holds

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
from model.labels.rule_phrases import NO_FINDING, OBSERVATIONS
from model.labels.rules import Label, Labels
from model.manifest import sha256_of_files

PICKLED, SAFE, VOCABULARY, CONFIG = (
    "chexbert.pth",
    "chexbert.safetensors",
    "vocab.txt",
    "config.json",
)
_CLASSES = (Label.BLANK, Label.PRESENT, Label.ABSENT, Label.UNCERTAIN)
"""Of a head, in order; that of "No Finding" has the first two."""
_MOST_TOKENS = 512
_BATCH = 16
# BERT writes its own positions into older checkpoints; they are no weights.
_NO_WEIGHTS = ("bert.embeddings.position_ids",)


class _Network(nn.Module):
    """Named as in the published checkpoint: `bert` and `linear_heads`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.bert = BertModel(config)
        self.linear_heads = nn.ModuleList(
            nn.Linear(config.hidden_size, 2 if name == NO_FINDING else len(_CLASSES))
            for name in OBSERVATIONS
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens and mask (B, T) -> the class of each observation (B, 14)."""
        first = self.bert(tokens, attention_mask=mask)[0][:, 0]
        return torch.stack([head(first).argmax(dim=-1) for head in self.linear_heads], dim=1)


class CheXbert:
    """A labeller by CheXbert's weights. name: says which weights; `load` makes one."""

    key = "chexbert"

    def __init__(
        self, network: _Network, words: BertWordPieceTokenizer, device: torch.device, name: str
    ) -> None:
        self.name = name
        self._device = device
        self._network = network
        self._words = words

    @classmethod
    def load(cls, folder: Path, device: str | None = None) -> CheXbert:
        """From a folder, on a device by name; None takes the first GPU where there is one.

        Raises:
            BundleError: a file is missing, holds something else than CheXbert's weights, or wants
                to run code. Nothing in it is executed.
            DeviceError: there is no such device.
        """
        chosen = choose_device(device)
        file = _weights_file(folder)
        try:
            config = folder / CONFIG
            said = json.loads(config.read_text("utf-8")) if config.is_file() else {}
            network = _Network(BertConfig(**said))
            lines = (folder / VOCABULARY).read_text("utf-8").splitlines()
            vocabulary = {word: place for place, word in enumerate(lines)}
            words = BertWordPieceTokenizer(vocabulary, lowercase=True)
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(
                f"{CONFIG} or {VOCABULARY} in {folder} is not that of a BERT; copy it again "
                f"({error})"
            ) from error
        if words.get_vocab_size() > network.bert.config.vocab_size:
            raise BundleError(
                f"{VOCABULARY} in {folder} has {words.get_vocab_size()} words and the network "
                f"{network.bert.config.vocab_size}; put that of bert-base-uncased there"
            )
        _fill(network, _read(file), file)
        digest = sha256_of_files(folder, [file.name])[file.name]
        network.eval().requires_grad_(False).to(chosen)
        return cls(network, words, chosen, f"CheXbert, weights {digest[:12]}")

    @torch.inference_mode()
    def label(self, texts: Sequence[str]) -> list[Labels]:
        """The labels of each report, in order. What is past 512 tokens is not read."""
        encoded = [self._tokens(text) for text in texts]
        labels: list[Labels] = [{} for _ in texts]
        # Alike lengths together: little of a batch is padding.
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            rows = [torch.tensor(encoded[place]) for place in places]
            tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
            classes = self._network(tokens.to(self._device), mask.long().to(self._device)).tolist()
            for place, row in zip(places, classes, strict=True):
                found = (_CLASSES[one] for one in row)
                labels[place] = dict(zip(OBSERVATIONS, found, strict=True))
        return labels

    def normal(self, texts: Sequence[str]) -> list[bool]:
        """Whether each report is of a normal chest: its "No Finding" is present."""
        return [labels[NO_FINDING] is Label.PRESENT for labels in self.label(texts)]

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self._words.encode(" ".join(text.split())).ids
        return ids if len(ids) <= _MOST_TOKENS else [*ids[: _MOST_TOKENS - 1], ids[-1]]


def _weights_file(folder: Path) -> Path:
    found = [folder / name for name in (SAFE, PICKLED) if (folder / name).is_file()]
    if not found or not (folder / VOCABULARY).is_file():
        raise BundleError(
            f"{folder} does not hold CheXbert; put {PICKLED} or {SAFE} there, and the {VOCABULARY} "
            "of bert-base-uncased beside it"
        )
    return found[0]


def _read(file: Path) -> dict[str, Tensor]:
    """The weights by name, without the mark of DataParallel before each."""
    try:
        if file.name == SAFE:
            held: Any = load_file(file)
        else:
            held = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{file.name} holds more than weights, and what it wants to run is not run here; get "
            f"the file from CheXbert's authors, or its weights as {SAFE}"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"{file.name} cannot be read; copy it again") from error
    if isinstance(held, Mapping) and isinstance(held.get("model_state_dict"), Mapping):
        held = held["model_state_dict"]
    if not isinstance(held, Mapping) or not all(isinstance(one, Tensor) for one in held.values()):
        raise BundleError(f"{file.name} is no table of weights; copy CheXbert's own there")
    named = {str(name).removeprefix("module."): one for name, one in held.items()}
    return {name: one for name, one in named.items() if name not in _NO_WEIGHTS}


def _fill(network: _Network, weights: dict[str, Tensor], file: Path) -> None:
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        wanted = network.state_dict()
        wrong = [
            name
            for name in sorted(wanted.keys() | weights.keys())
            if name not in wanted
            or name not in weights
            or wanted[name].shape != weights[name].shape
        ]
        raise BundleError(
            f"{file.name} is not CheXbert's: {len(wrong)} weights are missing, too many or of "
            f"another shape, the first is {wrong[0] if wrong else 'unknown'}; copy CheXbert's own "
            f"there, or put the {CONFIG} of its network beside it"
        ) from error

"""The network: InstructBLIP over one to three views of a study. Knows no files and no devices.

Shapes: B cases, N views of all cases together, V views of one case, Q query tokens a view (32 in
the published model), S pixels a side, L tokens of a row, D the language model's width.

Every view goes through the eye (ViT) and the Q-Former on its own, next to the instruction; a
case's V x Q query outputs then stand one after another before its words. A case with fewer views
has fewer positions, not masked ones: padding between image and words would shift T5's relative
positions. So a case with one view is plain InstructBLIP, bit for bit, whatever its batch mates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from model.case import MAX_VIEWS, Case
from model.decoding import Decoding
from model.errors import CaseError
from model.manifest import Preprocessing


@dataclass(frozen=True)
class Inputs:
    """A batch as tensors.

    pixels: (N, 3, S, S) float32, normalised, the views of case 0 first. asked, asked_mask: (N, L)
    the instruction in the Q-Former's tokens, once a view. words, words_mask: (B, L) V x Q image
    tokens, then the instruction in T5's tokens, padded on the right.
    """

    pixels: torch.Tensor
    asked: torch.Tensor
    asked_mask: torch.Tensor
    words: torch.Tensor
    words_mask: torch.Tensor

    def to(self, device: torch.device) -> Inputs:
        """The same batch on another device; from pinned memory, without waiting for it."""
        moved = {name: t.to(device, non_blocking=True) for name, t in vars(self).items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class Generated:
    """New tokens of one case, the end of text not among them, and the natural log of each."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    text: str
    cut: bool


class ClinicalBLIP(nn.Module):
    """InstructBLIP with its two tokenizers and its preprocessing.

    network: transformers' InstructBLIP with an encoder-decoder language model. language, asking:
    T5's tokenizer and the Q-Former's. most_tokens: of an instruction; longer ones are cut at the
    end, so callers shorten the priors first (model.prompting.prompt).
    """

    def __init__(
        self,
        network: InstructBlipForConditionalGeneration,
        language: PreTrainedTokenizerFast,
        asking: PreTrainedTokenizerFast,
        preprocessing: Preprocessing,
        most_tokens: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.language = language
        self.asking = asking
        self.preprocessing = preprocessing
        positions: int = network.config.qformer_config.max_position_embeddings
        self.most_tokens = min(most_tokens, positions)

    @property
    def config(self) -> InstructBlipConfig:
        """The network's configuration."""
        return self.network.config

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights; the query tokens and T5's `wo` may be wider."""
        kept: torch.dtype = self.network.language_model.shared.weight.dtype
        return kept

    def fits(self, instruction: str) -> bool:
        """Whether both tokenizers can take the whole instruction."""
        return all(
            len(tokenizer(instruction)["input_ids"]) <= self.most_tokens
            for tokenizer in (self.language, self.asking)
        )

    def check(self, case: Case) -> None:
        """Refuse a case that the network cannot read.

        Raises:
            CaseError: no views, too many, or pixels of another shape or type.
        """
        size = self.preprocessing.size
        if not 1 <= len(case.views) <= MAX_VIEWS:
            raise CaseError(f"a case has 1 to {MAX_VIEWS} views, this one has {len(case.views)}")
        for number, view in enumerate(case.views, start=1):
            if view.pixels.shape != (size, size) or view.pixels.dtype != np.uint8:
                raise CaseError(
                    f"view {number} is {view.pixels.shape} {view.pixels.dtype}, "
                    f"the bundle reads ({size}, {size}) uint8"
                )

    def gather(self, cases: Sequence[Case], instructions: Sequence[str]) -> Inputs:
        """Cases and their instructions as one batch on the CPU."""
        counts = [len(case.views) for case in cases]
        films = np.stack([view.pixels for case in cases for view in case.views])  # (N, S, S)
        mean = torch.tensor(self.preprocessing.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.preprocessing.std).view(1, 3, 1, 1)
        grey = torch.from_numpy(films).unsqueeze(1).to(torch.float32) / 255.0
        pixels = (grey.expand(-1, 3, -1, -1) - mean) / std  # (N, 3, S, S)

        asked = self.asking(
            [text for text, count in zip(instructions, counts, strict=True) for _ in range(count)],
            padding=True,
            truncation=True,
            max_length=self.most_tokens,
            return_tensors="pt",
        )
        told = self.language(list(instructions), truncation=True, max_length=self.most_tokens)
        image = [self.config.image_token_index] * self.config.num_query_tokens
        rows = [image * n + ids for n, ids in zip(counts, told["input_ids"], strict=True)]
        longest = max(map(len, rows))
        pad = self.language.pad_token_id
        return Inputs(
            pixels=pixels,
            asked=asked["input_ids"],
            asked_mask=asked["attention_mask"],
            words=torch.tensor([row + [pad] * (longest - len(row)) for row in rows]),
            words_mask=torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
        )

    def see(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """The views through eye and Q-Former.

        Returns:
            (N, Q, D) what the language model is shown, and (N, Q, H) the query outputs that it is
            projected from.
        """
        seen = self.network.get_image_features(
            inputs.pixels, qformer_input_ids=inputs.asked, qformer_attention_mask=inputs.asked_mask
        )
        queries = seen.qformer_outputs.last_hidden_state[:, : self.config.num_query_tokens]
        return seen.pooler_output, queries

    def embed(self, inputs: Inputs, shown: torch.Tensor) -> torch.Tensor:
        """(B, L, D): every case's words with what was seen in place of its image tokens."""
        embedded: torch.Tensor = self.network.get_input_embeddings()(inputs.words)
        places = (inputs.words == self.config.image_token_index).unsqueeze(-1)
        # Row by row, the image tokens of all cases are as many as all views' queries.
        return embedded.masked_scatter(places, shown.to(embedded.dtype))

    @torch.inference_mode()
    def generate(self, inputs: Inputs, decoding: Decoding) -> list[Generated]:
        """Drafts of a batch by transformers' own `generate`, in its order.

        Slow, and the measure of all that is faster (model.inference.engine).

        Raises:
            CaseError: the network gave a value that is not a number.
        """
        shown, _ = self.see(inputs)
        out = self.network.language_model.generate(
            inputs_embeds=self.embed(inputs, shown),
            attention_mask=inputs.words_mask,
            output_logits=True,
            return_dict_in_generate=True,
            **decoding.for_generate(),
        )
        new = out.sequences[:, 1:]  # (B, T), after the decoder's start token
        logits = torch.stack(out.logits, dim=1).float()  # (B x beams, T, vocabulary)
        if not torch.isfinite(logits).all():
            raise CaseError("the network gave a value that is not a number")
        if decoding.beams > 1:
            # Each token's logits are those of the row that its beam then was.
            rows = out.beam_indices[:, : new.shape[1]].clamp(min=0)  # (B, T)
            logits = logits[rows, torch.arange(new.shape[1], device=rows.device)]
        logprobs = torch.log_softmax(logits, dim=-1).gather(2, new.unsqueeze(-1)).squeeze(-1)
        return [
            self._read(ids, logs) for ids, logs in zip(new.tolist(), logprobs.tolist(), strict=True)
        ]

    def _read(self, ids: list[int], logprobs: list[float]) -> Generated:
        end = self.language.eos_token_id
        length = ids.index(end) if end in ids else len(ids)
        kept = ids[:length]
        return Generated(
            ids=tuple(kept),
            tokens=tuple(self.language.convert_ids_to_tokens(kept)),
            logprobs=tuple(logprobs[:length]),
            text=self.language.decode(kept, skip_special_tokens=True).strip(),
            cut=length == len(ids),
        )

"""The network: InstructBLIP over one to three views of a study.

Shapes: B cases, N views of all cases together, V views of one case, Q query tokens a view (32 in
the published model), S pixels a side, L tokens of a row, D the width of the language model, H the
width of the Q-Former.

Every view goes through the vision encoder (ViT) and the Q-Former on its own, together with the
instruction. The V x Q query outputs of a case then stand one after another before the tokens of its
instruction. A case with fewer views has fewer positions and not masked ones, because padding
between image and text would shift T5's relative positions. So a case with one view gives what plain
InstructBLIP gives, bit for bit, whatever other cases are in the batch.
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
from model.network.finding_head import FindingHead


@dataclass(frozen=True)
class Inputs:
    """A batch as tensors.

    Attributes:
        pixels: (N, 3, S, S) float32, normalised, the views of case 0 first.
        qformer_input_ids: (N, L) the instruction in the Q-Former's tokens, once a view.
        qformer_attention_mask: (N, L) its mask.
        input_ids: (B, L) V x Q image tokens, then the instruction in T5's tokens, padded on the
            right.
        attention_mask: (B, L) its mask.
    """

    pixels: torch.Tensor
    qformer_input_ids: torch.Tensor
    qformer_attention_mask: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor

    def to(self, device: torch.device) -> Inputs:
        """Return the batch on another device; from pinned memory the copy is asynchronous."""
        moved = {name: t.to(device, non_blocking=True) for name, t in vars(self).items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class GeneratedText:
    """The new tokens of one case, without the end of text, and what they spell.

    Attributes:
        ids: Token ids.
        tokens: The tokens as the tokenizer names them.
        logprobs: Natural log of each token's probability.
        text: The text.
        cut: Whether the text reached the limit on new tokens before its end.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    text: str
    cut: bool


class ClinicalBLIP(nn.Module):
    """InstructBLIP with its two tokenizers and its preprocessing.

    Args:
        network: transformers' InstructBLIP with an encoder-decoder language model.
        language_tokenizer: T5's tokenizer.
        qformer_tokenizer: The Q-Former's tokenizer.
        preprocessing: How an image becomes pixels.
        max_instruction_tokens: Longer instructions are cut at the end, so callers shorten the
            priors first (model.prompting.prompt).
        finding_head: Scores observations from the query outputs; None where the bundle has none.
    """

    def __init__(
        self,
        network: InstructBlipForConditionalGeneration,
        language_tokenizer: PreTrainedTokenizerFast,
        qformer_tokenizer: PreTrainedTokenizerFast,
        preprocessing: Preprocessing,
        max_instruction_tokens: int,
        finding_head: FindingHead | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.language_tokenizer = language_tokenizer
        self.qformer_tokenizer = qformer_tokenizer
        for tokenizer in (language_tokenizer, qformer_tokenizer):
            tokenizer.truncation_side = "right"  # InstructBLIP's cut at the beginning
        self.preprocessing = preprocessing
        self.finding_head = finding_head
        positions: int = network.config.qformer_config.max_position_embeddings
        self.max_instruction_tokens = min(max_instruction_tokens, positions)

    @property
    def config(self) -> InstructBlipConfig:
        """The network's configuration."""
        return self.network.config

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights; query tokens and T5's `wo` may be wider."""
        dtype: torch.dtype = self.network.language_model.shared.weight.dtype
        return dtype

    def fits(self, instruction: str) -> bool:
        """Return whether the instruction is short enough in the tokens of both tokenizers."""
        return all(
            len(tokenizer(instruction)["input_ids"]) <= self.max_instruction_tokens
            for tokenizer in (self.language_tokenizer, self.qformer_tokenizer)
        )

    def check(self, case: Case) -> None:
        """Check that the network can read a case.

        Raises:
            CaseError: There are no views or too many, or their pixels have another shape or type.
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
        """Return cases and their instructions as one batch on the CPU."""
        counts = [len(case.views) for case in cases]
        images = np.stack([view.pixels for case in cases for view in case.views])  # (N, S, S)
        mean = torch.tensor(self.preprocessing.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.preprocessing.std).view(1, 3, 1, 1)
        grey = torch.from_numpy(images).unsqueeze(1).to(torch.float32) / 255.0
        pixels = (grey.expand(-1, 3, -1, -1) - mean) / std  # (N, 3, S, S)

        questions = self.qformer_tokenizer(
            [text for text, count in zip(instructions, counts, strict=True) for _ in range(count)],
            padding=True,
            truncation=True,
            max_length=self.max_instruction_tokens,
            return_tensors="pt",
        )
        prompts = self.language_tokenizer(
            list(instructions), truncation=True, max_length=self.max_instruction_tokens
        )
        image = [self.config.image_token_index] * self.config.num_query_tokens
        rows = [image * n + ids for n, ids in zip(counts, prompts["input_ids"], strict=True)]
        longest = max(map(len, rows))
        pad = self.language_tokenizer.pad_token_id
        return Inputs(
            pixels=pixels,
            qformer_input_ids=questions["input_ids"],
            qformer_attention_mask=questions["attention_mask"],
            input_ids=torch.tensor([row + [pad] * (longest - len(row)) for row in rows]),
            attention_mask=torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
        )

    def encode_images(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode the views with vision encoder and Q-Former.

        Returns:
            (N, Q, D) the image embeddings for the language model, and (N, Q, H) the query outputs
            that they are projected from.
        """
        features = self.network.get_image_features(
            inputs.pixels,
            qformer_input_ids=inputs.qformer_input_ids,
            qformer_attention_mask=inputs.qformer_attention_mask,
        )
        queries = features.qformer_outputs.last_hidden_state[:, : self.config.num_query_tokens]
        return features.pooler_output, queries

    def score_findings(self, inputs: Inputs, queries: torch.Tensor) -> torch.Tensor | None:
        """Score each case's observations with the finding head.

        Args:
            inputs: The batch.
            queries: (N, Q, H) as `encode_images` gives them.

        Returns:
            (B, C) probabilities in float32; None where the bundle has no finding head.
        """
        if self.finding_head is None:
            return None
        cases = len(inputs.input_ids)
        image_tokens = (inputs.input_ids == self.config.image_token_index).sum(dim=1)
        case_of_view = torch.repeat_interleave(
            torch.arange(cases, device=queries.device),
            image_tokens // self.config.num_query_tokens,
            output_size=len(queries),
        )
        logits: torch.Tensor = self.finding_head(queries, case_of_view, cases)
        return logits.sigmoid()

    def embed(self, inputs: Inputs, image_embeddings: torch.Tensor) -> torch.Tensor:
        """Return the embedded rows (B, L, D), with `image_embeddings` (N, Q, D) at image tokens."""
        embedded: torch.Tensor = self.network.get_input_embeddings()(inputs.input_ids)
        is_image = (inputs.input_ids == self.config.image_token_index).unsqueeze(-1)
        # Row by row, there are as many image tokens as queries of all views.
        return embedded.masked_scatter(is_image, image_embeddings.to(embedded.dtype))

    @torch.inference_mode()
    def generate(self, inputs: Inputs, decoding: Decoding) -> list[GeneratedText]:
        """Write the drafts of a batch with transformers' own `generate`, in the batch's order.

        It is slow, and the reference for everything faster (model.inference.engine).

        Raises:
            CaseError: The network returned a value that is not a number.
        """
        image_embeddings, _ = self.encode_images(inputs)
        out = self.network.language_model.generate(
            inputs_embeds=self.embed(inputs, image_embeddings),
            attention_mask=inputs.attention_mask,
            output_logits=True,
            return_dict_in_generate=True,
            **decoding.for_generate(),
        )
        new = out.sequences[:, 1:]  # (B, T), after the decoder's start token
        logits = torch.stack(out.logits, dim=1).float()  # (B x beams, T, vocabulary)
        if not torch.isfinite(logits).all():
            raise CaseError("the network gave a value that is not a number")
        if decoding.beams > 1:
            # The logits of a token are those of the row that its beam was in at that step.
            rows = out.beam_indices[:, : new.shape[1]].clamp(min=0)  # (B, T)
            logits = logits[rows, torch.arange(new.shape[1], device=rows.device)]
        logprobs = torch.log_softmax(logits, dim=-1).gather(2, new.unsqueeze(-1)).squeeze(-1)
        return [
            self._decode(ids, logs)
            for ids, logs in zip(new.tolist(), logprobs.tolist(), strict=True)
        ]

    def _decode(self, ids: list[int], logprobs: list[float]) -> GeneratedText:
        end = self.language_tokenizer.eos_token_id
        length = ids.index(end) if end in ids else len(ids)
        token_ids = ids[:length]
        return GeneratedText(
            ids=tuple(token_ids),
            tokens=tuple(self.language_tokenizer.convert_ids_to_tokens(token_ids)),
            logprobs=tuple(logprobs[:length]),
            text=self.language_tokenizer.decode(token_ids, skip_special_tokens=True).strip(),
            cut=length == len(ids),
        )

"""Networks by size, from random weights: the published model's, and two that fit a CPU.

For tests and measurements where no trained weights are at hand: what a step costs does not depend
on what it says. Knows no films and no training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    InstructBlipConfig,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP
from model.network.weights import Places, kept_dtype, place_buffers, skeleton

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
LANGUAGE_TOKENS = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "image_token": "<image>",
}
ASKING_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}
"""Special tokens by transformers' names for them; their ids are their places here."""
LANGUAGE_FRAME = "$A </s>"
ASKING_FRAME = "[CLS] $A [SEP]"


@dataclass(frozen=True)
class Size:
    """The numbers of a configuration, by transformers' names for them.

    vision: of the ViT. asking: of the Q-Former. language: of T5. queries: query tokens a view.
    most_tokens: of an instruction.
    """

    vision: dict[str, Any]
    asking: dict[str, Any]
    language: dict[str, Any]
    queries: int = 32
    most_tokens: int = 128
    mean: tuple[float, float, float] = field(default=CLIP_MEAN)
    std: tuple[float, float, float] = field(default=CLIP_STD)

    @property
    def preprocessing(self) -> Preprocessing:
        """How a film is prepared for it."""
        return Preprocessing(size=self.vision["image_size"], mean=self.mean, std=self.std)

    def config(self) -> InstructBlipConfig:
        """The configuration for transformers, with the special tokens of this module."""
        tokens = list(LANGUAGE_TOKENS)
        return InstructBlipConfig(
            # transformers' default, 1e-10, leaves an untrained eye blind.
            vision_config=InstructBlipVisionConfig(**self.vision, initializer_range=0.02).to_dict(),
            qformer_config=InstructBlipQFormerConfig(
                **self.asking, encoder_hidden_size=self.vision["hidden_size"]
            ).to_dict(),
            text_config=T5Config(
                **self.language,
                feed_forward_proj="gated-gelu",
                pad_token_id=tokens.index("pad_token"),
                eos_token_id=tokens.index("eos_token"),
                decoder_start_token_id=tokens.index("pad_token"),
                # T5 1.1, and so Flan: what the decoder gives is not scaled before the head.
                tie_word_embeddings=False,
            ).to_dict(),
            num_query_tokens=self.queries,
            image_token_index=tokens.index("image_token"),
            tie_word_embeddings=False,
        )


SIZES = {
    # Salesforce/instructblip-flan-t5-xl: FULL_PARAMETERS.
    "full": Size(
        vision={
            "hidden_size": 1408,
            "intermediate_size": 6144,
            "num_hidden_layers": 39,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
        },
        asking={
            "vocab_size": 30523,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        language={
            "vocab_size": 32128,
            "d_model": 2048,
            "d_kv": 64,
            "d_ff": 5120,
            "num_layers": 24,
            "num_heads": 32,
        },
    ),
    # A twelfth of it: fits a CPU. Operations stand to each other as in `full`: 4.8 to read a study
    # for 1 to write it.
    "mid": Size(
        vision={
            "hidden_size": 704,
            "intermediate_size": 3072,
            "num_hidden_layers": 11,
            "num_attention_heads": 8,
            "image_size": 224,
            "patch_size": 14,
        },
        asking={
            "vocab_size": 30523,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
        },
        language={
            "vocab_size": 32128,
            "d_model": 768,
            "d_kv": 64,
            "d_ff": 1920,
            "num_layers": 13,
            "num_heads": 12,
        },
    ),
    # For tests: every part is there, all of them small.
    "tiny": Size(
        vision={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
        },
        asking={
            "vocab_size": 300,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        language={
            "vocab_size": 300,
            "d_model": 64,
            "d_kv": 64,
            "d_ff": 160,
            "num_layers": 2,
            "num_heads": 2,
        },
    ),
}
FULL_PARAMETERS = 4_022_969_088


def config_of(name: str) -> InstructBlipConfig:
    """The configuration of a size in SIZES."""
    return SIZES[name].config()


def build_random(
    size: str | Size,
    *,
    seed: int = 0,
    activation_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> ClinicalBLIP:
    """A network of random weights, made where it will be: by seed and device the same ones.

    size: a name in SIZES, or a Size. activation_scale: T5's hidden states are this many times as
    large, by its embeddings, the projection, `o` and `wo`; every reader of them normalises them
    first, so what it computes is the same. At 2**15 what `wo` gives does not fit float16,
    as in trained T5, and all else does. dtype: as `kept_dtype`. Its words are single bytes.
    """
    chosen = SIZES[size] if isinstance(size, str) else size
    network = skeleton(chosen.config())
    places = Places(network)
    where = torch.device(device or "cpu")
    generator = torch.Generator(where).manual_seed(seed)
    for name, weight in list(network.named_parameters()):
        # Drawn in float32 and narrowed, so that networks of all number formats are the same one.
        drawn = torch.empty(weight.shape, dtype=torch.float32, device=where)
        mean, std = _spread(name, weight, activation_scale)
        drawn = drawn.normal_(mean, std, generator=generator) if std else drawn.fill_(mean)
        places.put(name, drawn.to(kept_dtype(network, name, dtype)))
    place_buffers(network, where)
    return ClinicalBLIP(
        network,
        byte_tokenizer(LANGUAGE_TOKENS, LANGUAGE_FRAME),
        byte_tokenizer(ASKING_TOKENS, ASKING_FRAME),
        chosen.preprocessing,
        chosen.most_tokens,
    ).eval()


def _spread(name: str, weight: torch.Tensor, scale: float) -> tuple[float, float]:
    """Mean and standard deviation that a weight is drawn with."""
    part, _, rest = name.partition(".")
    *_, layer, kind = name.split(".") if "." in name else ("", name)
    if "norm" in layer.lower():
        return (1.0, 0.0) if kind == "weight" else (0.0, 0.0)
    if name == "query_tokens":
        return 0.0, 0.5  # at zero, where transformers starts them, they are all alike
    if part == "language_projection":
        return 0.0, 0.25 * scale / sqrt(weight.shape[-1])
    if part != "language_model":
        return 0.0, 0.02
    if rest == "shared.weight":
        return 0.0, 0.25 * scale
    if rest == "lm_head.weight":
        return 0.0, 3.0 / sqrt(weight.shape[1])  # a spread of 3 between the logits of a step
    if layer == "q":
        # T5 does not divide by the root of a head's width: its queries are that much smaller.
        # Here not quite, so that a row looks at some places more than at others.
        return 0.0, 0.5 / sqrt(weight.shape[1])
    # Of what is added to the hidden states, `wo` gives the largest numbers, as in trained T5.
    share = {"o": 0.25 * scale, "wo": scale}.get(layer, 1.0)
    return 0.0, share / sqrt(weight.shape[1])


def byte_tokenizer(special: dict[str, str], frame: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes: every text has tokens and comes back, nothing is downloaded."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: number for number, token in enumerate([*special.values(), *alphabet])}
    return framed(Tokenizer(models.BPE(vocab=words, merges=[])), special, frame)


def framed(tokenizer: Tokenizer, special: dict[str, str], frame: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer as transformers wants it. frame: what a text `$A` stands between."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(name, tokenizer.token_to_id(name)) for name in special.values() if name in frame]
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        **special,
    )

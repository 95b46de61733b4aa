"""Networks of random weights in three sizes: that of the published model, and two that fit a CPU.

They serve tests and measurements without trained weights: the cost of a step does not depend on
what it writes.
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
from model.network.weights import ParameterTable, build_meta_network, create_buffers, weight_dtype

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
LANGUAGE_SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "image_token": "<image>",
}
QFORMER_SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}
"""Special tokens by transformers' names for them; the id of each is its position here."""
LANGUAGE_TEMPLATE = "$A </s>"
QFORMER_TEMPLATE = "[CLS] $A [SEP]"


@dataclass(frozen=True)
class Size:
    """The numbers of a configuration, by transformers' names for them.

    Attributes:
        vision: Of the ViT.
        qformer: Of the Q-Former.
        language: Of T5.
        queries: Query tokens a view.
        max_instruction_tokens: Longest instruction, in tokens.
        mean: Mean that pixels are normalised with, by channel.
        std: Standard deviation that pixels are normalised with, by channel.
    """

    vision: dict[str, Any]
    qformer: dict[str, Any]
    language: dict[str, Any]
    queries: int = 32
    max_instruction_tokens: int = 128
    mean: tuple[float, float, float] = field(default=CLIP_MEAN)
    std: tuple[float, float, float] = field(default=CLIP_STD)

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image is prepared for the network."""
        return Preprocessing(size=self.vision["image_size"], mean=self.mean, std=self.std)

    def config(self) -> InstructBlipConfig:
        """Return transformers' configuration, with the special tokens of this module."""
        tokens = list(LANGUAGE_SPECIAL_TOKENS)
        return InstructBlipConfig(
            # With transformers' default, 1e-10, an untrained vision encoder ignores the image.
            vision_config=InstructBlipVisionConfig(**self.vision, initializer_range=0.02).to_dict(),
            qformer_config=InstructBlipQFormerConfig(
                **self.qformer, encoder_hidden_size=self.vision["hidden_size"]
            ).to_dict(),
            text_config=T5Config(
                **self.language,
                feed_forward_proj="gated-gelu",
                pad_token_id=tokens.index("pad_token"),
                eos_token_id=tokens.index("eos_token"),
                decoder_start_token_id=tokens.index("pad_token"),
                # In T5 1.1, and so in Flan, decoder outputs are not scaled before the head.
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
        qformer={
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
    # A twelfth of it, which fits a CPU. The ratio of operations is that of `full`: 4.8 to encode a
    # study to 1 to write its draft.
    "mid": Size(
        vision={
            "hidden_size": 704,
            "intermediate_size": 3072,
            "num_hidden_layers": 11,
            "num_attention_heads": 8,
            "image_size": 224,
            "patch_size": 14,
        },
        qformer={
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
    # For tests: it has every part, each of them small.
    "tiny": Size(
        vision={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
        },
        qformer={
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
    """Return the configuration of a size in SIZES."""
    return SIZES[name].config()


def build_random(
    size: str | Size,
    *,
    seed: int = 0,
    activation_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> ClinicalBLIP:
    """Build a network of random weights, directly on its device.

    Args:
        size: A name in SIZES, or a Size.
        seed: Seed of the weights; the same seed gives the same weights on the same kind of device.
        activation_scale: How many times as large T5's hidden states are, by its embeddings, the
            projection, `o` and `wo`. Every layer that reads them normalises them first, so it
            computes the same. At 2**15 the output of `wo` does not fit float16, as in trained T5,
            and everything else does.
        dtype: The number format, as in `weight_dtype`.
        device: Where it is built; the CPU by default.

    Returns:
        The network, with tokenizers of single bytes.
    """
    size = SIZES[size] if isinstance(size, str) else size
    network = build_meta_network(size.config())
    parameters = ParameterTable(network)
    target = torch.device(device or "cpu")
    generator = torch.Generator(target).manual_seed(seed)
    for name, weight in list(network.named_parameters()):
        # Drawn in float32 and narrowed, so that networks of all number formats are the same one.
        values = torch.empty(weight.shape, dtype=torch.float32, device=target)
        mean, std = _mean_and_std(name, weight, activation_scale)
        values = values.normal_(mean, std, generator=generator) if std else values.fill_(mean)
        parameters.assign(name, values.to(weight_dtype(network, name, dtype)))
    create_buffers(network, target)
    return ClinicalBLIP(
        network,
        byte_tokenizer(LANGUAGE_SPECIAL_TOKENS, LANGUAGE_TEMPLATE),
        byte_tokenizer(QFORMER_SPECIAL_TOKENS, QFORMER_TEMPLATE),
        size.preprocessing,
        size.max_instruction_tokens,
    ).eval()


def _mean_and_std(name: str, weight: torch.Tensor, scale: float) -> tuple[float, float]:
    """Return the mean and the standard deviation of a random weight."""
    part, _, rest = name.partition(".")
    *_, layer, kind = name.split(".") if "." in name else ("", name)
    if "norm" in layer.lower():
        return (1.0, 0.0) if kind == "weight" else (0.0, 0.0)
    if name == "query_tokens":
        return 0.0, 0.5  # transformers starts them all at zero, so they would be equal
    if part == "language_projection":
        return 0.0, 0.25 * scale / sqrt(weight.shape[-1])
    if part != "language_model":
        return 0.0, 0.02
    if rest == "shared.weight":
        return 0.0, 0.25 * scale
    if rest == "lm_head.weight":
        return 0.0, 3.0 / sqrt(weight.shape[1])  # a spread of 3 between the logits of a step
    if layer == "q":
        # T5 does not divide by the root of a head's width, so its queries are that much smaller.
        # Here they are a little larger, so that attention prefers some positions.
        return 0.0, 0.5 / sqrt(weight.shape[1])
    # Of all layers that add to the hidden states, `wo` has the largest outputs, as in trained T5.
    share = {"o": 0.25 * scale, "wo": scale}.get(layer, 1.0)
    return 0.0, share / sqrt(weight.shape[1])


def byte_tokenizer(special: dict[str, str], template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes: it can encode every text, and nothing is downloaded."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special.values(), *alphabet])}
    return wrap_tokenizer(Tokenizer(models.BPE(vocab=vocabulary, merges=[])), special, template)


def wrap_tokenizer(
    tokenizer: Tokenizer, special: dict[str, str], template: str
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer for transformers.

    Args:
        tokenizer: The tokenizer with its vocabulary.
        special: Special tokens, by transformers' names for them.
        template: The special tokens around a text `$A`.
    """
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(name, tokenizer.token_to_id(name)) for name in special.values() if name in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        **special,
    )

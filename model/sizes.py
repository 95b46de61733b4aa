"""InstructBLIP in the sizes that are measured and tested, with random weights. Knows no files.

`full` is the published model (InstructBLIP with Flan-T5-XL). `mid` has its proportions at a twelfth
of its size, what one CPU core can draft with while somebody waits. `tiny` is for tests. Random
weights write no sense, and take the same time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    InstructBlipConfig,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from model.clinicalblip import ClinicalBLIP
from model.manifest import Preprocessing
from model.weights import HEAD, fill, skeleton

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the three channels, as EVA-CLIP was trained (Radford et al. 2021, CLIP's preprocessing)."""
MOST_TOKENS = 128
QUERIES = 32
FULL_PARAMETERS = 4_022_969_088


@dataclass(frozen=True)
class Eye:
    """A ViT over patches of 14."""

    pixels: int
    width: int
    mlp: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Former:
    """A Q-Former; every second layer looks at the film."""

    words: int
    width: int
    mlp: int
    layers: int
    heads: int


@dataclass(frozen=True)
class T5:
    """A T5 with gated GELU; as many layers in the encoder as in the decoder, heads of 64."""

    words: int
    width: int
    mlp: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Size:
    """One network's sizes."""

    eye: Eye
    former: Former
    t5: T5


SIZES = {
    "tiny": Size(Eye(56, 64, 128, 2, 4), Former(300, 64, 128, 2, 4), T5(300, 64, 160, 2, 2)),
    # A study's operations stand to each other as in `full`: 4.8 to read it for 1 to write it.
    "mid": Size(
        Eye(224, 704, 3072, 11, 8), Former(30_523, 384, 1536, 4, 6), T5(32_128, 768, 1920, 13, 12)
    ),
    "full": Size(
        Eye(224, 1408, 6144, 39, 16),
        Former(30_523, 768, 3072, 12, 12),
        T5(32_128, 2048, 5120, 24, 32),
    ),
}


def config_of(name: str) -> InstructBlipConfig:
    """The configuration of a size, T5's head apart."""
    size = SIZES[name]
    eye, former, t5 = size.eye, size.former, size.t5
    return InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(
            hidden_size=eye.width,
            intermediate_size=eye.mlp,
            num_hidden_layers=eye.layers,
            num_attention_heads=eye.heads,
            image_size=eye.pixels,
            patch_size=14,
        ).to_dict(),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=former.words,
            hidden_size=former.width,
            intermediate_size=former.mlp,
            num_hidden_layers=former.layers,
            num_attention_heads=former.heads,
            encoder_hidden_size=eye.width,
            cross_attention_frequency=2,
        ).to_dict(),
        text_config=T5Config(
            vocab_size=t5.words,
            d_model=t5.width,
            d_kv=64,
            d_ff=t5.mlp,
            num_layers=t5.layers,
            num_decoder_layers=t5.layers,
            num_heads=t5.heads,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
            eos_token_id=1,
            pad_token_id=0,
        ).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=3,
        tie_word_embeddings=False,
    )


def build_random(
    name: str,
    *,
    seed: int = 0,
    activation_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> ClinicalBLIP:
    """A network of that size with random weights, the same for the same seed and device.

    activation_scale: multiplies what T5's MLPs give. At 1 hidden values stay within tens; the
    trained Flan-T5 has values of tens of thousands, beyond float16.
    """
    device = device or torch.device("cpu")
    network = skeleton(config_of(name))
    chance = torch.Generator(device).manual_seed(seed)

    def tensor_of(key: str, parameter: nn.Parameter) -> torch.Tensor:
        spread, middle = _spread(key, parameter, activation_scale)
        value = torch.empty(parameter.shape, device=device)
        return value.normal_(middle, spread, generator=chance) if spread else value.fill_(middle)

    fill(network, device, dtype, tensor_of)
    size = SIZES[name]
    return ClinicalBLIP(
        network,
        _bytes_tokenizer(_LANGUAGE, "$A </s>"),
        _bytes_tokenizer(_ASKING, "[CLS] $A [SEP]"),
        Preprocessing(size.eye.pixels, CLIP_MEAN, CLIP_STD),
        MOST_TOKENS,
    ).eval()


def _spread(key: str, parameter: nn.Parameter, scale: float) -> tuple[float, float]:
    """Standard deviation and mean: as T5 begins (Raffel et al. 2020), others to keep variance."""
    if key == "query_tokens":
        # Zero would make all queries alike.
        return 0.5, 0.0
    if key.endswith("bias"):
        return 0.0, 0.0
    if parameter.ndim == 1:
        return 0.0, 1.0
    if "embed" in key or "shared" in key or "relative_attention" in key:
        return (1.0 if "language_model" in key else 0.02), 0.0
    spread = (parameter.numel() / parameter.shape[0]) ** -0.5
    if ".q.weight" in key:
        return spread / 64**0.5, 0.0  # T5 does not divide by the width of a head
    if key.endswith(".wo.weight"):
        return spread * scale, 0.0
    if key == HEAD:
        return 3.0 * spread, 0.0  # so that one word is likelier than the others
    return spread, 0.0


_LANGUAGE = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "image_token": "<image>",
}
_ASKING = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}


def _bytes_tokenizer(special: dict[str, str], frame: str) -> PreTrainedTokenizerFast:
    """A token for every byte: every text has tokens and comes back."""
    pieces = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(name, pieces.index(name)) for name in special.values() if name in frame]
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        **special,
    )

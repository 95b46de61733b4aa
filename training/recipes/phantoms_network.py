"""Builds the demonstration network before training: a small InstructBLIP and its tokenizers."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import InstructBlipForConditionalGeneration, PreTrainedTokenizerFast

from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import (
    LANGUAGE_SPECIAL_TOKENS,
    LANGUAGE_TEMPLATE,
    QFORMER_SPECIAL_TOKENS,
    QFORMER_TEMPLATE,
    Size,
    wrap_tokenizer,
)
from model.prompting.prompt import build_instruction
from training.corpus.phantoms import phantom

WIDTH = 128
VOCABULARY = 1024
PREPROCESSING = Preprocessing(size=112, mean=(0.35, 0.35, 0.35), std=(0.25, 0.25, 0.25))
MAX_INSTRUCTION_TOKENS = 160
TEMPLATE = "context"


def build_network(seed: int) -> ClinicalBLIP:
    """An untrained network of two to three million parameters; equal seeds give equal weights."""
    torch.manual_seed(seed)
    language, qformer_tokenizer = build_tokenizers()
    size = Size(
        vision={
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": PREPROCESSING.size,
            "patch_size": 14,
        },
        qformer={
            "vocab_size": len(qformer_tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "cross_attention_frequency": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        language={
            "vocab_size": len(language),
            "d_model": WIDTH,
            "d_kv": 32,
            "d_ff": 2 * WIDTH,
            "num_layers": 2,
            "num_heads": 4,
            "dropout_rate": 0.0,
        },
    )
    network = InstructBlipForConditionalGeneration(size.config())
    # transformers starts the query tokens at zero; being equal, they would stay equal for ever.
    torch.nn.init.normal_(network.query_tokens, std=0.5)
    # transformers 5 shares T5's head with its word embeddings, which start with a spread of 1:
    # the loss would start at 45 instead of 7.
    torch.nn.init.normal_(network.language_model.shared.weight, std=0.02)
    return ClinicalBLIP(network, language, qformer_tokenizer, PREPROCESSING, MAX_INSTRUCTION_TOKENS)


def build_tokenizers() -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """T5's tokenizer and the Q-Former's; byte-level, so every text can be encoded and decoded."""
    texts = []
    for seed in range(4000):
        study = phantom(seed)
        texts += [study.report, build_instruction(study.case(8), TEMPLATE)]
    return (
        _train(texts, LANGUAGE_SPECIAL_TOKENS, LANGUAGE_TEMPLATE),
        _train(texts, QFORMER_SPECIAL_TOKENS, QFORMER_TEMPLATE),
    )


def _train(texts: list[str], special: dict[str, str], frame: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*special.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrap_tokenizer(tokenizer, special, frame)

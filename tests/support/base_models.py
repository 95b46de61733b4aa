"""Base models as on the hub, and adapters as peft saves them, to make bundles from."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import InstructBlipForConditionalGeneration

from model.network.clinicalblip import ClinicalBLIP
from model.network.qkv import split_attention

LORA = {
    # The paper's two stages: the ViT's query and value; T5's query, value and MLP.
    "stage1": [r"vision_model\..*\.qkv\.(q|v)_proj"],
    "stage2": [r"language_model\..*\.(q|v|wi_0|wi_1|wo)"],
}


def base_folder(folder: Path, model: ClinicalBLIP) -> Path:
    """Write the model as transformers saves one, with tokenizers and image processor."""
    network = model.network
    network.save_pretrained(folder, state_dict=network.state_dict())
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    model.language_tokenizer.save_pretrained(folder)
    model.qformer_tokenizer.save_pretrained(folder / "qformer_tokenizer")
    processor = {
        "image_processor_type": "BlipImageProcessor",
        "image_mean": list(model.preprocessing.mean),
        "image_std": list(model.preprocessing.std),
        # The size of the image processor may differ from the network's, as it does here.
        "size": {"height": 384, "width": 384},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def adapter_folder(folder: Path, model: ClinicalBLIP, stage: str, *, seed: int = 0) -> Path:
    """Write an adapter of random weights. Do not use the model again: it is wrapped and split."""
    split_attention(model.network)
    torch.manual_seed(seed)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="|".join(LORA[stage]))
    wrapped = get_peft_model(model.network, settings)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    return folder


def unmerged(model: ClinicalBLIP, folder: Path) -> InstructBlipForConditionalGeneration:
    """Return the model with an unmerged adapter, which a merged one must equal."""
    from peft import PeftModel

    split_attention(model.network)
    return PeftModel.from_pretrained(model.network, folder).eval()


def put_full_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Put weights that were trained in full beside an adapter."""
    save_file(weights, folder / "whole.safetensors")

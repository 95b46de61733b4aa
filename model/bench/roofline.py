"""Operations and bytes of each part of a draft, and the time a device needs for them at least.

A part takes no less than its operations over the device's rate, and no less than the bytes it must
move over the device's bandwidth: the larger of the two is its bound. A product of (m, k) and (k, n)
is 2 m k n operations. Norms, softmax and activations are left out: they are under 1%. The rates of
the device are measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn
from transformers import InstructBlipConfig

from model.inference.packed import PackedLinear, has_onednn


@dataclass(frozen=True)
class Part:
    """One part of the work for one study.

    Attributes:
        name: For people.
        operations: Floating-point operations of one study.
        weights: Bytes of weights, read once a step or once a group.
        moved: Bytes of caches and inputs that each study reads and writes for itself.
        steps: How often the weights are read for one study.
    """

    name: str
    operations: float
    weights: float
    moved: float
    steps: float = 1.0

    def seconds(self, rates: Rates, concurrency: int) -> float:
        """The least seconds of one study when `concurrency` studies share the weights."""
        moved = self.moved + self.steps * self.weights / concurrency
        return max(self.operations / rates.operations, moved / rates.bytes)


@dataclass(frozen=True)
class Rates:
    """Operations and bytes a second that the device was measured to reach."""

    operations: float
    bytes: float


def parts_of(
    config: InstructBlipConfig,
    views: int,
    instruction_tokens: int,
    source_length: int,
    new_tokens: float,
    itemsize: int,
) -> list[Part]:
    """The parts of one study.

    Args:
        config: The network's shapes.
        views: Views of the study.
        instruction_tokens: Tokens of the instruction for the Q-Former.
        source_length: Positions of T5's encoder: views x queries + tokens of the instruction.
        new_tokens: Generated tokens.
        itemsize: Bytes of a weight.
    """
    vit, former, t5 = config.vision_config, config.qformer_config, config.text_config
    patches = (vit.image_size // vit.patch_size) ** 2
    positions = patches + 1
    width = vit.hidden_size
    # Embedding of patches; then each layer: q k v and out, two of the MLP, and attention.
    vit_weights = width * 3 * vit.patch_size**2
    vit_layer = 4 * width**2 + 2 * width * vit.intermediate_size
    vit_operations = 2 * patches * vit_weights + vit.num_hidden_layers * (
        2 * positions * vit_layer + 4 * positions**2 * width
    )
    vit_size = vit_weights + vit.num_hidden_layers * vit_layer

    queries = config.num_query_tokens
    row = queries + instruction_tokens
    hidden = former.hidden_size
    crosses = sum(
        n % former.cross_attention_frequency == 0 for n in range(former.num_hidden_layers)
    )
    mlp = 2 * hidden * former.intermediate_size
    # Queries and text have an MLP each; only queries attend to the image.
    former_operations = former.num_hidden_layers * (
        2 * row * (4 * hidden**2) + 4 * row**2 * hidden + 2 * row * mlp
    ) + crosses * (
        2 * queries * 2 * hidden**2
        + 2 * positions * 2 * hidden * former.encoder_hidden_size
        + 4 * queries * positions * hidden
    )
    former_size = former.num_hidden_layers * (4 * hidden**2 + 2 * mlp) + crosses * (
        2 * hidden**2 + 2 * hidden * former.encoder_hidden_size
    )
    project = hidden * t5.d_model

    inner = t5.num_heads * t5.d_kv
    matrices = 3 if t5.is_gated_act else 2
    attention = 4 * t5.d_model * inner
    feed = matrices * t5.d_model * t5.d_ff
    encoder_operations = t5.num_layers * (
        2 * source_length * (attention + feed) + 4 * source_length**2 * inner
    )
    layers = t5.num_decoder_layers
    cross = 2 * t5.d_model * inner
    # One token: self attention, query and out of cross attention, MLP, and both attentions.
    step = layers * (2 * (attention + attention - cross + feed))
    step_attention = layers * 4 * inner * (new_tokens / 2 + source_length)
    head = 2 * t5.d_model * t5.vocab_size
    wo = 4 if itemsize == 2 else itemsize  # float32 beside float16
    feed_bytes = (feed - t5.d_model * t5.d_ff) * itemsize + t5.d_model * t5.d_ff * wo
    step_weights = layers * ((attention + attention - cross) * itemsize + feed_bytes)
    cache = layers * 2 * inner * itemsize  # of one position
    return [
        Part("ViT", views * vit_operations, vit_size * itemsize, 0.0),
        Part(
            "Q-Former",
            views * (former_operations + 2 * queries * project),
            (former_size + project) * itemsize,
            0.0,
        ),
        Part(
            "T5 encoder",
            encoder_operations,
            t5.num_layers * (attention * itemsize + feed_bytes),
            0.0,
        ),
        Part(
            "cross keys and values",
            layers * 2 * source_length * cross,
            layers * cross * itemsize,
            0.0,
        ),
        Part(
            "T5 decoder",
            new_tokens * (step + step_attention),
            step_weights,
            new_tokens * cache * (new_tokens / 2 + source_length),
            new_tokens,
        ),
        Part("head", new_tokens * head, t5.d_model * t5.vocab_size * itemsize, 0.0, new_tokens),
    ]


def studies_bound(parts: list[Part], rates: Rates, concurrency: int) -> float:
    """Most studies a second with `concurrency` studies in the decoder at once."""
    return 1.0 / sum(part.seconds(rates, concurrency) for part in parts)


def operations_bound(parts: list[Part], rates: Rates) -> float:
    """Most studies a second if moving bytes took no time."""
    return rates.operations / sum(part.operations for part in parts)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure a large product in the given number format, and a large copy.

    On a CPU the faster of torch's two libraries counts, whichever of them a strategy uses. The
    copy counts the bytes read and the bytes written.
    """
    on_gpu = device.type == "cuda"
    side = 8192 if on_gpu else 1024
    left = torch.randn(side, side, device=device).to(dtype)
    right = torch.randn(side, side, device=device).to(dtype)
    product = _median_seconds(lambda: left @ right, device)
    if not on_gpu and dtype == torch.float32 and has_onednn():
        packed = PackedLinear(nn.Linear(side, side, bias=False).requires_grad_(False))
        product = min(product, _median_seconds(lambda: packed(left), device))
    size = (2**30 if on_gpu else 2**27) // dtype.itemsize
    source = torch.randn(size // 64, device=device).to(dtype).repeat(64)
    target = torch.empty_like(source)
    copy = _median_seconds(lambda: target.copy_(source), device)
    return Rates(2 * side**3 / product, 2 * source.numel() * dtype.itemsize / copy)


def _median_seconds(work: Callable[[], object], device: torch.device, runs: int = 9) -> float:
    """Median seconds of several runs, after two runs that warm up."""
    durations = []
    for run in range(runs + 2):
        _synchronize(device)
        started = time.perf_counter()
        work()
        _synchronize(device)
        if run >= 2:
            durations.append(time.perf_counter() - started)
    return median(durations)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Operations and bytes of each part of a draft, and the time a device needs for them at least.

A part takes no less than its operations over the device's rate, and no less than the bytes it must
move over the device's bandwidth: the larger of the two is its bound. A product of (m, k) and (k, n)
is 2 m k n operations. Norms, softmax and activations are left out: they are under 1%. Knows shapes
alone; the rates are measured in the same run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn
from transformers import InstructBlipConfig

from model.inference.packed import PackedLinear, has_onednn


@dataclass(frozen=True)
class Part:
    """One part of the work for one study.

    operations: of one study. weights: bytes of weights, read once a step or once a group. moved:
    bytes of caches and inputs that each study reads and writes for itself. steps: how often.
    """

    name: str
    operations: float
    weights: float
    moved: float
    steps: float = 1.0

    def seconds(self, rates: Rates, together: int) -> float:
        """At least, for one study, when so many run together and share the weights."""
        moved = self.moved + self.steps * self.weights / together
        return max(self.operations / rates.operations, moved / rates.bytes)


@dataclass(frozen=True)
class Rates:
    """What the device was measured to do in a second."""

    operations: float
    bytes: float


def parts_of(
    config: InstructBlipConfig,
    views: int,
    asked: int,
    read: int,
    written: float,
    itemsize: int,
) -> list[Part]:
    """The parts of one study.

    views: films. asked: tokens of the instruction in the Q-Former's pieces. read: positions of
    T5's encoder, views x queries + instruction. written: new tokens. itemsize: bytes of a weight.
    """
    eye, former, t5 = config.vision_config, config.qformer_config, config.text_config
    patches = (eye.image_size // eye.patch_size) ** 2
    seen = patches + 1
    wide = eye.hidden_size
    # Embedding of patches; then each layer: q k v and out, two of the MLP, and attention.
    eye_weights = wide * 3 * eye.patch_size**2
    eye_layer = 4 * wide**2 + 2 * wide * eye.intermediate_size
    eye_operations = 2 * patches * eye_weights + eye.num_hidden_layers * (
        2 * seen * eye_layer + 4 * seen**2 * wide
    )
    eye_size = eye_weights + eye.num_hidden_layers * eye_layer

    queries = config.num_query_tokens
    row = queries + asked
    hidden = former.hidden_size
    crosses = sum(
        n % former.cross_attention_frequency == 0 for n in range(former.num_hidden_layers)
    )
    mlp = 2 * hidden * former.intermediate_size
    # Queries and words have an MLP each; only queries look at the film.
    former_operations = former.num_hidden_layers * (
        2 * row * (4 * hidden**2) + 4 * row**2 * hidden + 2 * row * mlp
    ) + crosses * (
        2 * queries * 2 * hidden**2
        + 2 * seen * 2 * hidden * former.encoder_hidden_size
        + 4 * queries * seen * hidden
    )
    former_size = former.num_hidden_layers * (4 * hidden**2 + 2 * mlp) + crosses * (
        2 * hidden**2 + 2 * hidden * former.encoder_hidden_size
    )
    project = hidden * t5.d_model

    inner = t5.num_heads * t5.d_kv
    matrices = 3 if t5.is_gated_act else 2
    attention = 4 * t5.d_model * inner
    feed = matrices * t5.d_model * t5.d_ff
    encoder_operations = t5.num_layers * (2 * read * (attention + feed) + 4 * read**2 * inner)
    layers = t5.num_decoder_layers
    cross = 2 * t5.d_model * inner
    # One token: self attention, query and out of cross attention, MLP, and both attentions.
    step = layers * (2 * (attention + attention - cross + feed))
    step_attention = layers * 4 * inner * (written / 2 + read)
    head = 2 * t5.d_model * t5.vocab_size
    wo = 4 if itemsize == 2 else itemsize  # float32 beside float16
    feed_bytes = (feed - t5.d_model * t5.d_ff) * itemsize + t5.d_model * t5.d_ff * wo
    step_weights = layers * ((attention + attention - cross) * itemsize + feed_bytes)
    cache = layers * 2 * inner * itemsize  # of one position
    return [
        Part("ViT", views * eye_operations, eye_size * itemsize, 0.0),
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
        Part("cross keys and values", layers * 2 * read * cross, layers * cross * itemsize, 0.0),
        Part(
            "T5 decoder",
            written * (step + step_attention),
            step_weights,
            written * cache * (written / 2 + read),
            written,
        ),
        Part("head", written * head, t5.d_model * t5.vocab_size * itemsize, 0.0, written),
    ]


def bound(parts: list[Part], rates: Rates, together: int) -> float:
    """Studies a second at most, so many in the decoder at once."""
    return 1.0 / sum(part.seconds(rates, together) for part in parts)


def operations_bound(parts: list[Part], rates: Rates) -> float:
    """Studies a second at most, were bytes free."""
    return rates.operations / sum(part.operations for part in parts)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """A large product in the run's number format, and a large copy, bytes read and written.

    On a CPU the faster of torch's two libraries counts, whichever a way to draft goes through.
    """
    on_gpu = device.type == "cuda"
    side = 8192 if on_gpu else 1024
    left = torch.randn(side, side, device=device).to(dtype)
    right = torch.randn(side, side, device=device).to(dtype)
    product = _middle(lambda: left @ right, device)
    if not on_gpu and dtype == torch.float32 and has_onednn():
        packed = PackedLinear(nn.Linear(side, side, bias=False).requires_grad_(False))
        product = min(product, _middle(lambda: packed(left), device))
    size = (2**30 if on_gpu else 2**27) // dtype.itemsize
    source = torch.randn(size // 64, device=device).to(dtype).repeat(64)
    target = torch.empty_like(source)
    copy = _middle(lambda: target.copy_(source), device)
    return Rates(2 * side**3 / product, 2 * source.numel() * dtype.itemsize / copy)


def _middle(work: object, device: torch.device, runs: int = 9) -> float:
    """Median seconds of several runs after two that warm up."""
    taken = []
    for run in range(runs + 2):
        _wait(device)
        started = time.perf_counter()
        work()  # type: ignore[operator]
        _wait(device)
        if run >= 2:
            taken.append(time.perf_counter() - started)
    return median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

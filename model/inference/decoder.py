"""One step of T5's decoder for many rows at once, each at a place of its own in its own text.

Knows no cases, no tokens' choice and no end of text. The arithmetic is transformers' (T5Block), so
the logits are too; what differs is where keys and values lie: in caches made once, for every row
and position that there can be, so that a row ends and another begins without a copy of its mates.

Shapes: R rows (slots x beams), S slots, B beams of a slot, H heads, D width of a head, T positions
of a text, E positions of what was read (views and instruction), W width of the model, V vocabulary.
Rows of a slot lie together: row = slot x B + beam; beams of a slot share what was read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import T5ForConditionalGeneration

HALVES = (torch.float16, torch.bfloat16)
CLAMP = torch.finfo(torch.float16).max - 1000
"""Where transformers' T5Block holds float16 once a value has run over; here always, so that no row
depends on its mates."""

MANY = 65_536
"""Values from which on summing them as bags is worth the longer call."""

Matrix = Callable[[torch.Tensor], torch.Tensor]
"""(..., in) -> (..., out)."""


@dataclass(frozen=True)
class _Layer:
    """The weights of one decoder layer, those that read the same input in one matrix.

    What is fused are views of one tensor: transformers' own parameters stay, and stay the same.
    """

    norms: tuple[nn.Module, nn.Module, nn.Module]  # before self attention, cross attention, MLP
    self_in: Matrix  # W -> 3 x H x D: query, key, value
    self_out: Matrix
    cross_query: Matrix
    cross_in: Matrix  # W -> 2 x H x D: key, value
    cross_out: Matrix
    mlp_in: Matrix  # W -> F, or 2 x F where the MLP is gated
    mlp_out: Matrix
    mlp_out_dtype: torch.dtype  # float32 beside float16: what it gives would overflow
    act: Callable[[torch.Tensor], torch.Tensor]
    gated: bool


class Caches:
    """Keys and values of all slots, zero at first; memory is taken here and nowhere else."""

    def __init__(
        self, shape: Shape, slots: int, beams: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        def pair(rows: int, positions: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
            size = (rows, shape.heads, positions, shape.width)
            return [
                (
                    torch.zeros(size, dtype=dtype, device=device),
                    torch.zeros(size, dtype=dtype, device=device),
                )
                for _ in range(shape.layers)
            ]

        self.told = pair(slots * beams, shape.tokens)  # (R, H, T, D) of the text so far
        self.read = pair(slots, shape.words)  # (S, H, E, D) of what was read
        self.hidden = torch.zeros((slots, 1, 1, shape.words), dtype=dtype, device=device)
        """(S, 1, 1, E): 0 where something was read, the least number where there is padding."""


@dataclass(frozen=True)
class Shape:
    """Sizes that the caches depend on. tokens: T; words: E; width: D."""

    layers: int
    heads: int
    width: int
    tokens: int
    words: int

    def bytes_a_slot(self, beams: int, itemsize: int) -> int:
        """What one slot takes of the caches, in bytes."""
        positions = beams * self.tokens + self.words
        return 2 * self.layers * self.heads * self.width * positions * itemsize


class Decoder:
    """T5's decoder over caches. slots x beams rows, of which any first few may be run."""

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        slots: int,
        beams: int,
        tokens: int,
        words: int,
    ) -> None:
        config = t5.config
        self._stack = t5.decoder
        self._head = _matrix(t5.lm_head)
        self._scale = config.d_model**-0.5 if config.scale_decoder_outputs else None
        first = self._stack.block[0].layer[0].SelfAttention
        self.dtype: torch.dtype = t5.shared.weight.dtype
        self.device: torch.device = t5.shared.weight.device
        self.beams = beams
        self.shape = Shape(len(self._stack.block), config.num_heads, config.d_kv, tokens, words)
        self._layers = [_fused(block) for block in self._stack.block]
        # (T, H): the bias of a key so many positions back; the same in every layer.
        bias = first.compute_bias(tokens, tokens)[0, :, -1]  # (H, T), the last query's
        self._bias = bias.flip(-1).t().contiguous()
        self._places = torch.arange(tokens, device=self.device)
        self._caches = Caches(self.shape, slots, beams, self.dtype, self.device)
        self._norm = _norm if self.dtype in HALVES else _norm_as_transformers
        self._attend = _attend_fused if self.device.type == "cuda" else _attend_by_products

    def bytes_a_slot(self) -> int:
        """What one slot takes of the caches, in bytes."""
        return self.shape.bytes_a_slot(self.beams, self.dtype.itemsize)

    def read(self, slots: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor) -> None:
        """Put what the encoder gave for some studies into their slots.

        slots: (N,) indices. hidden: (N, L, W) of T5's encoder, L at most E. mask: (N, L), 1 where
        it counts. Keys and values of cross attention are worked out here, once a study.
        """
        count, length, _ = hidden.shape
        heads, width = self.shape.heads, self.shape.width
        for layer, (keys, values) in zip(self._layers, self._caches.read, strict=True):
            both = layer.cross_in(hidden).view(count, length, 2, heads, width)
            both = both.permute(2, 0, 3, 1, 4)  # (2, N, H, L, D)
            keys[slots, :, :length] = both[0]
            values[slots, :, :length] = both[1]
        least = torch.finfo(self.dtype).min
        padding = torch.full((count, self.shape.words), least, dtype=self.dtype, device=self.device)
        padding[:, :length].masked_fill_(mask.bool(), 0.0)
        self._caches.hidden[slots] = padding[:, None, None]

    def wipe(self, slots: Sequence[int]) -> None:
        """Forget all of these slots: a value that is no number would outlive its study."""
        for slot in slots:
            rows = slice(slot * self.beams, (slot + 1) * self.beams)
            for told, read in zip(self._caches.told, self._caches.read, strict=True):
                for tensor in told:
                    tensor[rows].zero_()
                for tensor in read:
                    tensor[slot].zero_()

    def move(self, source: int, target: int, tokens: int, words: int) -> None:
        """Copy one slot to another: its first `tokens` and `words` positions."""
        rows = slice(source * self.beams, (source + 1) * self.beams)
        to = slice(target * self.beams, (target + 1) * self.beams)
        for told, read in zip(self._caches.told, self._caches.read, strict=True):
            for tensor in told:
                tensor[to, :, :tokens] = tensor[rows, :, :tokens]
            for tensor in read:
                tensor[target, :, :words] = tensor[source, :, :words]
        self._caches.hidden[target] = self._caches.hidden[source]

    def reorder(self, rows: torch.Tensor, tokens: int) -> None:
        """Row i goes on from what row rows[i] has told, in its first `tokens` positions.

        rows: (n x B,), each within its own slot.
        """
        count = len(rows)
        for pair in self._caches.told:
            for tensor in pair:
                told = tensor[:count, :, :tokens]
                told.copy_(told.index_select(0, rows))

    def step(
        self, last: torch.Tensor, places: torch.Tensor, tokens: int, words: int
    ) -> torch.Tensor:
        """The logits of the next token of the first rows.

        last: (R,) the token told last. places: (R,) the position it stands at. tokens, words: how
        many positions of the caches are looked at: more than any place, and all that was read.

        Returns:
            (R, V).
        """
        rows, heads, width = len(last), self.shape.heads, self.shape.width
        slots = rows // self.beams
        every = torch.arange(rows, device=self.device)
        bias = self._told_bias(places, tokens)
        padding = self._caches.hidden[:slots, :, :, :words]
        x = self._stack.embed_tokens(last)  # (R, W)
        for layer, (keys, values), (read_keys, read_values) in zip(
            self._layers, self._caches.told, self._caches.read, strict=True
        ):
            before_self, before_cross, before_mlp = layer.norms
            qkv = layer.self_in(self._norm(before_self, x)).view(rows, 3, heads, 1, width)
            keys[every, :, places] = qkv[:, 1, :, 0]
            values[every, :, places] = qkv[:, 2, :, 0]
            told = self._attend(
                qkv[:, 0], keys[:rows, :, :tokens], values[:rows, :, :tokens], bias
            )  # (R, H, 1, D)
            x = _clamped(x + layer.self_out(told.reshape(rows, heads * width)))

            query = layer.cross_query(self._norm(before_cross, x))
            query = query.view(slots, self.beams, heads, width).transpose(1, 2)  # (S, H, B, D)
            read = self._attend(
                query, read_keys[:slots, :, :words], read_values[:slots, :, :words], padding
            )
            read = read.transpose(1, 2).reshape(rows, heads * width)
            x = _clamped(x + layer.cross_out(read))

            inner = layer.mlp_in(self._norm(before_mlp, x))
            if layer.gated:
                gate, linear = inner.chunk(2, dim=-1)
                inner = layer.act(gate) * linear
            else:
                inner = layer.act(inner)
            if layer.mlp_out_dtype.is_floating_point:
                inner = inner.to(layer.mlp_out_dtype)
            x = _clamped(x + layer.mlp_out(inner))
        x = self._norm(self._stack.final_layer_norm, x)
        if self._scale is not None:
            x = x * self._scale
        return self._head(x)

    def _told_bias(self, places: torch.Tensor, tokens: int) -> torch.Tensor:
        """(R, H, 1, T): T5's bias by distance, the least number where nothing was told yet."""
        back = places[:, None] - self._places[None, :tokens]  # (R, T)
        bias = self._bias[back.clamp(min=0)]  # (R, T, H)
        bias = bias.masked_fill((back < 0)[:, :, None], torch.finfo(self.dtype).min)
        placed: torch.Tensor = bias.transpose(1, 2).unsqueeze(2).contiguous()
        return placed


def _fused(block: Any) -> _Layer:
    of_self, of_cross, of_mlp = block.layer
    told, read, mlp = of_self.SelfAttention, of_cross.EncDecAttention, of_mlp.DenseReluDense
    gated = hasattr(mlp, "wi_0")
    return _Layer(
        norms=(of_self.layer_norm, of_cross.layer_norm, of_mlp.layer_norm),
        self_in=_matrix(told.q, told.k, told.v),
        self_out=_matrix(told.o),
        cross_query=_matrix(read.q),
        cross_in=_matrix(read.k, read.v),
        cross_out=_matrix(read.o),
        mlp_in=_matrix(mlp.wi_0, mlp.wi_1) if gated else _matrix(mlp.wi),
        mlp_out=_matrix(mlp.wo),
        mlp_out_dtype=mlp.wo.weight.dtype,
        act=mlp.act,
        gated=gated,
    )


def _matrix(*parts: nn.Module) -> Matrix:
    """Linear layers that read the same input, as one: fused, or packed or rounded each."""
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    if len(linears) == len(parts):
        weight = fuse(linears)
        return lambda x: functional.linear(x, weight)
    if len(parts) == 1:
        return parts[0]
    return lambda x: torch.cat([part(x) for part in parts], dim=-1)


def fuse(parts: Sequence[nn.Linear]) -> torch.Tensor:
    """The weights of linears without bias, one under the other: (sum of out, in).

    They become views of the one tensor, so nothing is held twice; done again it gives the same.
    """
    weights = [part.weight.detach() for part in parts]
    if len(weights) == 1:
        return weights[0]
    at, storage = weights[0].storage_offset(), weights[0].untyped_storage().data_ptr()
    for weight in weights:
        beside = weight.storage_offset() == at and weight.is_contiguous()
        if weight.untyped_storage().data_ptr() != storage or not beside:
            break
        at += weight.numel()
    else:
        size, stride = (sum(map(len, weights)), weights[0].shape[1]), weights[0].stride()
        return weights[0].as_strided(size, stride)
    joined = torch.cat(weights)
    for part, view in zip(parts, torch.split(joined, [len(w) for w in weights]), strict=True):
        part.weight.data = view
    return joined


def _clamped(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-CLAMP, CLAMP) if x.dtype == torch.float16 else x


def _attend_fused(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Attention without a scale, as T5 has it; one kernel."""
    return functional.scaled_dot_product_attention(query, keys, values, bias, scale=1.0)


def _attend_by_products(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """The same in two products: a CPU reads its caches two to three times as fast."""
    # Keys first: from a slice of a cache that is half as fast again as the query first.
    scores = torch.matmul(keys, query.transpose(2, 3)).transpose(2, 3) + bias
    weights = functional.softmax(scores, dim=-1, dtype=_softmax_dtype(scores)).to(values.dtype)
    if query.shape[2] == 1 and values.dtype == torch.float32 and values.numel() >= MANY:
        return _weighted_sum(weights, values)
    return torch.matmul(weights, values)


def _weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(R, H, 1, T) by (R, H, T, D), a slice of a cache: (R, H, 1, D), as fast as memory is read.

    For one query this is no product of matrices but a sum of rows, and torch has a kernel for
    that: the bag of embeddings, each with its weight.
    """
    rows, heads, positions, width = values.shape
    stride = values.stride(1) // width  # positions that the cache has
    table = values.as_strided((rows * heads * stride, width), (width, 1))
    places, starts = _bags(rows * heads, stride, positions)
    summed = torch.embedding_bag(
        table, places, starts, mode=0, per_sample_weights=weights.reshape(-1)
    )[0]
    return summed.view(rows, heads, 1, width)


@functools.lru_cache(maxsize=4)
def _bags(bags: int, stride: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows are in each bag, one bag after another, and where each begins."""
    first = stride * torch.arange(bags)
    places = first[:, None] + torch.arange(positions)
    return places.reshape(-1), positions * torch.arange(bags)


def _softmax_dtype(scores: torch.Tensor) -> torch.dtype:
    return torch.float32 if scores.dtype in HALVES else scores.dtype


def _norm_as_transformers(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = norm(x)
    return normed


def _norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """T5LayerNorm over half precision: one kernel for the sum of squares, in float32."""
    weight = norm.weight
    if not isinstance(weight, torch.Tensor):
        raise TypeError("a norm without weight")
    scaled = functional.rms_norm(x.float(), [x.shape[-1]], None, float(norm.variance_epsilon))  # type: ignore[arg-type]
    normed: torch.Tensor = weight * scaled.to(weight.dtype)
    return normed

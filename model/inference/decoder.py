"""One step of T5's decoder for many rows at once, each at its own position in its own text.

The arithmetic is that of transformers' T5Block, and so are the logits. What differs is where keys
and values lie: in caches that are allocated once, for every row and position that there can be, so
that one text can end and another begin without a copy of the rest of the batch.

Shapes: R rows (slots x beams), S slots, B beams of a slot, H heads, D width of a head, T positions
of a text, E positions that the encoder read (views and instruction), W width of the model, V
vocabulary. Rows of a slot lie together: row = slot x B + beam. Beams of a slot share the keys and
values of cross attention.
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

from model.inference.step_graphs import aligned

HALF_DTYPES = (torch.float16, torch.bfloat16)
FLOAT16_CLAMP = torch.finfo(torch.float16).max - 1000
"""Where transformers' T5Block clamps float16 once a value of the batch has overflowed. Here it is
always clamped, so that no row depends on the others of its batch."""

MIN_BAG_VALUES = 65_536
"""From this many values on, summing them as embedding bags is worth the longer call."""

Matrix = Callable[[torch.Tensor], torch.Tensor]
"""A linear map (..., in) -> (..., out)."""


@dataclass(frozen=True)
class _Layer:
    """The weights of one decoder layer; those that read the same input are one matrix.

    Transformers' own parameters become views of the fused matrices and keep their values.
    """

    norms: tuple[nn.Module, nn.Module, nn.Module]  # before self attention, cross attention, MLP
    self_in: Matrix  # W -> 3 x H x D: query, key, value
    self_out: Matrix
    cross_query: Matrix
    cross_in: Matrix  # W -> 2 x H x D: key, value
    cross_out: Matrix
    mlp_in: Matrix  # W -> F, or 2 x F where the MLP is gated
    mlp_out: Matrix
    mlp_out_dtype: torch.dtype  # float32 beside float16, where its output would overflow
    act: Callable[[torch.Tensor], torch.Tensor]
    gated: bool


class KVCaches:
    """Keys and values of all slots, zero at first. All memory of the caches is allocated here."""

    def __init__(
        self, shape: CacheShape, slots: int, beams: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        def pairs(rows: int, positions: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
            size = (rows, shape.heads, positions, shape.head_width)
            return [
                (
                    torch.zeros(size, dtype=dtype, device=device),
                    torch.zeros(size, dtype=dtype, device=device),
                )
                for _ in range(shape.layers)
            ]

        self.self_attention = pairs(slots * beams, shape.target_length)  # (R, H, T, D)
        self.cross_attention = pairs(slots, shape.source_length)  # (S, H, E, D)
        rows = torch.zeros((slots, 1, 1, aligned(shape.source_length)), dtype=dtype, device=device)
        self.cross_bias = rows[..., : shape.source_length]
        """(S, 1, 1, E): 0 where the encoder read something, the least number at padding."""


@dataclass(frozen=True)
class CacheShape:
    """Sizes that the caches depend on.

    Attributes:
        layers: Layers of the decoder.
        heads: H.
        head_width: D.
        target_length: T.
        source_length: E.
    """

    layers: int
    heads: int
    head_width: int
    target_length: int
    source_length: int

    def bytes_per_slot(self, beams: int, itemsize: int) -> int:
        """Bytes of the caches that one slot takes."""
        positions = beams * self.target_length + self.source_length
        return 2 * self.layers * self.heads * self.head_width * positions * itemsize


class Decoder:
    """T5's decoder over caches of slots x beams rows; any number of the first rows can be run."""

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        slots: int,
        beams: int,
        target_length: int,
        source_length: int,
    ) -> None:
        config = t5.config
        self._stack = t5.decoder
        self._head = _matrix(t5.lm_head)
        self._scale = config.d_model**-0.5 if config.scale_decoder_outputs else None
        first = self._stack.block[0].layer[0].SelfAttention
        self.dtype: torch.dtype = t5.shared.weight.dtype
        self.device: torch.device = t5.shared.weight.device
        self.beams = beams
        self.shape = CacheShape(
            len(self._stack.block), config.num_heads, config.d_kv, target_length, source_length
        )
        self._layers = [_fused(block) for block in self._stack.block]
        # (T, H): the bias of a key that lies so many positions back; the same in every layer.
        bias = first.compute_bias(target_length, target_length)[0, :, -1]  # (H, T), last query
        self._bias = bias.flip(-1).t().contiguous()
        self._positions = torch.arange(aligned(target_length), device=self.device)
        self._caches = KVCaches(self.shape, slots, beams, self.dtype, self.device)
        self._norm = _norm if self.dtype in HALF_DTYPES else _norm_of_transformers
        self._attend = _attend_fused if self.device.type == "cuda" else _attend_by_products

    def fill(self, slots: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor) -> None:
        """Fill the cross attention of some slots from the encoder's output, once for each study.

        All else in the slots becomes zero. A value that is not a number would outlive its study: a
        step reads positions that the study has not reached, and zero times such a value is one.

        Args:
            slots: (N,) indices.
            hidden: (N, L, W) output of T5's encoder, L at most E.
            mask: (N, L), 1 where a position counts.
        """
        count, length, _ = hidden.shape
        heads, width = self.shape.heads, self.shape.head_width
        rows = (
            slots[:, None] * self.beams + torch.arange(self.beams, device=self.device)
        ).flatten()
        for pair in self._caches.self_attention:
            for tensor in pair:
                tensor.index_fill_(0, rows, 0.0)
        for layer, (keys, values) in zip(self._layers, self._caches.cross_attention, strict=True):
            keys_values = layer.cross_in(hidden).view(count, length, 2, heads, width)
            keys_values = keys_values.permute(2, 0, 3, 1, 4)  # (2, N, H, L, D)
            for tensor, filled in zip((keys, values), keys_values, strict=True):
                tensor.index_fill_(0, slots, 0.0)
                tensor[slots, :, :length] = filled
        minimum = torch.finfo(self.dtype).min
        size = (count, self.shape.source_length)
        bias = torch.full(size, minimum, dtype=self.dtype, device=self.device)
        bias[:, :length].masked_fill_(mask.bool(), 0.0)
        self._caches.cross_bias[slots] = bias[:, None, None]

    def copy_slot(self, source: int, target: int) -> None:
        """Copy one slot to another, whole: nothing of the target's last study is left."""
        rows = slice(source * self.beams, (source + 1) * self.beams)
        to = slice(target * self.beams, (target + 1) * self.beams)
        for own, cross in zip(
            self._caches.self_attention, self._caches.cross_attention, strict=True
        ):
            for tensor in own:
                tensor[to] = tensor[rows]
            for tensor in cross:
                tensor[target] = tensor[source]
        self._caches.cross_bias[target] = self._caches.cross_bias[source]

    def reorder(self, rows: torch.Tensor, tokens: int) -> None:
        """Let row i continue the text of row rows[i].

        Args:
            rows: (n x B,) indices, each within its own slot.
            tokens: How many positions of the texts are in use.
        """
        count = len(rows)
        for pair in self._caches.self_attention:
            for tensor in pair:
                used = tensor[:count, :, :tokens]
                used.copy_(used.index_select(0, rows))

    def step(
        self, last: torch.Tensor, positions: torch.Tensor, tokens: int, length: int
    ) -> torch.Tensor:
        """The logits of the next token of the first rows.

        Args:
            last: (R,) the last token of each row.
            positions: (R,) the position of that token.
            tokens: How many positions of the texts are read; more than any of `positions`.
            length: How many positions of cross attention are read; at least the longest in use.

        Returns:
            (R, V).
        """
        rows, heads, width = len(last), self.shape.heads, self.shape.head_width
        slots = rows // self.beams
        row_indices = torch.arange(rows, device=self.device)
        bias = self._self_bias(positions, tokens)
        cross_bias = self._caches.cross_bias[:slots, :, :, :length]
        x = self._stack.embed_tokens(last)  # (R, W)
        for layer, (keys, values), (cross_keys, cross_values) in zip(
            self._layers, self._caches.self_attention, self._caches.cross_attention, strict=True
        ):
            before_self, before_cross, before_mlp = layer.norms
            qkv = layer.self_in(self._norm(before_self, x)).view(rows, 3, heads, 1, width)
            keys[row_indices, :, positions] = qkv[:, 1, :, 0]
            values[row_indices, :, positions] = qkv[:, 2, :, 0]
            own = self._attend(
                qkv[:, 0], keys[:rows, :, :tokens], values[:rows, :, :tokens], bias
            )  # (R, H, 1, D)
            x = _clamped(x + layer.self_out(own.reshape(rows, heads * width)))

            query = layer.cross_query(self._norm(before_cross, x))
            query = query.view(slots, self.beams, heads, width).transpose(1, 2)  # (S, H, B, D)
            cross = self._attend(
                query, cross_keys[:slots, :, :length], cross_values[:slots, :, :length], cross_bias
            )
            cross = cross.transpose(1, 2).reshape(rows, heads * width)
            x = _clamped(x + layer.cross_out(cross))

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

    def _self_bias(self, positions: torch.Tensor, tokens: int) -> torch.Tensor:
        """(R, H, 1, T): T5's bias by distance, the least number where there is no token yet.

        Its rows are longer than T, where T is not aligned: attention on a GPU would otherwise copy
        it to such rows in every layer.
        """
        distances = positions[:, None] - self._positions[None, : aligned(tokens)]  # (R, T)
        bias = self._bias[distances.clamp(min=0)]  # (R, T, H)
        bias = bias.masked_fill((distances < 0)[:, :, None], torch.finfo(self.dtype).min)
        arranged: torch.Tensor = bias.transpose(1, 2).unsqueeze(2).contiguous()
        return arranged[..., :tokens]


def _fused(block: Any) -> _Layer:
    of_self, of_cross, of_mlp = block.layer
    own, cross, mlp = of_self.SelfAttention, of_cross.EncDecAttention, of_mlp.DenseReluDense
    gated = hasattr(mlp, "wi_0")
    return _Layer(
        norms=(of_self.layer_norm, of_cross.layer_norm, of_mlp.layer_norm),
        self_in=_matrix(own.q, own.k, own.v),
        self_out=_matrix(own.o),
        cross_query=_matrix(cross.q),
        cross_in=_matrix(cross.k, cross.v),
        cross_out=_matrix(cross.o),
        mlp_in=_matrix(mlp.wi_0, mlp.wi_1) if gated else _matrix(mlp.wi),
        mlp_out=_matrix(mlp.wo),
        mlp_out_dtype=mlp.wo.weight.dtype,
        act=mlp.act,
        gated=gated,
    )


def _matrix(*parts: nn.Module) -> Matrix:
    """Linear layers that read the same input, as one; packed or quantized layers stay apart."""
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    if len(linears) == len(parts):
        weight = fuse(linears)
        return lambda x: functional.linear(x, weight)
    if len(parts) == 1:
        return parts[0]
    return lambda x: torch.cat([part(x) for part in parts], dim=-1)


def fuse(parts: Sequence[nn.Linear]) -> torch.Tensor:
    """The weights of linear layers without bias, one below the other.

    The layers' own weights become views of the one tensor, so that nothing is held twice. A second
    call returns the same tensor.

    Returns:
        (sum of out, in).
    """
    weights = [part.weight.detach() for part in parts]
    if len(weights) == 1:
        return weights[0]
    at, storage = weights[0].storage_offset(), weights[0].untyped_storage().data_ptr()
    for weight in weights:
        adjacent = weight.storage_offset() == at and weight.is_contiguous()
        if weight.untyped_storage().data_ptr() != storage or not adjacent:
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
    return x.clamp(-FLOAT16_CLAMP, FLOAT16_CLAMP) if x.dtype == torch.float16 else x


def _attend_fused(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Attention in one kernel; without a scale, as in T5."""
    return functional.scaled_dot_product_attention(query, keys, values, bias, scale=1.0)


def _attend_by_products(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Attention in two products, which on a CPU reads the caches two to three times as fast."""
    # On a slice of a cache, keys times query is half as fast again as query times keys.
    scores = torch.matmul(keys, query.transpose(2, 3)).transpose(2, 3) + bias
    weights = functional.softmax(scores, dim=-1, dtype=_softmax_dtype(scores)).to(values.dtype)
    if query.shape[2] == 1 and values.dtype == torch.float32 and values.numel() >= MIN_BAG_VALUES:
        return weighted_sum(weights, values)
    return torch.matmul(weights, values)


def weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The sum of values over positions, as fast as memory can be read.

    For one query this is a sum of rows rather than a product of matrices, and torch has a kernel
    for that: the embedding bag with a weight for each row.

    Args:
        weights: (R, H, 1, T).
        values: (R, H, T, D), a slice of a cache.

    Returns:
        (R, H, 1, D).
    """
    rows, heads, positions, width = values.shape
    stride = values.stride(1) // width  # positions that the cache has
    table = values.as_strided((rows * heads * stride, width), (width, 1))
    indices, offsets = _bags(rows * heads, stride, positions)
    summed = torch.embedding_bag(
        table, indices, offsets, mode=0, per_sample_weights=weights.reshape(-1)
    )[0]
    return summed.view(rows, heads, 1, width)


@functools.lru_cache(maxsize=4)
def _bags(bags: int, stride: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows in each bag, one bag after another, and the offset where each bag begins."""
    first = stride * torch.arange(bags)
    indices = first[:, None] + torch.arange(positions)
    return indices.reshape(-1), positions * torch.arange(bags)


def _softmax_dtype(scores: torch.Tensor) -> torch.dtype:
    return torch.float32 if scores.dtype in HALF_DTYPES else scores.dtype


def _norm_of_transformers(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
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

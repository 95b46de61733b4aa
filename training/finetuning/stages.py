"""What trains, how and at which rate, as data: the paper's two stages and what it leaves out.

A stage is a table of groups; a parameter that no group names stands still. Names are those of the
network with the ViT's query, key and value apart (model.network.qkv), so that the key can stand still
while the other two learn. Where the paper is silent the number is our reading (docs/train/training.md).
Knows no loop, no corpus and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Method(StrEnum):
    """How a group's parameters train."""

    LORA = "LoRA"  # two thin matrices beside a layer that stands still
    WHOLE = "whole"  # the parameter itself


@dataclass(frozen=True)
class ParameterGroup:
    """One row of the table.

    names: a regular expression; of layers for LoRA, of parameters for whole ones, matched whole.
    rate: AdamW's learning rate at its height. decay: AdamW's weight decay.
    """

    name: str
    names: str
    how: Method
    rate: float
    decay: float


@dataclass(frozen=True)
class Lora:
    """rank, alpha: what a layer's adapter adds is scaled by alpha/rank. dropout: before it."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    groups: what trains. priors: whether they stand in the prompt; without, it is the fixed
    instruction alone. objective: "report" (the language model's loss on the report), "signs" (what
    each film shows, told from the ViT's patches), or "report and signs" (the same, told from the
    queries, beside the report).
    """

    name: str
    groups: tuple[ParameterGroup, ...]
    priors: bool
    objective: str = "report"
    lora: Lora = Lora()

    def with_rates(self, lora: float | None, whole: float | None) -> Stage:
        """The same stage with other rates; None leaves them."""
        new = {Method.LORA: lora, Method.WHOLE: whole}
        rates = ((group, new[group.how]) for group in self.groups)
        return replace(
            self, groups=tuple(g if rate is None else replace(g, rate=rate) for g, rate in rates)
        )


LORA_RATE = 5e-4
WHOLE_RATE = 1e-4
"""The paper's ("Experimental Settings"): of LoRA, and of the Q-Former's own parameters."""
DECAY = 0.05
"""Our reading; the paper names no optimizer. Norms, biases and query tokens do not decay."""

_VIT = r"vision_model\.encoder\.layers\.\d+"
_T5 = r"language_model\.(encoder|decoder)\.block\.\d+\.layer\.\d+"
_NORM_OR_BIAS = r"(.*[Ll]ayer_?[Nn]orm.*|.*\.bias)"

VIT_LORA = ParameterGroup(
    "ViT, query and value", rf"{_VIT}\.self_attn\.qkv\.(q|v)_proj", Method.LORA, LORA_RATE, DECAY
)
VIT_NORMS = ParameterGroup(
    "ViT, layer norms",
    rf"({_VIT}\.layer_norm[12]|vision_model\.post_layernorm)\.(weight|bias)",
    Method.WHOLE,
    WHOLE_RATE,
    0.0,
)
T5_ATTENTION = ParameterGroup(
    "T5, query and value", rf"{_T5}\.(Self|EncDec)Attention\.(q|v)", Method.LORA, LORA_RATE, DECAY
)
T5_MLP = ParameterGroup(
    "T5, MLP", rf"{_T5}\.DenseReluDense\.(wi_0|wi_1|wo)", Method.LORA, LORA_RATE, DECAY
)
QFORMER = ParameterGroup(
    "Q-Former", rf"qformer\.(?!{_NORM_OR_BIAS}$).*", Method.WHOLE, WHOLE_RATE, DECAY
)
QFORMER_NORMS = ParameterGroup(
    "Q-Former, norms and biases", rf"qformer\.{_NORM_OR_BIAS}", Method.WHOLE, WHOLE_RATE, 0.0
)
QUERIES = ParameterGroup("query tokens", r"query_tokens", Method.WHOLE, WHOLE_RATE, 0.0)
PROJECTION = ParameterGroup(
    "projection", r"language_projection\.weight", Method.WHOLE, WHOLE_RATE, DECAY
)
PROJECTION_BIAS = ParameterGroup(
    "projection, bias", r"language_projection\.bias", Method.WHOLE, WHOLE_RATE, 0.0
)
_BRIDGE = (QFORMER, QFORMER_NORMS, QUERIES, PROJECTION, PROJECTION_BIAS)

STAGE1 = Stage("stage1", (VIT_LORA, VIT_NORMS), priors=False)
"""The visual encoder; the objective is the language model's generation loss."""
STAGE2 = Stage("stage2", (T5_ATTENTION, T5_MLP, *_BRIDGE), priors=True)
"""Image and text together, on the visual encoder that stage 1 leaves, which stands still."""

# ---- Table 3 of the paper: what each row leaves out ----

WITHOUT_PRIORS = replace(STAGE2, name="stage2-without-priors", priors=False)
WITHOUT_T5 = replace(STAGE2, name="stage2-without-t5", groups=_BRIDGE)

ABLATIONS: dict[str, tuple[Stage, ...]] = {
    "full": (STAGE1, STAGE2),
    "untuned": (),
    "without_priors": (STAGE1, WITHOUT_PRIORS),
    "without_t5": (STAGE1, WITHOUT_T5),
    "without_visual": (STAGE2,),
}
"""Row -> its stages, in order; in the order of the paper's Table 3."""

# ---- From nothing: the demonstration's network, and the base of the ablations ----

VISION_PRETRAINING = Stage(
    "eye",
    (
        ParameterGroup("ViT", rf"vision_model\.(?!{_NORM_OR_BIAS}$).*", Method.WHOLE, 6e-4, DECAY),
        ParameterGroup(
            "ViT, norms and biases", rf"vision_model\.{_NORM_OR_BIAS}", Method.WHOLE, 6e-4, 0.0
        ),
    ),
    priors=False,
    objective="signs",
)
"""Taught all at once, a small network learns the language and never looks: so first the eye."""
TEXT_PRETRAINING = Stage(
    "words",
    (ParameterGroup("all but the ViT", r"(?!vision_model\.).*", Method.WHOLE, 1e-3, DECAY),),
    priors=True,
    objective="report and signs",
)

STAGES = {
    stage.name: stage
    for stage in (STAGE1, STAGE2, WITHOUT_PRIORS, WITHOUT_T5, VISION_PRETRAINING, TEXT_PRETRAINING)
}


def table(stages: Iterable[Stage]) -> list[tuple[str, str, str, float, float]]:
    """Rows of (stage, group, how, rate, decay), for people."""
    return [(s.name, g.name, str(g.how), g.rate, g.decay) for s in stages for g in s.groups]

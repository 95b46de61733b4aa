"""The stages of a training as data: what trains, by which method, at which learning rate.

A stage is a table of parameter groups; a parameter that no group matches is frozen. Names are those
of the network with the ViT's query, key and value split (model.network.qkv), so that the key can be
frozen while the other two learn. Where the paper is silent, the number is our choice
(docs/train/training.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Method(StrEnum):
    """How the parameters of a group train."""

    LORA = "LoRA"  # two thin matrices beside a frozen layer
    WHOLE = "whole"  # the parameter itself


@dataclass(frozen=True)
class ParameterGroup:
    """One row of the table. Its fields are stored with a run: their names stay.

    Args:
        name: For people, logs and the optimizer.
        names: A regular expression that matches the full name of a layer (LoRA) or of a parameter
            (whole).
        how: The method.
        rate: AdamW's highest learning rate.
        decay: AdamW's weight decay.
    """

    name: str
    names: str
    how: Method
    rate: float
    decay: float


@dataclass(frozen=True)
class Lora:
    """Settings of LoRA. Its fields are stored with a run: their names stay.

    Args:
        rank: Width of the two matrices.
        alpha: The adapter's output is scaled by alpha / rank.
        dropout: Dropout of the adapter's input.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05


@dataclass(frozen=True)
class Stage:
    """One stage of a training. Its fields are stored with a run: their names stay.

    Args:
        name: Name of the stage and of its folder.
        groups: What trains.
        priors: Whether the prompt has priors; without, it is the fixed instruction alone.
        objective: "report" (the language model's loss on the report), "signs" (the signs that each
            view shows, predicted from the ViT's patches), or "report and signs" (the report's loss,
            and the signs predicted from the queries).
        lora: Settings of LoRA.
    """

    name: str
    groups: tuple[ParameterGroup, ...]
    priors: bool
    objective: str = "report"
    lora: Lora = Lora()

    def with_rates(self, lora_rate: float | None, full_rate: float | None) -> Stage:
        """The same stage with other learning rates; None leaves them as they are."""
        by_method = {Method.LORA: lora_rate, Method.WHOLE: full_rate}
        rates = ((group, by_method[group.how]) for group in self.groups)
        return replace(
            self, groups=tuple(g if rate is None else replace(g, rate=rate) for g, rate in rates)
        )


LORA_RATE = 5e-4
WHOLE_RATE = 1e-4
"""Learning rates of LoRA and of the Q-Former's own parameters ("Experimental Settings")."""
DECAY = 0.05
"""Our choice, for the paper names no optimizer. Norms, biases and query tokens do not decay."""

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
"""Trains the vision encoder on the language model's generation loss."""
STAGE2 = Stage("stage2", (T5_ATTENTION, T5_MLP, *_BRIDGE), priors=True)
"""Trains image and text together, on the frozen vision encoder that stage 1 leaves."""

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
"""Row -> its stages in order. The rows are in the order of the paper's Table 3."""

# ---- Pre-training of small networks: the demonstration, and the base of the ablations ----

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
"""Trains the vision encoder first: a small network that trains all at once learns the language and
never looks at the image."""
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


def stage_table(stages: Iterable[Stage]) -> list[tuple[str, str, str, float, float]]:
    """Rows of (stage, group, method, learning rate, weight decay), for people."""
    return [(s.name, g.name, str(g.how), g.rate, g.decay) for s in stages for g in s.groups]

"""An evaluation of texts written by hand, as if a bundle had written them. Needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.labels import load_labeller
from model.manifest import NULL
from training.corpus.example import Corpus
from training.evaluation.drafting import Drafts, Failure, Mode
from training.evaluation.evaluate import Evaluation, ModeResult, prepare
from training.evaluation.heldout import HeldOutSet
from training.evaluation.scoring import ScoringConfig, count_unsupported_comparisons, score
from training.metrics.findings import agree

CLEAR = "The heart is normal in size. The lungs are clear."
FLUID = "There is a large left pleural effusion. The heart is enlarged."
HOW = ScoringConfig(load_labeller(None), ("lower",), resamples=20)
BUNDLE = replace(NULL, name="mine", template="context", templates=("none", "oracle_iu"))


def hush(_what: str, _done: int, _of: int) -> None:
    """Nobody listens."""


def hold(corpus: Corpus, limit: int | None = None, how: ScoringConfig = HOW) -> HeldOutSet:
    return prepare(corpus, how, limit, hush)


def drafted(texts: Sequence[str], told: Sequence[bool] = ()) -> Drafts:
    given = tuple(told) or (False,) * len(texts)
    return Drafts(Mode.CONTEXT, "context", tuple(texts), given, (), 0.1)


def evaluation(
    held: HeldOutSet, texts: Sequence[str], failures: tuple[Failure, ...] = ()
) -> Evaluation:
    """As if a bundle had written these texts."""
    drafts = replace(drafted(texts), failures=failures)
    writers = {"context": drafts.texts} | held.floors
    everything = score(held, writers, HOW, ["context"], hush)
    agreement = None if held.truth is None else agree(held.truth, texts)
    came = ModeResult(
        drafts,
        everything.by_name["context"],
        count_unsupported_comparisons(held, drafts),
        agreement,
        agreement,
    )
    floors = {name: everything.by_name[name] for name in held.floors}
    return Evaluation(
        BUNDLE,
        held,
        HOW,
        "cpu",
        "float32",
        {Mode.CONTEXT: came},
        {Mode.ORACLE: "for no reason"},
        floors,
        everything.named,
        everything.notes,
        0.2,
    )

"""Trains the demonstration bundle from nothing: first the eye, then the words. Knows no DICOM.

    python -m training.recipes.phantoms --out bundle

Taught all at once, a network this small learns the language in three minutes and never looks at
the film. So the eye (ViT) is first taught alone, to tell what a drawn film shows; then it stands
still while Q-Former and T5 learn to write. A checkpoint every two minutes, beside a bundle that
can be used as it is; the same command takes up where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn
from torch.nn import functional

from model.bundle import save_bundle
from model.clinicalblip import ClinicalBLIP, Inputs
from model.manifest import IntendedUse, Manifest
from model.prompt import instruct
from records.errors import NotAllowed
from training.corpus.phantoms import (
    FINDINGS,
    LATERAL_SIGNS,
    frontal_signs,
    lateral_signs,
)
from training.evaluate_phantoms import PhantomScores, score_phantoms
from training.recipes.phantoms_network import MOST_TOKENS, TEMPLATE, WIDTH, build_network
from training.recipes.phantoms_pool import Example, draw_examples

MINUTES = 36.0
"""Of training on two cores with nothing else to do; what the shipped bundle had."""
BATCH = 48
RATE_EYE = 6e-4
RATE_WORDS = 1e-3
WARM_UP = 0.03
WEIGHT_DECAY = 0.05
SHARE_EYE = 0.38
"""Of the training time, how much the eye gets."""
CHECKPOINT_SECONDS = 120.0
NOTICE = "Knows drawn phantoms only and must not be used on patients."

console = Console()


class Judge(nn.Module):
    """Tells what a view shows from a row of vectors; for each sign the best place counts."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(WIDTH, len(FINDINGS) + len(LATERAL_SIGNS))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(N, T, D) -> (N, 17): the signs of a frontal view, then those of a lateral one."""
        return torch.as_tensor(self.line(seen).amax(dim=1))


def train_phantoms(
    out: Path,
    minutes: float = MINUTES,
    seed: int = 0,
    *,
    studies: int = 24_000,
    held_out: int = 500,
) -> Manifest:
    """Train, score and save the demonstration bundle at `out`; its manifest.

    Args:
        out: the bundle's folder; checkpoint.pt and a half-trained bundle lie beside it meanwhile.
        minutes: of training, drawing and scoring not counted.
        seed: of the network's first weights and of the order of examples.
        studies: phantoms drawn to learn from.
        held_out: phantoms never trained on, to score the bundle with.

    Raises:
        NotAllowed: what was stopped at `out` began with another seed.
    """
    run = _Run(out, minutes * 60.0, seed)
    with _progress("drawing phantoms", studies) as told:
        examples = draw_examples(range(studies), run.model.preprocessing.size, told)
    run.train("eye", examples)
    run.train("words", examples)
    run.model.eval()
    scores = score_phantoms(run.model, held_out)
    console.log(scores.sentence())
    manifest = save_bundle(out, run.model, _manifest(run, studies, scores))
    run.checkpoint.unlink(missing_ok=True)
    return manifest


class _Run:
    """A training run: network, judges, optimizer, and how much of its time is used."""

    def __init__(self, out: Path, seconds: float, seed: int) -> None:
        self.out = out
        self.checkpoint = out.with_name(out.name + ".checkpoint.pt")
        self.seed = seed
        self.seconds = {"eye": SHARE_EYE * seconds, "words": (1.0 - SHARE_EYE) * seconds}
        self.used = {"eye": 0.0, "words": 0.0}
        self.steps = {"eye": 0, "words": 0}
        self.model = build_network(seed)
        self.judges = nn.ModuleDict({"eye": Judge(), "words": Judge()})
        self._state: dict[str, object] = {}
        out.parent.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()

    def train(self, stage: str, examples: list[Example]) -> None:
        """Run a stage until its time is used."""
        eye = self.model.network.vision_model
        self.model.train().requires_grad_(True)
        if stage == "words":
            eye.requires_grad_(False)
        taught = eye if stage == "eye" else self.model.network
        weights = [p for p in taught.parameters() if p.requires_grad]
        weights += self.judges[stage].parameters()
        rate = RATE_EYE if stage == "eye" else RATE_WORDS
        optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=WEIGHT_DECAY)
        if self._state.get("stage") == stage:
            optimizer.load_state_dict(self._state["optimizer"])  # type: ignore[arg-type]
        rng = np.random.default_rng([self.seed, self.steps[stage]])
        loss_of = self._eye_loss if stage == "eye" else self._words_loss
        mean, told, saved = 0.0, time.monotonic(), time.monotonic()
        with _progress(f"teaching the {stage}", 100) as advance:
            for batch in _batches(examples, rng):
                share = self.used[stage] / self.seconds[stage] if self.seconds[stage] else 1.0
                if share >= 1.0:
                    break
                started = time.monotonic()
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(share)
                loss = loss_of(batch, rng)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                now = time.monotonic()
                self.used[stage] += now - started
                self.steps[stage] += 1
                advance(100.0 * (now - started) / self.seconds[stage])
                mean = loss.item() if self.steps[stage] == 1 else 0.98 * mean + 0.02 * loss.item()
                if now - told > 30.0:
                    told = now
                    console.log(f"{stage}: step {self.steps[stage]}, loss {mean:.4f}")
                if now - saved > CHECKPOINT_SECONDS:
                    saved = now
                    self._save(stage, optimizer)
        console.log(f"{stage}: {self.steps[stage]} steps, loss {mean:.4f}")

    def _eye_loss(self, batch: list[Example], rng: np.random.Generator) -> torch.Tensor:
        inputs = _gather(self.model, batch)
        pixels = _jitter(inputs.pixels, rng)
        seen = self.model.network.vision_model(pixels).last_hidden_state[:, 1:]  # (N, P, D)
        return _sign_loss(self.judges["eye"](seen), batch)

    def _words_loss(self, batch: list[Example], rng: np.random.Generator) -> torch.Tensor:
        inputs = _gather(self.model, batch)
        inputs = Inputs(**{**vars(inputs), "pixels": _jitter(inputs.pixels, rng)})
        shown, queries = self.model.see(inputs)
        labels = self.model.language(
            [report for _, report, _ in batch], padding=True, return_tensors="pt"
        )
        said = self.model.network.language_model(
            inputs_embeds=self.model.embed(inputs, shown),
            attention_mask=inputs.words_mask,
            labels=labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100),
        )
        # The queries are judged too, or they would learn to look at the film much later.
        return torch.as_tensor(said.loss + _sign_loss(self.judges["words"](queries), batch))

    def _save(self, stage: str, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "stage": stage,
            "model": self.model.state_dict(),
            "judges": self.judges.state_dict(),
            "optimizer": optimizer.state_dict(),
            "used": self.used,
            "steps": self.steps,
            "seed": self.seed,
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.rename(self.checkpoint)
        if stage == "words":
            save_bundle(self.out, self.model, _manifest(self, 0, None))

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state["seed"] != self.seed:
            raise NotAllowed(
                f"{self.checkpoint} is of another seed, {state['seed']}: give --seed "
                f"{state['seed']}, or remove it to begin anew"
            )
        self.model.load_state_dict(state["model"])
        self.judges.load_state_dict(state["judges"])
        self.used, self.steps, self._state = state["used"], state["steps"], state
        console.log(f"taking up {self.checkpoint} at {self.steps}")


def _gather(model: ClinicalBLIP, batch: list[Example]) -> Inputs:
    cases = [case for case, _, _ in batch]
    return model.gather(cases, [instruct(case, TEMPLATE, model.fits) for case in cases])


def _jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(N, 3, S, S) with another exposure, and moved by up to three pixels; never flipped."""
    n = len(pixels)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1)).astype(np.float32))
    lift = torch.from_numpy(rng.uniform(-0.2, 0.2, (n, 1, 1, 1)).astype(np.float32))
    down, right = (int(v) for v in rng.integers(-3, 4, 2))
    return torch.roll(pixels * gain + lift, (down, right), dims=(2, 3))


def _sign_loss(judged: torch.Tensor, batch: list[Example]) -> torch.Tensor:
    """Cross entropy of (N, 17) judgements, each view against the signs that it can show."""
    truth = torch.zeros_like(judged)
    counts = torch.zeros_like(judged)
    middle = len(FINDINGS)
    row = 0
    for case, _, findings in batch:
        for number in range(len(case.views)):
            part = slice(0, middle) if number == 0 else slice(middle, None)
            signs = frontal_signs(findings) if number == 0 else lateral_signs(findings)
            truth[row, part] = torch.from_numpy(signs)
            counts[row, part] = 1.0
            row += 1
    loss = functional.binary_cross_entropy_with_logits(judged, truth, reduction="none")
    return (loss * counts).sum() / counts.sum()


def _batches(examples: list[Example], rng: np.random.Generator) -> Iterator[list[Example]]:
    """Batches for ever, in a new order each time round, long instructions with long ones."""
    stretch = 10 * BATCH
    while True:
        order = rng.permutation(len(examples))
        for start in range(0, len(order), stretch):
            piece = [examples[i] for i in order[start : start + stretch]]
            piece.sort(key=lambda example: len(example[0].priors.prior_report))
            batches = [piece[n : n + BATCH] for n in range(0, len(piece), BATCH)]
            for number in rng.permutation(len(batches)):
                yield batches[number]


def _schedule(share: float) -> float:
    """Up over the first 3%, then down along a cosine to nothing."""
    if share < WARM_UP:
        return max(share / WARM_UP, 0.02)
    return 0.5 * (1.0 + float(np.cos(np.pi * (share - WARM_UP) / (1.0 - WARM_UP))))


def _manifest(run: _Run, studies: int, scores: PhantomScores | None) -> Manifest:
    return Manifest(
        name="phantoms",
        version="1",
        base_model="none: trained from random weights",
        base_revision="",
        template=TEMPLATE,
        preprocessing=run.model.preprocessing,
        licence="Same as this software; made from drawings alone",
        demonstration=True,
        notice=NOTICE,
        intended_use=IntendedUse(),
        max_new_tokens=100,
        max_instruction_tokens=MOST_TOKENS,
        training={
            "recipe": "training.recipes.phantoms",
            "seed": run.seed,
            "studies": studies,
            "steps": dict(run.steps),
            "minutes": {stage: round(s / 60.0, 1) for stage, s in run.used.items()},
            "finished": scores is not None,
        },
        scores=scores.as_table() if scores is not None else {},
    )


class _progress:  # noqa: N801 - reads as the function that it stands for
    """A bar that is told how much was done; `with _progress(name, total) as told`."""

    def __init__(self, name: str, total: float) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._bar.add_task(name, total=total)

    def __enter__(self) -> Callable[[float], None]:
        self._bar.start()
        return lambda done: self._bar.advance(self._task, done)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def main() -> None:
    """The command line of the recipe."""
    parser = argparse.ArgumentParser(description="Train the demonstration bundle from nothing.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--studies", type=int, default=24_000)
    given = parser.parse_args()
    train_phantoms(given.out, given.minutes, given.seed, studies=given.studies)


if __name__ == "__main__":
    main()

"""Scores a bundle on phantoms that it has never seen, and again with their films swapped.

    python -m training.evaluate_phantoms demo

A model that writes well without looking scores alike both ways. Knows no training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from model.bundle import choose_device, load_bundle
from model.case import Case, FailedCase
from model.clinicalblip import ClinicalBLIP
from model.decoding import Decoding
from model.engine import Engine
from model.prompt import instruct
from training.corpus.phantoms import HELD_OUT, phantom
from training.findings import Agreement, agree, swap_films

MAX_NEW_TOKENS = 100


@dataclass(frozen=True)
class PhantomScores:
    """Agreement with the right films and with swapped ones.

    swapped: the same studies, each with the films of another one; what is left is what can be
    known without looking. seconds: of drafting, a study, on `device`.
    """

    studies: int
    right: Agreement
    swapped: Agreement
    seconds: float
    device: str

    def sentence(self) -> str:
        """Both scores in one line."""
        return (
            f"{self.studies} held-out phantoms: F1 {self.right.f1:.3f} "
            f"(precision {self.right.precision:.3f}, recall {self.right.recall:.3f}), "
            f"films swapped {self.swapped.f1:.3f}; "
            f"{1000 * self.seconds:.0f} ms a study on {self.device}"
        )

    def as_table(self) -> dict[str, Any]:
        """For the manifest, rounded."""
        return {
            "on": f"{self.studies} held-out phantoms, seeds from {HELD_OUT}",
            "micro_f1": round(self.right.f1, 4),
            "precision": round(self.right.precision, 4),
            "recall": round(self.right.recall, 4),
            "all_findings_right": round(self.right.exact, 4),
            "micro_f1_films_swapped": round(self.swapped.f1, 4),
            "f1_by_finding": {k: round(v, 3) for k, v in self.right.by_finding.items()},
            "milliseconds_a_study": round(1000 * self.seconds, 1),
            "device": self.device,
        }


def score_phantoms(model: ClinicalBLIP, studies: int, batch: int = 16) -> PhantomScores:
    """Draft `studies` held-out phantoms twice, the second time with their films swapped."""
    phantoms = [phantom(HELD_OUT + n) for n in range(studies)]
    cases = [one.case(model.preprocessing.size) for one in phantoms]
    truth = [one.findings for one in phantoms]
    device = torch.device(model.network.device)
    engine = Engine(model, device, Decoding(MAX_NEW_TOKENS), batch)
    started = time.monotonic()
    drafts = draft_texts(engine, cases)
    seconds = (time.monotonic() - started) / studies
    swapped = draft_texts(engine, swap_films(cases))
    return PhantomScores(
        studies, agree(truth, drafts), agree(truth, swapped), seconds, engine.device_name
    )


def draft_texts(engine: Engine, cases: Sequence[Case], template: str = "context") -> list[str]:
    """The drafts in the order of the cases.

    Raises:
        ModelError: a case could not be drafted.
    """
    texts: dict[str, str] = {}
    for written in engine.write((case, instruct(case, template, engine.fits)) for case in cases):
        if isinstance(written, FailedCase):
            raise written.error
        texts[written.key] = written.text
    return [texts[case.key] for case in cases]


def main() -> None:
    """The command line: a bundle by name or folder."""
    parser = argparse.ArgumentParser(description="Score a bundle on held-out phantoms.")
    parser.add_argument("bundle", nargs="?", default="demo")
    parser.add_argument("--studies", type=int, default=500)
    given = parser.parse_args()
    model, _ = load_bundle(given.bundle, choose_device(None))
    scores = score_phantoms(model, given.studies)
    print(scores.sentence())
    for name, f1 in scores.right.by_finding.items():
        print(f"  {name:28s} {f1:.3f}")


if __name__ == "__main__":
    main()

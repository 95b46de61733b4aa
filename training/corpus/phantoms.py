"""Drawn chests with known findings, and the reports that say just those: seeded and endless.

Knows no DICOM and no network. A phantom is a stand-in for a patient wherever a real film would
need consent: tests, the demonstration, benchmarks, and the shipped demonstration bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.case import Case, Priors, View
from training.corpus import phantoms_draw as draw
from training.corpus import phantoms_words as words

FINDINGS: tuple[str, ...] = (
    "cardiomegaly",
    "consolidation_left_lower",
    "consolidation_left_upper",
    "consolidation_right_lower",
    "consolidation_right_upper",
    "effusion_left",
    "effusion_right",
    "nodule_left",
    "nodule_right",
    "pacemaker",
    "pneumothorax_left",
    "pneumothorax_right",
)
"""All that a phantom can have. A finding with a side is another finding on the other side."""

LATERAL_SIGNS: tuple[str, ...] = (
    "cardiomegaly",
    "consolidation",
    "effusion",
    "nodule",
    "pacemaker",
)
"""What a lateral view shows: no side, and no pneumothorax."""

HIDES: frozenset[frozenset[str]] = frozenset(
    frozenset({f"{one}_{side}{zone}", f"{other}_{side}"})
    for side in ("left", "right")
    for one, zone, other in (
        ("consolidation", "_lower", "effusion"),
        ("consolidation", "_upper", "pneumothorax"),
        ("nodule", "", "pneumothorax"),
    )
)
"""Pairs of which one would hide the other on the film; no phantom has both."""

SHARE_NORMAL = 0.25
COUNTS = (1, 2, 3)
COUNT_SHARES = (0.55, 0.3, 0.15)


@dataclass(frozen=True)
class Phantom:
    """One imagined study: what is drawn, what was asked, what the report says.

    seed: everything below follows from it. findings: names out of FINDINGS. sizes: "small",
    "moderate" or "large" for effusions and pneumothoraces. lateral: there is a second view.
    indication: why the film was asked for; drawn at random, so it tells nothing of the findings.
    findings_text, impression: the two sections of the report.
    """

    seed: int
    findings: frozenset[str]
    sizes: dict[str, str]
    lateral: bool
    indication: str
    procedure: str
    findings_text: str
    impression: str

    @property
    def report(self) -> str:
        """The whole report: "Findings: ... Impression: ..."."""
        return f"Findings: {self.findings_text} Impression: {self.impression}"

    @property
    def positions(self) -> tuple[str, ...]:
        """The views of the study: "frontal", and "lateral" where there is one."""
        return ("frontal", "lateral") if self.lateral else ("frontal",)

    @cached_property
    def plan(self) -> draw.Plan:
        """Where everything lies on the films, in fractions of their width."""
        return draw.plan(np.random.default_rng([self.seed, 1]), self.findings, self.sizes)

    def film(self, position: str, size: int) -> NDArray[np.uint8]:
        """The view at `position`, (size, size) uint8, air dark. Alike at every size but for noise.

        Raises:
            ValueError: `position` is neither "frontal" nor "lateral".
        """
        if position not in ("frontal", "lateral"):
            raise ValueError(f"a phantom has no {position} view")
        rng = np.random.default_rng([self.seed, 2 if position == "frontal" else 3])
        return draw.film(self.plan, position, size, rng)

    def case(self, size: int) -> Case:
        """The study as the model reads it, films drawn at (size, size)."""
        return Case(
            key=f"phantom-{self.seed}",
            views=tuple(View(self.film(p, size), p, source=p) for p in self.positions),
            priors=Priors(indication=self.indication, procedure=self.procedure),
        )


def phantom(seed: int) -> Phantom:
    """The phantom of this seed; the same on every machine and every day.

    Seeds from HELD_OUT on are never trained on.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError("a phantom's seed is 0 or more")
    rng = np.random.default_rng([seed, 0])
    findings = _choose_findings(rng)
    sizes = {
        name: str(rng.choice(("small", "moderate", "large")))
        for name in sorted(findings)
        if name.startswith(("effusion", "pneumothorax"))
    }
    lateral = bool(rng.random() < 0.6)
    findings_text, impression = words.write(rng, findings, sizes)
    # A stream of its own: what was asked cannot depend on what was found.
    asked = np.random.default_rng([seed, 4])
    return Phantom(
        seed=seed,
        findings=findings,
        sizes=sizes,
        lateral=lateral,
        indication=words.indication(asked),
        procedure="XR CHEST PA AND LATERAL" if lateral else "XR CHEST PA",
        findings_text=findings_text,
        impression=impression,
    )


HELD_OUT = 1_000_000_000
"""The first seed that no training run uses; evaluation counts up from here."""


def frontal_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """(12,) 0/1: which of FINDINGS a frontal view of such a study shows."""
    return np.array([name in findings for name in FINDINGS], dtype=np.float32)


def lateral_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """(5,) 0/1: which of LATERAL_SIGNS a lateral view of such a study shows."""
    seen = {name.split("_")[0] for name in findings}
    return np.array([name in seen for name in LATERAL_SIGNS], dtype=np.float32)


def _choose_findings(rng: np.random.Generator) -> frozenset[str]:
    if rng.random() < SHARE_NORMAL:
        return frozenset()
    chosen: set[str] = set()
    wanted = int(rng.choice(COUNTS, p=COUNT_SHARES))
    for name in rng.permutation(FINDINGS):
        if len(chosen) == wanted:
            break
        if not any(frozenset({str(name), other}) in HIDES for other in chosen):
            chosen.add(str(name))
    return frozenset(chosen)

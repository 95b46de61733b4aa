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

HIDING_PAIRS: frozenset[frozenset[str]] = frozenset(
    frozenset({f"{one}_{side}{zone}", f"{other}_{side}"})
    for side in ("left", "right")
    for one, zone, other in (
        ("consolidation", "_lower", "effusion"),
        ("consolidation", "_upper", "pneumothorax"),
        ("nodule", "", "pneumothorax"),
    )
)
"""Pairs of which one would hide the other on the film; no phantom has both."""


@dataclass(frozen=True)
class Site:
    """Where phantoms are seen: what they have, how it is worded and exposed, what is known before.

    findings: those that come to it. tie: share of indications that suit a finding. known: share
    of studies with the report of an earlier film of the same patient, in which findings that last
    (LASTING) were there already, mostly.
    """

    name: str
    findings: tuple[str, ...] = FINDINGS
    wording: words.Wording = words.USUAL
    exposure: draw.Exposure = draw.USUAL
    tie: float = 0.0
    known: float = 0.0


LASTING_FINDINGS = ("cardiomegaly", "nodule_left", "nodule_right", "pacemaker")

USUAL = Site("usual")
"""Whose phantoms the demonstration's bundle has learnt from; its indications tell nothing."""
SITES = {
    "usual": USUAL,
    # Orders as in life: an indication hints at times, and some patients were here before.
    "ward": Site("ward", tie=0.5, known=0.5),
    # Other words, darker films, and half of the findings: the base of the ablations.
    "elsewhere": Site(
        "elsewhere",
        findings=(
            "cardiomegaly",
            "consolidation_left_lower",
            "consolidation_right_lower",
            "effusion_left",
            "effusion_right",
            "pacemaker",
        ),
        wording=words.ELSEWHERE,
        exposure=draw.Exposure(
            gamma=(1.5, 2.2), low=(0.0, 0.05), high=(0.6, 0.8), grain=(0.01, 0.03)
        ),
    ),
}
"""Sites by name, as in `--corpus phantoms:ward`."""

SHARE_NORMAL = 0.25
COUNTS = (1, 2, 3)
COUNT_SHARES = (0.55, 0.3, 0.15)


@dataclass(frozen=True)
class Phantom:
    """One imagined study: what is drawn, what was asked, what the report says.

    seed: everything below follows from it. findings: names out of FINDINGS. sizes: "small",
    "moderate" or "large" for effusions and pneumothoraces. lateral: there is a second view.
    indication: why the film was asked for; at the usual site it tells nothing of the findings.
    findings_text, impression: the two sections of the report. prior_report: of an earlier film.
    """

    seed: int
    findings: frozenset[str]
    sizes: dict[str, str]
    lateral: bool
    indication: str
    procedure: str
    findings_text: str
    impression: str
    prior_report: str = ""
    exposure: draw.Exposure = draw.USUAL

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

    def render(self, position: str, size: int) -> NDArray[np.uint8]:
        """The view at `position`, (size, size) uint8, air dark. Alike at every size but for noise.

        Raises:
            ValueError: `position` is neither "frontal" nor "lateral".
        """
        if position not in ("frontal", "lateral"):
            raise ValueError(f"a phantom has no {position} view")
        rng = np.random.default_rng([self.seed, 2 if position == "frontal" else 3])
        return draw.render_view(self.plan, position, size, rng, self.exposure)

    def case(self, size: int) -> Case:
        """The study as the model reads it, films drawn at (size, size)."""
        return Case(
            key=f"phantom-{self.seed}",
            views=tuple(View(self.render(p, size), p, source=p) for p in self.positions),
            priors=Priors(self.indication, self.procedure, self.prior_report),
        )


def phantom(seed: int, site: Site = USUAL) -> Phantom:
    """The phantom of this seed at this site; the same on every machine and every day.

    Seeds from HELD_OUT on are never trained on.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError("a phantom's seed is 0 or more")
    rng = np.random.default_rng([seed, 0])
    findings = _choose_findings(rng, site.findings)
    sizes = {
        name: str(rng.choice(("small", "moderate", "large")))
        for name in sorted(findings)
        if name.startswith(("effusion", "pneumothorax"))
    }
    lateral = bool(rng.random() < 0.6)
    findings_text, impression = words.write(rng, findings, sizes, site.wording)
    # A stream of its own: what was asked cannot depend on what was found.
    asked = np.random.default_rng([seed, 4])
    return Phantom(
        seed=seed,
        findings=findings,
        sizes=sizes,
        lateral=lateral,
        indication=words.indication(asked, findings, site.tie),
        procedure="XR CHEST PA AND LATERAL" if lateral else "XR CHEST PA",
        findings_text=findings_text,
        impression=impression,
        prior_report=_report_before(seed, findings, site),
        exposure=site.exposure,
    )


def _report_before(seed: int, findings: frozenset[str], site: Site) -> str:
    """The report of an earlier film of the same patient, where there is one."""
    rng = np.random.default_rng([seed, 7])
    if rng.random() >= site.known:
        return ""
    before = {name for name in LASTING_FINDINGS if name in findings and rng.random() < 0.85}
    passed = _choose_findings(rng, site.findings) - frozenset(LASTING_FINDINGS)
    for name in sorted(passed):
        if not any(frozenset({name, other}) in HIDING_PAIRS for other in before):
            before.add(name)
    sizes = dict.fromkeys(before, "moderate")
    found, impression = words.write(rng, frozenset(before), sizes, site.wording)
    return f"Findings: {found} Impression: {impression}"


HELD_OUT = 1_000_000_000
"""The first seed that no training run uses; evaluation counts up from here."""


def frontal_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """(12,) 0/1: which of FINDINGS a frontal view of such a study shows."""
    return np.array([name in findings for name in FINDINGS], dtype=np.float32)


def lateral_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """(5,) 0/1: which of LATERAL_SIGNS a lateral view of such a study shows."""
    seen = {name.split("_")[0] for name in findings}
    return np.array([name in seen for name in LATERAL_SIGNS], dtype=np.float32)


def _choose_findings(rng: np.random.Generator, possible: tuple[str, ...]) -> frozenset[str]:
    if rng.random() < SHARE_NORMAL:
        return frozenset()
    chosen: set[str] = set()
    wanted = int(rng.choice(COUNTS, p=COUNT_SHARES))
    for name in rng.permutation(possible):
        if len(chosen) == wanted:
            break
        if not any(frozenset({str(name), other}) in HIDING_PAIRS for other in chosen):
            chosen.add(str(name))
    return frozenset(chosen)

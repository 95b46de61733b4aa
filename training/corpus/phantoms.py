"""Draws chests with known findings, and writes the reports that say exactly those.

Phantoms are seeded and endless. A phantom stands in for a patient wherever a real image would need
consent: in tests, the demonstration, benchmarks, and the shipped demonstration bundle.
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
"""Everything that a phantom can have. The same finding on the other side is another finding."""

LATERAL_SIGNS: tuple[str, ...] = (
    "cardiomegaly",
    "consolidation",
    "effusion",
    "nodule",
    "pacemaker",
)
"""What a lateral view shows: neither sides nor a pneumothorax."""

HIDING_PAIRS: frozenset[frozenset[str]] = frozenset(
    frozenset({f"{hidden}_{side}{zone}", f"{hiding}_{side}"})
    for side in ("left", "right")
    for hidden, zone, hiding in (
        ("consolidation", "_lower", "effusion"),
        ("consolidation", "_upper", "pneumothorax"),
        ("nodule", "", "pneumothorax"),
    )
)
"""Pairs of findings of which one would hide the other; no phantom has both."""


@dataclass(frozen=True)
class Site:
    """A department that phantoms come from.

    Attributes:
        name: As in `--corpus phantoms:NAME`.
        findings: The findings that occur there.
        wording: How its reports are worded.
        exposure: How its images are exposed.
        suited_indications: The share of studies with findings whose indication suits a finding.
        prior_reports: The share of studies with a report of an earlier study of the same patient,
            in which most of the findings that last (LASTING_FINDINGS) were already present.
    """

    name: str
    findings: tuple[str, ...] = FINDINGS
    wording: words.Wording = words.USUAL
    exposure: draw.Exposure = draw.USUAL
    suited_indications: float = 0.0
    prior_reports: float = 0.0


LASTING_FINDINGS = ("cardiomegaly", "nodule_left", "nodule_right", "pacemaker")

USUAL = Site("usual")
"""The demonstration's bundle is trained on it; its indications say nothing of the findings."""
SITES = {
    "usual": USUAL,
    # Orders as in life: some indications hint at a finding, and some patients have a prior report.
    "ward": Site("ward", suited_indications=0.5, prior_reports=0.5),
    # Other wording, darker images, and half of the findings: the base of the ablations.
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
    """One imaginary study. Everything follows from its seed and its site.

    Attributes:
        seed: The seed.
        findings: Names out of FINDINGS.
        sizes: Finding -> "small", "moderate" or "large", for effusions and pneumothoraces.
        lateral: Whether there is a second view.
        indication: Why the study was ordered; at the usual site it is independent of the findings.
        procedure: The requested procedure.
        findings_text, impression: The two sections of the report.
        prior_report: The report of an earlier study of the patient; "" where there is none.
        exposure: How the images are exposed.
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
    def anatomy(self) -> draw.Anatomy:
        """Where everything lies on the images, in fractions of their width."""
        return draw.draw_anatomy(np.random.default_rng([self.seed, 1]), self.findings, self.sizes)

    def render(self, position: str, size: int) -> NDArray[np.uint8]:
        """Return the view at `position`: (size, size) uint8, air dark.

        Two sizes differ only in noise.

        Raises:
            ValueError: `position` is neither "frontal" nor "lateral".
        """
        if position not in ("frontal", "lateral"):
            raise ValueError(f"a phantom has no {position} view")
        rng = np.random.default_rng([self.seed, 2 if position == "frontal" else 3])
        return draw.render_view(self.anatomy, position, size, rng, self.exposure)

    def case(self, size: int) -> Case:
        """Return the study as the model reads it, with images of (size, size)."""
        return Case(
            key=f"phantom-{self.seed}",
            views=tuple(View(self.render(p, size), p, source=p) for p in self.positions),
            priors=Priors(self.indication, self.procedure, self.prior_report),
        )


def phantom(seed: int, site: Site = USUAL) -> Phantom:
    """Return the phantom of a seed at a site; it is the same on every machine and every day.

    Seeds from HELD_OUT on are never used in training.

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
    findings_text, impression = words.write_report(rng, findings, sizes, site.wording)
    # A random stream of its own: the indication cannot depend on how the report is worded.
    indication_rng = np.random.default_rng([seed, 4])
    return Phantom(
        seed=seed,
        findings=findings,
        sizes=sizes,
        lateral=lateral,
        indication=words.draw_indication(indication_rng, findings, site.suited_indications),
        procedure="XR CHEST PA AND LATERAL" if lateral else "XR CHEST PA",
        findings_text=findings_text,
        impression=impression,
        prior_report=_draw_prior_report(seed, findings, site),
        exposure=site.exposure,
    )


def _draw_prior_report(seed: int, findings: frozenset[str], site: Site) -> str:
    """Return the report of an earlier study of the same patient; "" where there is none."""
    rng = np.random.default_rng([seed, 7])
    if rng.random() >= site.prior_reports:
        return ""
    earlier = {name for name in LASTING_FINDINGS if name in findings and rng.random() < 0.85}
    resolved = _choose_findings(rng, site.findings) - frozenset(LASTING_FINDINGS)
    for name in sorted(resolved):
        if not any(frozenset({name, other}) in HIDING_PAIRS for other in earlier):
            earlier.add(name)
    sizes = dict.fromkeys(earlier, "moderate")
    findings_text, impression = words.write_report(rng, frozenset(earlier), sizes, site.wording)
    return f"Findings: {findings_text} Impression: {impression}"


HELD_OUT = 1_000_000_000
"""The first seed that no training run uses; evaluations count up from here."""


def frontal_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """Return (12,) 0/1: which of FINDINGS a frontal view of such a study shows."""
    return np.array([name in findings for name in FINDINGS], dtype=np.float32)


def lateral_signs(findings: frozenset[str]) -> NDArray[np.float32]:
    """Return (5,) 0/1: which of LATERAL_SIGNS a lateral view of such a study shows."""
    kinds = {name.split("_")[0] for name in findings}
    return np.array([name in kinds for name in LATERAL_SIGNS], dtype=np.float32)


def _choose_findings(rng: np.random.Generator, possible: tuple[str, ...]) -> frozenset[str]:
    if rng.random() < SHARE_NORMAL:
        return frozenset()
    chosen: set[str] = set()
    count = int(rng.choice(COUNTS, p=COUNT_SHARES))
    for name in rng.permutation(possible):
        if len(chosen) == count:
            break
        if not any(frozenset({str(name), other}) in HIDING_PAIRS for other in chosen):
            chosen.add(str(name))
    return frozenset(chosen)

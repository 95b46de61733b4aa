"""Draws the images of a phantom: lungs, heart, ribs, spine, diaphragm, findings, exposure, noise.

Everything is laid out in fractions of the image's width, x to the right and y down. The patient's
right is on the image's left, and no image is ever flipped. Edges are soft and a hundredth of the
width wide, so that an image drawn large and made small looks like one drawn small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
"""(S, S): a brightness or a distance for each pixel."""

EDGE = 0.008
SIDES = {"right": -1.0, "left": 1.0}
"""The patient's side -> the direction on the image from the midline."""

SIZE_FACTORS = {"small": 0.0, "moderate": 0.5, "large": 1.0}


@dataclass(frozen=True)
class Spot:
    """A round or oval shadow: centre, radii and brightness, all in fractions."""

    x: float
    y: float
    rx: float
    ry: float
    brightness: float


@dataclass(frozen=True)
class Exposure:
    """How a site's images are exposed; each attribute is a range to draw from.

    Attributes:
        gamma: Exponent of the brightness.
        low, high: What is black and what is white in the end.
        grain: Standard deviation of the noise.
    """

    gamma: tuple[float, float] = (0.75, 1.35)
    low: tuple[float, float] = (0.0, 0.1)
    high: tuple[float, float] = (0.82, 1.0)
    grain: tuple[float, float] = (0.004, 0.02)


USUAL = Exposure()


@dataclass(frozen=True)
class Anatomy:
    """Where everything lies. One anatomy draws both views, so that they show one patient."""

    shift: tuple[float, float]
    scale: float
    tilt: float
    lung_width: float
    lung_top: float
    dome: float
    heart: float
    rib_gap: float
    rib_phase: float
    soft: float
    effusions: dict[str, float] = field(default_factory=dict)
    pneumothoraces: dict[str, float] = field(default_factory=dict)
    consolidations: tuple[Spot, ...] = ()
    nodules: tuple[Spot, ...] = ()
    pacemaker: tuple[float, float] | None = None
    depths: tuple[float, ...] = ()


def draw_anatomy(
    rng: np.random.Generator, findings: frozenset[str], sizes: dict[str, str]
) -> Anatomy:
    """Draw a patient with these findings; everything else is random."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    enlarged = "cardiomegaly" in findings
    effusions: dict[str, float] = {}
    pneumothoraces: dict[str, float] = {}
    consolidations: list[Spot] = []
    nodules: list[Spot] = []
    for name in sorted(findings):
        kind, *location = name.split("_")
        direction = SIDES[location[0]] if location else 0.0
        if kind == "effusion":
            effusions[location[0]] = 0.05 + 0.15 * SIZE_FACTORS[sizes[name]] + between(0.0, 0.05)
        elif kind == "pneumothorax":
            pneumothoraces[location[0]] = (
                0.035 + 0.045 * SIZE_FACTORS[sizes[name]] + between(0.0, 0.02)
            )
        elif kind == "consolidation":
            y = between(0.27, 0.35) if location[1] == "upper" else between(0.58, 0.65)
            x = 0.5 + direction * between(0.17, 0.23)
            for _ in range(3):  # three overlapping clouds do not look like a circle
                r = between(0.045, 0.07)
                consolidations.append(
                    Spot(
                        x + between(-0.03, 0.03),
                        y + between(-0.03, 0.03),
                        r,
                        r * between(0.8, 1.25),
                        between(0.14, 0.22),
                    )
                )
        elif kind == "nodule":
            r = between(0.022, 0.034)
            nodules.append(
                Spot(
                    0.5 + direction * between(0.16, 0.24),
                    between(0.34, 0.6),
                    r,
                    r,
                    between(0.22, 0.32),
                )
            )
    return Anatomy(
        shift=(between(-0.03, 0.03), between(-0.03, 0.03)),
        scale=between(0.95, 1.06),
        tilt=between(-0.06, 0.06),
        lung_width=between(0.145, 0.165),
        lung_top=between(0.15, 0.18),
        dome=between(0.74, 0.79),
        heart=between(0.185, 0.225) if enlarged else between(0.115, 0.14),
        rib_gap=between(0.07, 0.085),
        rib_phase=between(0.0, 1.0),
        soft=between(0.5, 0.62),
        effusions=effusions,
        pneumothoraces=pneumothoraces,
        consolidations=tuple(consolidations),
        nodules=tuple(nodules),
        pacemaker=(between(0.72, 0.78), between(0.16, 0.22)) if "pacemaker" in findings else None,
        depths=tuple(between(0.38, 0.58) for _ in range(4)),
    )


def render_view(
    anatomy: Anatomy, position: str, size: int, rng: np.random.Generator, exposure: Exposure = USUAL
) -> NDArray[np.uint8]:
    """Return the view: (size, size) uint8, exposed and noised by `rng`."""
    x, y = _grid(anatomy, size)
    light = _frontal(anatomy, x, y) if position == "frontal" else _lateral(anatomy, x, y)
    light += _cloud(rng, size, 14, 0.02)
    gamma = float(rng.uniform(*exposure.gamma))
    low, high = float(rng.uniform(*exposure.low)), float(rng.uniform(*exposure.high))
    light = low + (high - low) * np.clip(light, 0.0, 1.0) ** np.float32(gamma)
    grain = float(rng.uniform(*exposure.grain))
    light += grain * rng.standard_normal((size, size), dtype=np.float32)
    return (np.clip(light, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _frontal(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    body = _oval(x, y, 0.5, 0.62, 0.44, 0.58) * _step(y - 0.04)
    neck = _band(x, 0.5, 0.09) * _step(0.14 - y)
    light = 0.03 + anatomy.soft * np.maximum(body, neck)

    lungs = np.zeros_like(x)
    for side, direction in SIDES.items():
        centre = 0.5 + direction * 0.195
        out = (x - centre) * np.float32(direction)  # distance outward of the lung's middle
        dome = anatomy.dome - (0.025 if side == "right" else 0.0) + 1.4 * out * out + 0.02
        lung = _lung(anatomy, x, y, centre) * _step(dome - y)
        air = lung.copy()
        if side in anatomy.pneumothoraces:
            gap = anatomy.pneumothoraces[side]
            inner = _lung(anatomy, x, y + gap * 0.25, centre - direction * gap * 0.7, shrink=gap)
            light -= 0.13 * lung * (1.0 - inner)
            light += 0.22 * lung * np.exp(-(((inner - 0.5) / 0.35) ** 2)) * _step(0.62 - y)
            air = lung * inner
        if side in anatomy.effusions:
            rise = anatomy.effusions[side]
            # The fluid stands higher at the chest wall: a meniscus.
            level = dome - 0.03 - rise - 0.9 * np.clip(out, -0.05, 0.2)
            air = air * _step(level - y, 0.012)
            lung = lung * _step(level - y, 0.012)
        light -= 0.36 * lung
        # Vessels fade from the hilum outward; a pneumothorax has none.
        hilum = np.exp(-(((x - 0.5 - direction * 0.1) / 0.07) ** 2) - ((y - 0.45) / 0.1) ** 2)
        light += 0.12 * hilum * air
        lungs = np.maximum(lungs, lung)

    middle = np.abs(x - 0.5)
    ribs = (y + 0.9 * middle * middle - 0.35 * middle) / np.float32(anatomy.rib_gap) + np.float32(
        anatomy.rib_phase
    )
    ridge = np.exp(-(((ribs - np.floor(ribs) - 0.5) / 0.16) ** 2))
    light += 0.07 * ridge * _step(middle - 0.08) * _step(0.36 - middle) * _step(0.85 - y)
    clavicle = np.exp(-(((y - 0.2 + 0.22 * middle) / 0.012) ** 2))
    light += 0.1 * clavicle * _step(middle - 0.04) * _step(0.34 - middle)

    disc = 0.5 + 0.5 * np.cos(2 * np.pi * y / 0.055)
    light += (0.1 + 0.05 * disc) * _band(x, 0.5, 0.045)
    heart = _oval(
        x, y, 0.5 + 0.3 * anatomy.heart, 0.64, anatomy.heart, 0.14 + 0.25 * (anatomy.heart - 0.12)
    )
    aorta = _oval(x, y, 0.545, 0.3, 0.05, 0.06)
    light += 0.34 * np.maximum(heart, 0.5 * aorta) * np.maximum(lungs, 0.25)

    for spot in anatomy.consolidations:
        light += spot.brightness * _blur(x, y, spot) * np.maximum(lungs, 0.2)
    for spot in anatomy.nodules:
        light += spot.brightness * _oval(x, y, spot.x, spot.y, spot.rx, spot.ry)
    if anatomy.pacemaker is not None:
        px, py = anatomy.pacemaker
        box = _step(0.045 - np.abs(x - px)) * _step(0.034 - np.abs(y - py))
        lead = _line(x, y, (px, py), (0.53, 0.32)) + _line(x, y, (0.53, 0.32), (0.55, 0.68))
        light = np.maximum(light, 0.97 * np.maximum(box, np.clip(lead, 0.0, 1.0)))
    return light


def _lateral(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Return the view from the patient's left side: the breastbone is left, the spine right."""
    body = _oval(x, y, 0.5, 0.6, 0.4, 0.6) * _step(y - 0.05)
    light = 0.03 + anatomy.soft * body
    dome = anatomy.dome + 0.06 * (x - 0.3) + 1.2 * (x - 0.45) ** 2
    lung = _oval(x, y, 0.5, 0.5, 0.3, 0.36) * _step(dome - y)
    if anatomy.effusions:
        rise = max(anatomy.effusions.values())
        level = dome - 0.05 - rise - 0.6 * np.clip(x - 0.55, -0.1, 0.3)
        lung = lung * _step(level - y, 0.012)
    light -= 0.34 * lung
    bend = 0.74 + 0.25 * (y - 0.5) ** 2
    disc = 0.5 + 0.5 * np.cos(2 * np.pi * y / 0.065)
    light += (0.14 + 0.08 * disc) * np.exp(-(((x - bend) / 0.05) ** 2))
    light += 0.16 * np.exp(-(((x - 0.21 - 0.12 * y) / 0.015) ** 2)) * _step(0.7 - y)
    ribs = (y - 0.5 * x) / np.float32(anatomy.rib_gap * 1.2) + np.float32(anatomy.rib_phase)
    light += 0.05 * np.exp(-(((ribs - np.floor(ribs) - 0.5) / 0.16) ** 2)) * lung
    heart = _oval(
        x, y, 0.4 + 0.35 * (anatomy.heart - 0.12), 0.63, anatomy.heart * 1.05, anatomy.heart * 1.1
    )
    light += 0.3 * heart * np.maximum(lung, 0.2)
    for spot, depth in zip(anatomy.consolidations[::3], anatomy.depths, strict=False):
        cloud = Spot(depth, spot.y, 0.08, 0.07, spot.brightness)
        light += 1.6 * cloud.brightness * _blur(x, y, cloud) * np.maximum(lung, 0.2)
    for spot, depth in zip(anatomy.nodules, anatomy.depths[2:], strict=False):
        light += spot.brightness * _oval(x, y, depth, spot.y, spot.rx, spot.ry)
    if anatomy.pacemaker is not None:
        _, py = anatomy.pacemaker
        box = _step(0.02 - np.abs(x - 0.2)) * _step(0.04 - np.abs(y - py - 0.06))
        lead = _line(x, y, (0.2, py + 0.06), (0.45, 0.34)) + _line(x, y, (0.45, 0.34), (0.38, 0.68))
        light = np.maximum(light, 0.97 * np.maximum(box, np.clip(lead, 0.0, 1.0)))
    return light


def _grid(anatomy: Anatomy, size: int) -> tuple[Plane, Plane]:
    """Return the patient's x and y at every pixel: (S, S) each, tilted, shifted and scaled."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    column, row = np.meshgrid(axis, axis)
    cos, sin = np.cos(anatomy.tilt) / anatomy.scale, np.sin(anatomy.tilt) / anatomy.scale
    x = np.float32(cos) * column + np.float32(sin) * row + np.float32(0.5 + anatomy.shift[0])
    y = np.float32(cos) * row - np.float32(sin) * column + np.float32(0.5 + anatomy.shift[1])
    return x.astype(np.float32), y.astype(np.float32)


def _lung(anatomy: Anatomy, x: Plane, y: Plane, centre: float, shrink: float = 0.0) -> Plane:
    height = 0.72 - anatomy.lung_top
    return _oval(
        x,
        y,
        centre,
        anatomy.lung_top + height * 0.6,
        anatomy.lung_width - shrink,
        height * 0.6 - shrink,
    )


def _step(distance: Plane, edge: float = EDGE) -> Plane:
    """Return 1 where `distance` is above 0, 0 below it, with a soft edge."""
    return np.asarray(np.clip(distance / np.float32(2 * edge) + np.float32(0.5), 0.0, 1.0))


def _oval(x: Plane, y: Plane, cx: float, cy: float, rx: float, ry: float) -> Plane:
    radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
    return _step((1.0 - radius) * np.float32(min(rx, ry)))


def _band(x: Plane, centre: float, half: float) -> Plane:
    return _step(half - np.abs(x - centre))


def _blur(x: Plane, y: Plane, spot: Spot) -> Plane:
    distance = ((x - spot.x) / spot.rx) ** 2 + ((y - spot.y) / spot.ry) ** 2
    return np.asarray(np.exp(-distance), dtype=np.float32)


def _line(x: Plane, y: Plane, start: tuple[float, float], end: tuple[float, float]) -> Plane:
    dx, dy = end[0] - start[0], end[1] - start[1]
    fraction = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    distance = np.hypot(x - start[0] - fraction * dx, y - start[1] - fraction * dy)
    return _step(0.006 - distance, 0.004)


def _cloud(rng: np.random.Generator, size: int, cells: int, depth: float) -> Plane:
    """Return shadows of the soft tissue: `cells` x `cells` random values, interpolated."""
    coarse = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32) * np.float32(depth)
    position = (np.arange(size, dtype=np.float32) + 0.5) / size * cells
    low = position.astype(np.intp)
    part = (position - low).astype(np.float32)
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part, dtype=np.float32)

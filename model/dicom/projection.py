"""Whether each film of a study is frontal or lateral, weighed over all films of the study.

Every piece of evidence has a weight: the natural logarithm of the odds that it gives its answer.
The weights of one film add up. Films of one study say more together than each alone, because most
studies of several films have both projections: the lateral takes the larger exposure, its picture
is narrower, and the device processes it in another way. So all assignments of "frontal" and
"lateral" to the films of a study are compared (naive Bayes), and a film has an answer where the
assignments that give it have CERTAIN of the whole.

What says of the very film what it is (a code, words, a lateral position) weighs 8, which no other
evidence outweighs, and counts for nothing where it contradicts itself. The other weights come from
the headers of Indiana University, rounded, and 5 at most; no weak sign decides alone. What is
called "measured" was counted on one half of its studies (`model.dicom.evidence_coverage` makes the
halves); docs/use/images.md has what both halves came to. What those films cannot show is set with
caution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from model.dicom.evidence import (
    FRONTAL,
    LATERAL,
    ORDER_KEYWORDS,
    PROJECTION_RULES,
    UNKNOWN,
    Classification,
    Evidence,
    Header,
    Rule,
    Strength,
    clear_evidence,
    match_rules,
    read_texts,
)

CERTAIN = 0.95
"""The share of all assignments that an answer needs."""
MOST_FILMS = 6
"""Films of a larger study are weighed one by one: 64 assignments are compared at most."""

ALWAYS, NEVER = "always", "never"
"""What a site may say of a device's ViewPosition."""

ONE_OF_EACH = "one of each"

_EXPOSURE = Rule(
    "exposure beside another film", LATERAL, Strength.HINT, ("Exposure",), "",
    "From the side a chest is twice as thick.",
)  # fmt: skip
_PROCESSING = Rule(
    "processing beside another film", ONE_OF_EACH, Strength.HINT,
    ("AcquisitionDeviceProcessingCode",), "",
    "Radiographers press one key for the frontal film and another for the lateral.",
)  # fmt: skip
_SHAPES = Rule(
    "shape beside another film", ONE_OF_EACH, Strength.HINT, ("shape",), "",
    "The cassette is turned, or the picture cut, for the lateral film.",
)  # fmt: skip
_SEQUENCE = Rule(
    "order of the films", FRONTAL, Strength.HINT, ("AcquisitionNumber", "SeriesNumber"), "",
    "The frontal film is taken first.",
)  # fmt: skip
_TWO_VIEWS = Rule(
    "order's words: both views", ONE_OF_EACH, Strength.STUDY, ORDER_KEYWORDS,
    r"\b(PA|AP|FRONTAL) ?(AND|&|/|\+|,)? ?LAT|\b(2|TWO) ?(V|VW|VWS|VIEWS?|PROJECTIONS?)\b"
    r"|\b(2|ZWEI) EBENEN|\bFACE ET PROFIL",
    "The order is for a frontal and a lateral film.",
)  # fmt: skip

_KEPT_POSITION = Rule(
    "view position: PA beside a lateral one", FRONTAL, Strength.HINT, ("ViewPosition",), "",
    "Another film of the study is lateral by its ViewPosition, so it is set for each film. "
    "All films: 810 to 0.", weight=4.0,
)  # fmt: skip

STUDY_RULES = (_KEPT_POSITION, _EXPOSURE, _PROCESSING, _SHAPES, _SEQUENCE, _TWO_VIEWS)
"""Rules that need another film of the study, or the order for all of them."""

MIXTURES: dict[bool, tuple[float, float, float]] = {
    False: (0.12, 0.04, 0.84),
    True: (0.02, 0.01, 0.97),
}
"""Shares of studies of several films that are all frontal, all lateral, and have both; by whether
the order is for both views. Measured: less than .01, .01 and .99 of two films, with and without
such an order. Set lower, because wards repeat frontal films and these films are outpatients'."""

EXPOSURE_BOUNDS = (1.3, 2.0, 3.0)
EXPOSURE_SHARES: dict[str, tuple[float, float, float, float]] = {
    "same": (0.50, 0.30, 0.15, 0.05),
    "lateral larger": (0.015, 0.06, 0.25, 0.675),
    "frontal larger": (0.010, 0.004, 0.002, 0.002),
}
"""How often the larger of two exposures is up to 1.3, 2, 3 times the smaller, or more. Measured on
871 pairs of both views and 51 of one; shares of one view are set wider, for there are few."""

PROCESSING_SHARES = {"same": 0.10, "both": 0.75}
"""How often two films differ in their processing code, for films of one view and of both. Measured:
.02 of 92 and .79 of 1,291."""

SHAPE_SHARES = {"same": 0.09, "both": 0.40}
"""How often one of two films is wide and the other high. Measured: .09 of 127 and .41 of 1,867."""

SEQUENCE_WEIGHTS = {"AcquisitionNumber": 2.5, "SeriesNumber": 1.0}
"""Odds that the first of two films is the frontal one. Measured: 727 to 28 by the acquisition's
number (3.3), 1,288 to 216 by the series' (1.8), where one maker's devices say nothing."""

_EXPOSURE_KEYWORDS = ("ExposureInuAs", "tube current and time", "Exposure")


@dataclass(frozen=True, slots=True)
class Film:
    """What is weighed of one film.

    Attributes:
        evidence: The evidence on this film alone.
        weight: Its sum: natural logarithm of the odds for frontal.
        exposures: The exposure in any unit, by where it was found.
        processing: The device's processing code, or "".
        numbers: The acquisition's and the series' number, by keyword.
        orders: The evidence that the order is for both views.
    """

    evidence: tuple[Evidence, ...]
    weight: float
    exposures: Mapping[str, float]
    processing: str
    numbers: Mapping[str, int]
    orders: tuple[Evidence, ...]


def read_film(header: Header, trust: Mapping[str, str] | None = None) -> Film:
    """Return what is weighed of one film.

    Args:
        header: The film's header.
        trust: ALWAYS or NEVER by a device's name: whether its ViewPosition is set for each film.
            A name is compared with manufacturer, model and station name.
    """
    evidence = tuple(match_rules(PROJECTION_RULES, header))
    trusted = _trust_of(header, trust or {})
    return Film(
        evidence,
        _film_weight(clear_evidence(evidence), trusted),
        _exposures(header),
        next(read_texts(header, "AcquisitionDeviceProcessingCode"), ""),
        {k: int(n) for k in SEQUENCE_WEIGHTS if (n := _number(header, k))},
        tuple(match_rules((_TWO_VIEWS,), header)),
    )


def weigh_films(films: Sequence[Film]) -> list[Classification]:
    """Return the projection of each film of one study, in their order."""
    if len(films) > MOST_FILMS:
        return [weigh_films([film])[0] for film in films]
    study_evidence: list[list[Evidence]] = [[] for _ in films]
    films = _with_kept_positions(films)
    comparisons = _compare(films, study_evidence)
    mixture = MIXTURES[any(film.orders for film in films)]
    shares = [0.0] * len(films)
    total = 0.0
    for assignment in product((True, False), repeat=len(films)):  # True is frontal
        score = sum(
            film.weight / 2 if is_frontal else -film.weight / 2
            for film, is_frontal in zip(films, assignment, strict=True)
        )
        score += math.log(_prior(assignment, mixture))
        score += sum(c.score(assignment) for c in comparisons)
        likelihood = math.exp(score)
        total += likelihood
        for number, is_frontal in enumerate(assignment):
            shares[number] += likelihood * is_frontal
    return [
        _classification(share / total, (*film.evidence, *evidence))
        for film, share, evidence in zip(films, shares, study_evidence, strict=True)
    ]


def _with_kept_positions(films: Sequence[Film]) -> list[Film]:
    """Return the films; PA and AP weigh more where another film's ViewPosition is lateral."""
    positions = [
        next((e for e in film.evidence if e.keyword == "ViewPosition"), None) for film in films
    ]
    is_kept = any(e is not None and e.rule.answer == LATERAL for e in positions)
    return [
        replace(
            film,
            weight=film.weight + _KEPT_POSITION.weight,
            evidence=(*film.evidence, Evidence(_KEPT_POSITION, e.keyword, e.value)),
        )
        if is_kept and e is not None and e.rule.answer == FRONTAL
        else film
        for film, e in zip(films, positions, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What two films say beside each other: a score for each pair of answers."""

    first: int
    second: int
    both_frontal: float
    both_lateral: float
    first_frontal: float
    second_frontal: float

    def score(self, assignment: Sequence[bool]) -> float:
        first, second = assignment[self.first], assignment[self.second]
        if first == second:
            return self.both_frontal if first else self.both_lateral
        return self.first_frontal if first else self.second_frontal


def _compare(films: Sequence[Film], evidence: list[list[Evidence]]) -> list[_Comparison]:
    """Compare each film with the one that is most likely frontal, and note what that says."""
    if len(films) < 2:
        return []
    for number, film in enumerate(films):
        evidence[number].extend(film.orders)
    kind = next(
        (k for k in _EXPOSURE_KEYWORDS if sum(k in film.exposures for film in films) > 1), ""
    )
    base = max(
        range(len(films)), key=lambda n: (films[n].weight, -films[n].exposures.get(kind, math.inf))
    )
    comparisons = []
    for other in range(len(films)):
        if other != base:
            scores = [
                _compare_exposures(films, base, other, kind, evidence),
                _compare_codes(films, base, other, evidence),
                _compare_shapes(films, base, other, evidence),
                _compare_numbers(films, base, other, evidence),
            ]
            comparisons.append(_Comparison(base, other, *map(sum, zip(*scores, strict=True))))
    return comparisons


_Scores = tuple[float, float, float, float]
"""Of both frontal, both lateral, only the first frontal, only the second frontal."""
_NOTHING: _Scores = (0.0, 0.0, 0.0, 0.0)


def _compare_exposures(
    films: Sequence[Film], first: int, second: int, kind: str, evidence: list[list[Evidence]]
) -> _Scores:
    exposures = [films[n].exposures.get(kind, 0.0) for n in (first, second)]
    if not all(exposures):
        return _NOTHING
    ratio = max(exposures) / min(exposures)
    place = sum(ratio >= bound for bound in EXPOSURE_BOUNDS)
    same, right, wrong = (
        math.log(EXPOSURE_SHARES[name][place])
        for name in ("same", "lateral larger", "frontal larger")
    )
    second_is_larger = exposures[1] >= exposures[0]
    if place:
        larger = second if second_is_larger else first
        text = f"{ratio:.1f} times that of another film"
        evidence[larger].append(Evidence(_EXPOSURE, "Exposure", text))
    return (same, same, right, wrong) if second_is_larger else (same, same, wrong, right)


def _compare_codes(
    films: Sequence[Film], first: int, second: int, evidence: list[list[Evidence]]
) -> _Scores:
    codes = [films[n].processing for n in (first, second)]
    # Some devices write the parameters of each film there, which always differ.
    if not all(codes) or max(map(len, codes)) > 16:
        return _NOTHING
    if codes[0] == codes[1]:
        same, both = (math.log(1 - PROCESSING_SHARES[name]) for name in ("same", "both"))
    else:
        same, both = (math.log(PROCESSING_SHARES[name]) for name in ("same", "both"))
        for number in (first, second):
            text = "another than another film's"
            evidence[number].append(Evidence(_PROCESSING, _PROCESSING.keywords[0], text))
    return same, same, both, both


def _compare_shapes(
    films: Sequence[Film], first: int, second: int, evidence: list[list[Evidence]]
) -> _Scores:
    shapes = {e.value for n in (first, second) for e in films[n].evidence if e.keyword == "shape"}
    if shapes != {"wide", "high"}:
        return _NOTHING
    for number in (first, second):
        evidence[number].append(Evidence(_SHAPES, "shape", "another than another film's"))
    same, both = (math.log(SHAPE_SHARES[name]) for name in ("same", "both"))
    return same, same, both, both


def _compare_numbers(
    films: Sequence[Film], first: int, second: int, evidence: list[list[Evidence]]
) -> _Scores:
    for keyword, weight in SEQUENCE_WEIGHTS.items():
        numbers = [films[n].numbers.get(keyword, 0) for n in (first, second)]
        if all(numbers) and numbers[0] != numbers[1]:
            earlier = first if numbers[0] < numbers[1] else second
            evidence[earlier].append(Evidence(_SEQUENCE, keyword, "before another film"))
            half = weight / 2 if earlier == first else -weight / 2
            return 0.0, 0.0, half, -half
    return _NOTHING


def _prior(assignment: Sequence[bool], mixture: tuple[float, float, float]) -> float:
    if len(assignment) == 1:
        return 0.5
    frontal, lateral, both = mixture
    if all(assignment):
        return frontal
    return both / (2 ** len(assignment) - 2) if any(assignment) else lateral


def _classification(frontal: float, evidence: tuple[Evidence, ...]) -> Classification:
    answer = FRONTAL if frontal >= CERTAIN else LATERAL if frontal <= 1 - CERTAIN else UNKNOWN
    leaning = FRONTAL if frontal > 0.51 else LATERAL if frontal < 0.49 else ""
    return Classification(answer, evidence, leaning)


_DIRECT = {FRONTAL: 8.0, LATERAL: -8.0}
"""The weight of evidence that says of the very film what it is."""


def _film_weight(evidence: Sequence[Evidence], trusted: str) -> float:
    """Return the sum of the weights; of rules of one group the heaviest counts for each answer."""
    said = [e for e in evidence if e.keyword.startswith("ViewPosition")]
    if trusted == NEVER:
        evidence = [e for e in evidence if e not in said]
    direct = {e.rule.answer for e in evidence if e.rule.strength is Strength.INSTANCE}
    direct |= {e.rule.answer for e in said} if trusted == ALWAYS else set()
    if direct:
        # A code and words that say the same are no more certain than one of them.
        return _DIRECT.get(direct.pop(), 0.0) if len(direct) == 1 else 0.0
    heaviest: dict[tuple[str, str], float] = {}
    for match in evidence:
        key = (match.rule.group or match.rule.name, match.rule.answer)
        heaviest[key] = max(heaviest.get(key, 0.0), match.rule.weight)
    return sum(w if answer == FRONTAL else -w for (_, answer), w in heaviest.items())


def _trust_of(header: Header, trust: Mapping[str, str]) -> str:
    names = {
        text.upper()
        for keyword in ("Manufacturer", "ManufacturerModelName", "StationName")
        for text in read_texts(header, keyword)
    }
    return next((said for device, said in trust.items() if device.upper() in names), "")


def _exposures(header: Header) -> dict[str, float]:
    time, current = _number(header, "ExposureTime"), _number(header, "XRayTubeCurrent")
    values = (_number(header, "ExposureInuAs"), time * current, _number(header, "Exposure"))
    return {k: v for k, v in zip(_EXPOSURE_KEYWORDS, values, strict=True) if v > 0}


def _number(header: Header, keyword: str) -> float:
    """Return a positive number, or 0 where there is none."""
    try:
        value = float(next(read_texts(header, keyword), ""))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0

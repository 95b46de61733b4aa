"""What a PromQL expression names: metrics, labels, and the values that labels are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "atan2"}
_GROUPING = r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
_OWN = {"up": {"job": {"nightdraft"}, "instance": set()}}
"""What Prometheus itself adds, as if it had been scraped."""

Series = dict[str, dict[str, set[str]]]
"""The values of each label of each metric."""


class Matcher(NamedTuple):
    """`metric{label="value"}`, with a value for each alternative of a regular expression."""

    metric: str
    label: str
    values: tuple[str, ...]


def scraped_series(metrics: str) -> Series:
    """The metrics, labels and values of a scraped text."""
    series: Series = {name: dict(labels) for name, labels in _OWN.items()}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels = series.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return series


def matchers(expression: str) -> Iterator[Matcher]:
    """Every comparison of a label in braces."""
    for metric, braces in re.findall(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', braces):
            values = value.split("|") if "~" in operator else [value]
            yield Matcher(metric, label, tuple(values))


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression reads: its names but for functions, words and groupings."""
    rest = re.sub(r'"[^"]*"', "", expression)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", rest)
    rest = re.sub(_GROUPING, " ", rest)
    names = re.findall(r"(?<![\w:.])([A-Za-z_:][\w:]*)(?![\w:])(?!\s*\()", rest)
    return {name for name in names if name.lower() not in _WORDS}


def grouping_labels(expression: str) -> set[str]:
    """The labels by which an expression groups or joins."""
    groups = [labels for _, labels in re.findall(_GROUPING, expression)]
    return {label.strip() for labels in groups for label in labels.split(",") if label.strip()}


def faults(expression: str, series: Series, shown_labels: set[str] = frozenset()) -> list[str]:
    """What an expression names that was not scraped.

    Args:
        expression: the PromQL expression.
        series: what was scraped.
        shown_labels: labels that a legend or a sentence takes from the result.
    """
    names = metric_names(expression)
    found = [f"no metric {name}" for name in sorted(names - set(series))]
    if not names:
        found.append("no metric at all")
    if found:
        return found
    for matcher in matchers(expression):
        values = series[matcher.metric].get(matcher.label)
        if values is None:
            found.append(f"{matcher.metric} has no label {matcher.label}")
        else:
            missing = [value for value in matcher.values if value not in values]
            found += [f"{matcher.metric} has no {matcher.label} {value}" for value in missing]
    labels = {label for name in names for label in series[name]}
    groups = grouping_labels(expression)
    if re.search(r"\b(sum|count|min|max|avg)\b", expression):
        labels = labels & groups if groups else set()
    wanted = shown_labels | {label for label in groups if label != "le"}
    return found + [f"no label {label}" for label in sorted(wanted - labels)]

"""Shows the measurements of `nightdraft bench model` on a terminal; `model.bench` measures."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as tables: the batching strategies, then the parts beside their bound."""
    return Group(Text(_headline(measured)), _strategies(measured), Text(), _parts(measured))


def _headline(measured: dict[str, Any]) -> str:
    headline = (
        f"{measured['model']}, {measured['parameters'] / 1e6:,.0f} M parameters, "
        f"{measured['dtype']}, on {measured['device']}, {measured['threads']} threads; studies of "
        f"{measured['views']} views, {measured['mean_tokens']} tokens in the mean\n"
        f"The engine: {measured['ratio_total']:.2f} x one at a time, "
        f"{measured['ratio_decode']:.2f} x in decoding alone, "
    )
    if "ratio_static" in measured:
        headline += f"{measured['ratio_static']:.2f} x the best static batch, "
    if "ratio_int8" in measured:
        headline += f"with eight-bit weights {measured['ratio_int8']:.2f} x without, "
    headline += f"{measured['roofline_share']:.0%} of the operations' bound"
    if "peak_over_planned" in measured:
        headline += f"; peak memory {measured['peak_over_planned']:.2f} x what was planned"
    return headline


def _strategies(measured: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    columns = ("way", "together", "studies/s", "tokens/s", "tokens/s decoding", "busy", "peak MB")
    for column in columns:
        table.add_column(column, justify="left" if column == "way" else "right")
    for strategy in measured["ways"]:
        table.add_row(
            strategy["way"],
            str(strategy["together"]),
            f"{strategy['studies_per_second']:.3g}",
            f"{strategy['tokens_per_second']:.0f}",
            f"{strategy['decoded_tokens_per_second']:.0f}",
            f"{strategy['busy']:.0%}",
            f"{strategy['peak_mb']:,}",
        )
    for name, bound in measured["bounds"].items():
        # The least time in which the weights and the caches are read for so many studies at once.
        together = name.partition("_together_")[0] if "_together_" in name else ""
        way = "the device's bound" if together else "operations' bound"
        table.add_row(way, together, f"{bound:.3g}")
    return table


def _parts(measured: dict[str, Any]) -> Table:
    rates = measured["rates"]
    table = Table(
        box=None,
        header_style="bold",
        title=f"measured: {rates['tflop_per_second']} TFLOP/s, {rates['gb_per_second']} GB/s",
        title_justify="left",
    )
    for column in ("part", "GFLOP a study", "weights MB", "moved MB a study", "bound, ms a study"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in measured["parts"]:
        table.add_row(
            part["part"],
            f"{part['gflop_a_study']:.3g}",
            f"{part['weights_mb']:,.0f}",
            f"{part['moved_mb_a_study']:,.0f}",
            f"{part['bound_ms_a_study']:.3g}",
        )
    return table

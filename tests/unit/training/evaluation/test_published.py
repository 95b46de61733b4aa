"""The paper's tables as data: whole, and true to what the paper says of them."""

from __future__ import annotations

import pytest

from training.evaluation.published import (
    ABLATION_COLUMNS,
    COLUMNS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLES,
    Row,
    Table,
)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"table_{table.number}")
def test_every_row_has_a_value_for_every_column(table: Table) -> None:
    for row in table.rows:
        assert len(row.values) == len(table.columns)
        assert all(value is None or 0 < value < 1 for value in row.values)


def test_there_are_twelve_methods_and_five_ablations() -> None:
    assert [row.method for row in TABLE_1.rows] == [row.method for row in TABLE_2.rows]
    assert (len(TABLE_1.rows), len(TABLE_2.rows), len(TABLE_3.rows)) == (12, 12, 5)
    assert (TABLE_1.columns, TABLE_3.columns) == (COLUMNS, ABLATION_COLUMNS)


@pytest.mark.parametrize("row", [*TABLE_1.rows, *TABLE_2.rows], ids=lambda row: row.method)
def test_bleu_a_is_the_mean_of_bleu_2_to_4(row: Row) -> None:
    """The mean agrees to three decimals, so a typing error in any of the four would show."""
    values = dict(zip(COLUMNS, row.values, strict=True))
    mean = sum(values[name] or 0 for name in ("bleu_2", "bleu_3", "bleu_4")) / 3
    assert values["bleu_a"] == pytest.approx(mean, abs=0.0011)


def test_only_meteor_is_missing() -> None:
    for row in (*TABLE_1.rows, *TABLE_2.rows):
        missing = [n for n, v in zip(COLUMNS, row.values, strict=True) if v is None]
        assert missing in ([], ["meteor"])
    missing_1 = [row.method for row in TABLE_1.rows if row.values[5] is None]
    assert missing_1 == ["R2GEN", "PPKED", "ALIGNTRANSFORMER", "KNOWMAT"]
    assert [r.method for r in TABLE_2.rows if r.values[5] is None] == [
        "ALIGNTRANSFORMER",
        "KNOWMAT",
    ]


def test_the_full_training_is_the_last_row_of_table_1() -> None:
    full, last = TABLE_3.rows[0], TABLE_1.rows[-1]
    assert full.values == last.values[-3:]

"""Scores that a bundle declares, as tables with bars."""

import pytest

from api.bundle_scores import read_scores


def test_scores_of_several_settings_stand_beside_each_other():
    declared = read_scores(
        {"bleu_4, priors none": 0.25, "bleu_4, priors context": 0.5, "rouge_l, priors none": 0.75}
    )
    (table,) = declared.tables
    assert (table.title, table.settings) == ("", ["priors context", "priors none"])
    assert list(table.rows) == ["bleu_4", "rouge_l"]
    assert 'width="25"' in table.rows["bleu_4"]["priors none"]
    assert "0.5" in table.rows["bleu_4"]["priors context"]
    assert "priors context" not in table.rows["rouge_l"]


def test_a_mapping_is_a_table_of_its_own_and_words_are_facts():
    declared = read_scores(
        {"f1 by finding, a": {"nodule": 0.846}, "on": "500 phantoms", "loss": 2.25, "steps": 12000}
    )
    alone, by_finding = declared.tables
    assert declared.facts == {"on": "500 phantoms"}
    assert alone.rows == {"loss": {"": "2.25"}, "steps": {"": "12,000"}}
    assert by_finding.title == "f1 by finding"
    assert "0.846" in by_finding.rows["nodule"]["a"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, [1], {"a": {"b": 1}}])
def test_whatever_a_manifest_holds_is_told(value):
    declared = read_scores({"odd": value})
    assert declared.facts or declared.tables


def test_nothing_of_a_manifest_is_taken_for_markup():
    declared = read_scores({"<b>, <i>": {"<u>": "<script>"}, "on": "<script>"})
    ((row,),) = [table.rows.values() for table in declared.tables]
    assert row["<i>"] == "&lt;script&gt;"
    assert declared.facts["on"] == "<script>"  # the page escapes it

"""The finding head: of each observation the highest query of all views of a case counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.errors import BundleError
from model.network.finding_head import FindingHead

NAMES = ("Cardiomegaly", "Pneumothorax", "Fracture")


@pytest.fixture
def head() -> FindingHead:
    torch.manual_seed(1)
    return FindingHead(8, NAMES)


def test_the_highest_query_of_all_views_of_a_case_counts(head: FindingHead) -> None:
    queries = torch.randn(6, 4, 8)  # cases of 1, 3 and 2 views
    logits = head(queries, torch.tensor([0, 1, 1, 1, 2, 2]), 3)
    for case, views in enumerate((queries[:1], queries[1:4], queries[4:])):
        rows = torch.stack([head.linear(query) for view in views for query in view])
        torch.testing.assert_close(logits[case], rows.amax(dim=0))


def test_half_precision_outputs_are_scored_in_float32(head: FindingHead) -> None:
    queries = torch.randn(2, 4, 8).half()
    logits = head(queries, torch.tensor([0, 1]), 2)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, head(queries.float(), torch.tensor([0, 1]), 2))


def test_a_head_is_read_as_it_was_written(head: FindingHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    read = FindingHead.load(tmp_path, 8, NAMES)
    assert read.observations == NAMES
    torch.testing.assert_close(read.linear.weight, head.linear.weight, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in read.parameters())


@pytest.mark.parametrize(("width", "names"), [(9, NAMES), (8, NAMES[:2])])
def test_a_head_of_another_network_is_refused(
    head: FindingHead, tmp_path: Path, width: int, names: tuple[str, ...]
) -> None:
    head.save(tmp_path)
    with pytest.raises(BundleError, match="not a finding head of this network"):
        FindingHead.load(tmp_path, width, names)


def test_a_missing_or_damaged_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="finding_head"):
        FindingHead.load(tmp_path, 8, NAMES)
    (tmp_path / "finding_head.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(BundleError, match="finding_head"):
        FindingHead.load(tmp_path, 8, NAMES)

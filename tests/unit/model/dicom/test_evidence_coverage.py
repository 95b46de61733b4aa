"""docs/use/images.md contains what the rules were worth on 7,469 real headers."""

from pathlib import Path

import pytest

from model.dicom.evidence_coverage import (
    classify_headers,
    format_tables,
    read_headers,
    read_projections,
)
from tests.support.paths import ROOT


@pytest.mark.slow
def test_docs_hold_the_measured_figures(samples: Path):
    projections = read_projections(samples / "iu/filtered/indiana_projections.csv")
    headers = read_headers(samples / "iu/nlmcxr_dicom_metadata.csv.gz")
    figures = format_tables(classify_headers(headers, projections))
    assert figures.startswith("7,469 headers")
    assert figures in (ROOT / "docs/use/images.md").read_text()

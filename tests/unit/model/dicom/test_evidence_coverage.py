"""What the evidence in headers is worth on 7,469 real ones; docs/use/images.md holds the figures."""

from pathlib import Path

from model.dicom.evidence_coverage import headers_in, judged, report, truths_in
from tests.support.paths import ROOT


def test_docs_hold_the_measured_figures(samples: Path):
    truths = truths_in(samples / "iu/filtered/indiana_projections.csv")
    figures = report(judged(headers_in(samples / "iu/nlmcxr_dicom_metadata.csv.gz"), truths))
    assert figures.startswith("7,469 headers")
    assert figures in (ROOT / "docs/use/images.md").read_text()

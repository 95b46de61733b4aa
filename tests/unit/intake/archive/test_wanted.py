"""Which objects are fetched, and why the others are not."""

from __future__ import annotations

import pytest

from intake.archive.listed import ListedInstance
from intake.archive.wanted import OTHER_IMAGES, sort_out, unwanted_reason
from intake.dicom.limits import RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS, is_radiograph

ROOT = "1.2.840.10008.5.1.4.1.1"


@pytest.mark.parametrize("sop_class", sorted(RADIOGRAPH_CLASSES))
@pytest.mark.parametrize("modality", ["", "CR", "OT", "PR"])
def test_a_radiograph_is_fetched_whatever_its_series_says(sop_class, modality):
    assert unwanted_reason(sop_class, modality) == ""


@pytest.mark.parametrize(
    ("sop_class", "modality", "reason"),
    [
        (f"{ROOT}.11.1", "PR", "presentation states"),
        (f"{ROOT}.11.8", "", "presentation states"),
        (f"{ROOT}.88.59", "KO", "key object selections"),
        (f"{ROOT}.88.33", "SR", "structured reports"),
        (f"{ROOT}.88.67", "SR", "structured reports"),
        (f"{ROOT}.104.1", "DOC", "encapsulated documents"),
        (f"{ROOT}.66.4", "SEG", "segmentations, registrations and measurements"),
        (f"{ROOT}.481.3", "RTSTRUCT", "radiotherapy objects"),
        (f"{ROOT}.2", "CT", OTHER_IMAGES),
        (f"{ROOT}.12.1", "XA", OTHER_IMAGES),
        (SECONDARY_CAPTURE_CLASS, "CT", OTHER_IMAGES),
        ("1.3.6.1.4.1.5962.301.9", "DX", OTHER_IMAGES),
        ("", "PR", "presentation states"),
        ("", "ko ", "key object selections"),
        ("", "CT", OTHER_IMAGES),
    ],
)
def test_what_nobody_drafts_from_is_not_fetched(sop_class, modality, reason):
    assert unwanted_reason(sop_class, modality) == reason


@pytest.mark.parametrize("modality", ["", "CR", "DX", "RG", "OT"])
def test_where_no_class_is_named_what_may_be_a_film_is_fetched(modality):
    assert unwanted_reason("", modality) == ""


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", "CT", "SC"])
def test_a_secondary_capture_is_fetched_where_the_listener_would_draft_from_it(modality):
    is_wanted = unwanted_reason(SECONDARY_CAPTURE_CLASS, modality) == ""
    assert is_wanted == is_radiograph(SECONDARY_CAPTURE_CLASS, modality)


def test_objects_are_sorted_out_and_counted_once():
    film = ListedInstance("1.1", f"{ROOT}.1.1", "1.9", "DX")
    state = ListedInstance("1.2", f"{ROOT}.11.1", "1.8", "PR")
    listing = sort_out([film, film, state, state])
    assert listing.wanted == (film,)
    assert listing.unwanted == {"presentation states": 1}

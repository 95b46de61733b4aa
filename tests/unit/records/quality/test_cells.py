"""The places of the kept numbers: what an outcome fills, and that no place ever moves."""

import hashlib

import pytest

from model.labels import OBSERVATIONS
from records.quality import cells
from records.states import RejectReason

KEPT = "acde61392ad763b032eac9b903b981578911ef3f29f14994368ede74a33a3593"

NOTHING = dict.fromkeys(cells.OBSERVATIONS, (False, False))


def names(*given, **options):
    return {cells.CELLS[place - 1] for place in cells.fill(*given, **options)}


def test_the_observations_are_those_of_the_model():
    assert cells.OBSERVATIONS == OBSERVATIONS


def test_kept_numbers_keep_their_places():
    # Numbers of departments are kept by these places: add new ones at the end, and move none.
    first = cells.CELLS[:175]
    assert hashlib.sha256("\n".join(first).encode()).hexdigest() == KEPT


@pytest.mark.parametrize(
    ("changed", "longest", "place"),
    [(0, 100, 0), (1, 100, 1), (5, 100, 1), (6, 100, 2), (100, 100, 20), (0, 0, None)],
)
def test_an_edit_has_the_class_of_its_share(changed, longest, place):
    assert cells.share_class(changed, longest) == place


@pytest.mark.parametrize(("seconds", "place"), [(0, 0), (4.9, 0), (5, 1), (6.3, 2), (90000, 27)])
def test_a_time_has_the_class_of_its_seconds(seconds, place):
    assert cells.second_class(seconds) == place
    assert cells.SECOND_BOUNDS[place] <= seconds


def test_a_signed_draft_fills_what_it_counts_in():
    said = NOTHING | {"Edema": (True, False)}
    assert {"signed", "labelled", "watched", "differing", "says:4:draft", "findings:1"} <= names(
        "SIGNED", distances={"findings": [1, 50], "impression": [0, 0]}, says=said
    )
    equal = names("SIGNED", unedited=True, says=NOTHING)
    assert "differing" not in equal
    assert "unedited" in equal


def test_no_finding_alone_is_no_difference():
    assert not cells.differ(NOTHING | {"No Finding": (True, False)})
    assert cells.differ(NOTHING | {"Fracture": (False, True)})


def test_a_rejection_is_a_difference_but_where_the_films_are_at_fault():
    assert {"rejected", "watched", "differing", "reject:NOTE"} <= names("REJECTED")
    poor = names("REJECTED", reject_reason=RejectReason.POOR_IMAGES)
    assert poor == {"rejected", "reject:POOR_IMAGES"}

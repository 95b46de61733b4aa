"""What we offer for a C-GET: each class with each syntax, within one association."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from intake.archive.retrieve import COMMON_SYNTAXES, MAX_CONTEXTS, storage_contexts
from intake.dicom.limits import RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS, TRANSFER_SYNTAXES

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def offered(*classes):
    return {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in storage_contexts(classes)
    }


def test_a_known_class_is_offered_in_every_syntax_that_the_listener_takes():
    assert offered(DX) == {(DX, str(syntax)) for syntax in TRANSFER_SYNTAXES}


@pytest.mark.parametrize(
    "classes", [[""], [DX, ""], [*RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS]]
)
def test_where_the_class_is_not_known_all_of_them_stand_in_one_association(classes):
    contexts = offered(*classes)
    assert len(contexts) < MAX_CONTEXTS
    for sop_class in (*RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS):
        assert {(sop_class, syntax) for syntax in COMMON_SYNTAXES} <= contexts


def test_the_common_syntaxes_are_known_and_the_listener_takes_them():
    assert set(COMMON_SYNTAXES) <= set(map(str, TRANSFER_SYNTAXES))
    assert all(UID(uid).is_transfer_syntax for uid in COMMON_SYNTAXES)

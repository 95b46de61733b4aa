"""Errors say themselves whether their text may be shown; the texts of all others are left out."""

from __future__ import annotations

import pytest

import worker.case_builder
from model.errors import CaseError, ModelError
from records.errors import NightdraftError, NotFound, SettingsError, is_safe_to_show, safe_text

NAME = "PLANTED^NAME"


class Silent(ValueError):
    """An error of ours that does not say that its text is free of patients."""


class Promising(ValueError):
    """An error that is in no tree of ours and says that its text is free of patients."""

    safe_to_show = True


class Withdrawn(NightdraftError):
    """An error of our tree whose text may name a patient after all."""

    safe_to_show = False


def every_class(root: type[BaseException]) -> list[type[BaseException]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_class(child))]


def test_a_message_that_is_safe_to_show_is_given_whole() -> None:
    assert safe_text(NotFound("no study has that UID")) == "no study has that UID"
    assert safe_text(CaseError("two views at most")) == "two views at most"
    assert safe_text(Promising("no patient here")) == "no patient here"


def test_an_error_without_a_message_is_given_by_its_type() -> None:
    assert safe_text(SettingsError()) == "SettingsError"


@pytest.mark.parametrize("package", ["model.errors", "records.errors", "worker.case_builder"])
def test_an_error_in_a_package_of_ours_that_does_not_say_so_is_not_quoted(package: str) -> None:
    lodger = type("Lodger", (Silent,), {"__module__": package})
    assert safe_text(lodger(f"cannot read {NAME}")) == "Lodger"
    assert safe_text(worker.case_builder.MissingFile(NAME)) == "MissingFile"


def test_a_class_may_take_the_promise_back() -> None:
    assert not is_safe_to_show(Withdrawn(NAME))
    assert NAME not in safe_text(Withdrawn(NAME))


def test_an_instance_cannot_make_the_promise_for_its_class() -> None:
    error = Silent(NAME)
    error.safe_to_show = True  # type: ignore[attr-defined]
    assert NAME not in safe_text(error)


def test_other_errors_are_given_by_their_place_in_our_code() -> None:
    with pytest.raises(AttributeError) as caught:
        safe_text(None)  # type: ignore[arg-type]  # fails inside our own code
    assert safe_text(caught.value).startswith("AttributeError at records/errors.py:")


def test_both_trees_promise_it_at_their_root() -> None:
    for root in (NightdraftError, ModelError):
        assert root.__dict__["safe_to_show"] is True
        assert all(kind.__doc__ for kind in every_class(root))

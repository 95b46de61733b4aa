"""Saved views: each reader's own, one of them the default."""

import pytest

from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.worklist import views
from tests.support.accounts import make_account


def names(account):
    with unit_of_work() as session:
        return [(one.name, one.query, one.is_default) for one in views.list_views(session, account)]


def save(account, name, query="state=HELD", **options):
    with unit_of_work() as session:
        return views.save(session, account, name, query, **options).id


def test_a_view_is_replaced_by_its_name_and_is_of_one_reader(database):
    ada, ben = make_account("ada").id, make_account("ben").id
    save(ada, " Night  held ")
    save(ada, "Night held", "state=FAILED")
    save(ben, "Night held", "sex=F")
    assert names(ada) == [("Night held", "state=FAILED", False)]
    assert names(ben) == [("Night held", "sex=F", False)]


def test_one_view_is_the_default(database):
    ada = make_account("ada").id
    save(ada, "a", "state=HELD", is_default=True)
    save(ada, "b", "state=FAILED", is_default=True)
    assert names(ada) == [("a", "state=HELD", False), ("b", "state=FAILED", True)]
    with unit_of_work() as session:
        assert views.default_query(session, ada) == "state=FAILED"
    save(ada, "b", "state=FAILED")
    with unit_of_work() as session:
        assert views.default_query(session, ada) is None


def test_a_reader_removes_only_an_own_view(database):
    ada, ben = make_account("ada").id, make_account("ben").id
    view = save(ada, "a")
    with pytest.raises(NotFound), unit_of_work() as session:
        views.remove(session, ben, view)
    with unit_of_work() as session:
        views.remove(session, ada, view)
    assert names(ada) == []


def test_views_without_a_name_and_too_many_are_refused(database, monkeypatch):
    ada = make_account("ada").id
    for name in (" ", "x" * 61):
        with pytest.raises(NotAllowed):
            save(ada, name)
    monkeypatch.setattr(views, "MOST_VIEWS", 1)
    save(ada, "a")
    with pytest.raises(NotAllowed, match="remove one first"):
        save(ada, "b")
    save(ada, "a", "sex=M")
    assert names(ada) == [("a", "sex=M", False)]

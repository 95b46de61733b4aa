"""A second site beside the first one, and which site rows belong to."""

from __future__ import annotations

from records.database.session import unit_of_work
from records.states import SiteMode
from records.workflow import sites
from tests.support.accounts import run_sql

NORTH_AE = "NORTH_CR"
NORTH_RIS = "RIS|NORTH"


def show_drafts():
    """Let every site show its drafts; a site that is made begins in the mode shadow."""
    run_sql("UPDATE sites SET mode = 'RESEARCH'")


def make_site(code, callers=(), senders=()):
    """Make a site that shows its drafts; our id of it."""
    with unit_of_work() as session:
        site = sites.create(session, code)
        sites.set_callers(session, code, callers)
        sites.set_senders(session, code, senders)
        site.mode = SiteMode.RESEARCH
        return site.id


def make_north():
    """The site `north` with a caller and a sender."""
    return make_site("north", [NORTH_AE], [NORTH_RIS])


def site_of(table, id_):
    """The code of the site of a row."""
    ((code,),) = run_sql(
        f"SELECT code FROM {table} JOIN sites ON sites.id = site_id WHERE {table}.id = :id",
        id=id_,
    )
    return code

"""Every route that shows patients of sites, walked with rows of another site behind it."""

import datetime as dt
import re

import pytest
from starlette.testclient import TestClient

from api.access.table import TABLE, Scope
from api.app import make_app
from records.accounts import programs
from records.accounts.roles import PERMISSIONS
from records.database.session import unit_of_work
from records.operations import night_summaries
from records.quality.cells import CELLS, PLACES
from records.settings import settings
from records.states import Role, WorkKind
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.planted_rows import plant
from tests.support.two_sites import make_site, site_of
from tests.support.work_counts import add_work

THEIRS, OURS = "XYZZYPLUGH", "FROTZQUUX"

SEEN_BY_BOTH = {
    "/",
    "/live",
    "/studies/{study}",
    "/studies/{study}/differences",
    "/studies/{study}/sign",
    "/api/studies/{uid}/working-text",
    "/api/studies/{uid}/reviews",
    "/holds",
    "/api/studies",
    "/api/studies/{uid}",
    "/api/holds",
    "/orders",
    "/orders/{order_id}",
    "/reports",
    "/reports/{report_id}",
    "/api/orders",
    "/api/orders/{order_id}",
    "/api/reports",
    "/api/reports/{report_id}",
    "/discrepancies",
    "/discrepancies/{discrepancy_id}",
    "/api/discrepancies",
    "/api/discrepancies/{discrepancy_id}",
    "/comparisons",
    "/comparisons/{comparison_id}",
    "/api/comparisons/drafts",
    "/api/comparisons/drafts/{comparison_id}",
    "/messages",
    "/messages/{message_id}",
    "/api/messages",
    "/api/messages/{message_id}",
    "/campaigns",
    "/campaigns/live",
    "/campaigns/{campaign_id}",
    "/campaigns/{campaign_id}/change",
    "/api/campaigns",
    "/api/campaigns/{campaign_id}",
    "/tonight",
    "/tonight/live",
    "/models/{digest}/drafts",
    "/api/models/{digest}/drafts",
    "/api/models/{digest}/drafts.csv",
}
"""Where a lead reader of both sites finds the planted name, so that the walk can find it at all."""

QUERIES = {
    "/": ("", "?words={name}", "?state=HELD"),
    "/api/studies": ("", "?words={name}", "?state=HELD"),
    "/orders": ("", "?words={name}-B", "?status=ACTIVE"),
    "/api/orders": ("", "?words={name}-B", "?status=ACTIVE"),
    "/reports": ("", "?status=FINAL", "?accession_number=A{number}", "?patient_id=P{number}"),
    "/api/reports": ("", "?status=FINAL", "?accession_number=A{number}", "?patient_id=P{number}"),
    "/messages": ("", "?outcome=REFUSED"),
    "/api/messages": ("", "?outcome=REFUSED", "?open=true"),
    "/discrepancies": ("", "?side=MISS_OF_MODEL", "?campaign={campaign_id}"),
    "/api/discrepancies": ("", "?side=MISS_OF_MODEL", "?campaign={campaign_id}"),
    "/api/comparisons/table": ("?first=bundle&second=B", "?campaign={campaign_id}"),
    "/comparisons": ("", "?first=bundle&second=B", "?campaign={campaign_id}"),
    "/api/comparisons/drafts": ("?first=bundle&second=B", "?campaign={campaign_id}"),
    "/campaigns/{campaign_id}/change": ("?action=pause",),
    "/studies/{study}/changed": ("?seen=x",),
    "/tonight/retry": ("?reason=UNREADABLE",),
}
"""With which questions a route is asked; without a line, with none."""


NUMBERS = {
    "/tonight",
    "/tonight/live",
    "/tonight/retry",
    "/nights",
    "/nights/{night}",
    "/api/counts",
    "/api/tonight",
    "/api/nights",
    "/api/nights/{night}",
    "/api/failures",
}
"""Routes that name no patient and count the studies of sites."""

NUMBERS_SEEN = (NUMBERS - {"/tonight/retry", "/api/failures"}) | {
    "/",
    "/live",
    "/discrepancies",
    "/api/discrepancies/errors",
    "/api/second-looks",
    "/comparisons",
    "/api/comparisons",
    "/api/comparisons/table",
    "/quality",
    "/api/quality",
    "/api/quality/by/{dimension}",
    "/api/quality/drift",
}
"""Where a number of each kind is found. Of what failed there is no kept number to plant."""

OUR_NUMBER, THEIR_NUMBER = 1_000_000, 1_000_000_000_000
"""How many studies each site has of everything; whatever is added up, the sum tells of whom."""

THEIRS_ABOVE = 1_000_000_000
"""Ours are never so many; theirs are, though they be divided by the hours of a night."""


@pytest.fixture
def walk(database, data_dir, setting):
    """Two sites with rows of every kind, and clients by who asks."""
    setting(
        draft_reported_studies=True,
        second_look_controls=0,
        account_requests_per_minute=0,
        token_requests_per_minute=0,
    )
    app = make_app(settings())
    clients, planted = {}, {}
    try:
        for number, (name, code) in enumerate(((THEIRS, "south"), (OURS, "north")), start=1):
            site = make_site(code, senders=[f"RIS|{code.upper()}"])
            with unit_of_work() as session:
                token = programs.create(
                    session, f"{code}.ris", PERMISSIONS[Role.SERVICE], "a test", site_code=code
                )
            client = TestClient(app, base_url="http://localhost", follow_redirects=False)
            client.__enter__()
            client.headers["authorization"] = f"Bearer {token}"
            clients[f"program of {code}"] = client
            planted[name] = {"number": number} | plant(
                name, number, site, code, f"RIS|{code.upper()}", client
            )
        for login, codes in (("north.lead", ["north"]), ("both", ["north", "south", "default"])):
            client = TestClient(app, base_url="http://localhost", follow_redirects=False)
            client.__enter__()
            make_account(login, Role.LEAD, sites=codes)
            client.post("/login", data={"login": login, "password": PASSWORD})
            page = client.get("/account").text
            client.headers["x-form-token"] = re.search(r'name="form-token" content="(\w+)"', page)[
                1
            ]
            clients[login] = client
        yield clients, planted
    finally:
        for client in clients.values():
            client.__exit__(None, None, None)


def fill(route, rows):
    """The path of a route with the ids of planted rows; every parameter has one."""
    ids = {"night": "2026-11-24", "dimension": "site"} | {
        name: str(value) for name, value in rows.items() if name != "resources"
    }
    if route.startswith("/fhir/"):
        ids["resource_id"] = rows["resources"].get(route.split("/")[2], "none")
    return re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], route)


def addresses(rows, name):
    """(route, path, query) of every GET route that shows patients of sites, or may."""
    for (method, route), row in sorted(TABLE.items()):
        if method != "GET" or (row.scope is Scope.NONE and route not in NUMBERS):
            continue
        for query in QUERIES.get(route, ("",)):
            path = fill(route, rows)
            yield route, path, query.format(name=name, **rows)


def found(client, path, query, words):
    """The status of an answer, and those of the words that are in it, beside what was asked for."""
    answer = client.get(path + query)
    text = answer.text
    for asked in (path + query, path):
        text = text.replace(asked, "").replace(asked.replace("&", "&amp;"), "")
    asked_for = (path + query).upper()
    text = text.upper()
    return answer.status_code, {w for w in words if w in text and w not in asked_for}


def marks(rows, name):
    """The planted name, and our ids of the planted rows."""
    ids = {str(value).upper() for value in rows.values() if len(str(value)) == 36}
    assert len(ids) >= 7
    return ids | {name}


def test_no_route_shows_anything_of_another_site(walk):
    clients, planted = walk
    theirs = planted[THEIRS]
    for who in ("north.lead", "program of north"):
        for route, path, query in addresses(theirs, THEIRS):
            status, shown = found(clients[who], path, query, marks(theirs, THEIRS))
            assert not shown, (who, path, query, shown)
            assert status < 500, (who, path, query)
            is_of_one = re.search(r"\{(?!digest|dimension)", route) and route not in NUMBERS
            is_of_one = is_of_one or "campaign=" in query  # a model is of no site
            if is_of_one:
                assert status in (403, 404), (who, path, query, status)


def test_the_walk_finds_what_may_be_seen(walk):
    """Without this, a walk that asks wrongly would find nothing, whatever is shown."""
    clients, planted = walk
    seen = {"both": set(), "north.lead": set(), "program of south": set()}
    for who, name in (("both", THEIRS), ("north.lead", OURS), ("program of south", THEIRS)):
        for route, path, query in addresses(planted[name], name):
            status, shown = found(clients[who], path, query, {name})
            if shown:
                assert status == 200, (who, path)
                seen[who].add(route)
    assert seen["both"] >= SEEN_BY_BOTH
    assert seen["north.lead"] >= SEEN_BY_BOTH
    fhir = {f"/fhir/{kind}/{{resource_id}}" for kind in planted[THEIRS]["resources"]}
    assert fhir <= seen["program of south"]
    # Persons of hospitals do not send orders.
    assert not fhir & seen["both"]


def plant_numbers(planted, setting):
    """Let each site have its number of everything that is counted; returns the night before."""
    now = dt.datetime.now(dt.UTC)
    begins, ends = now - dt.timedelta(hours=6), now + dt.timedelta(hours=6)
    setting(time_zone="UTC", night_hours=f"{begins:%H}:00-{ends:%H}:00")
    for name, number in ((OURS, OUR_NUMBER), (THEIRS, THEIR_NUMBER)):
        rows = planted[name]
        code = site_of("studies", rows["study"])
        ((site,),) = run_sql("SELECT id FROM sites WHERE code = :code", code=code)
        for state in ("WAITING", "DRAFTED", "HELD", "FAILED"):
            run_sql(
                "INSERT INTO tallies (kind, name, site_id, number)"
                " VALUES ('STUDIES', :state, :site, :number)",
                state=state,
                site=site,
                number=number,
            )
        run_sql(
            "INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)"
            " VALUES (:campaign, now() - interval '1 day', 'WAITING', '', :number)",
            campaign=rows["campaign_id"],
            number=number,
        )
        for kept, day, numbers in (
            ("quality_counts (month, view, device, age_group, sex, arm, numbers,",
             "date_trunc('month', now())::date, 'PA', 'FIXED', 'FROM_40', 'F', 'WITH_DRAFT',",
             # More cannot be unedited than was made of a draft.
             f"array_fill(CAST(:number AS bigint), ARRAY[{PLACES['own_text'] - 1}])"
             f" || array_fill(0::bigint, ARRAY[{len(CELLS) - PLACES['own_text'] + 1}]),"),
            ("quality_days (day, watched, differing,", "now()::date,", ":number, :number,"),
        ):  # fmt: skip
            run_sql(
                f"INSERT INTO {kept} bundle_digest, site_id)"
                f" SELECT {day} {numbers} 'bundle', :site",
                number=number,
                site=site,
            )
        of_errors = [("", "COMPARED"), ("Edema", "SAID"), ("Edema", "MISSED")]
        for observation, counted in of_errors:
            run_sql(
                "INSERT INTO model_error_tallies (observation, counted, site_id, number)"
                " VALUES (:observation, :counted, :site, :number)",
                observation=observation,
                counted=counted,
                site=site,
                number=number,
            )
        for observation, outcome in (("", ""), ("Edema", "BOTH"), ("Edema", "FIRST")):
            run_sql(
                "INSERT INTO draft_comparison_tallies"
                " (first_bundle, second_bundle, observation, outcome, site_id, number)"
                " VALUES ('bundle', 'B', :observation, :outcome, :site, :number)",
                observation=observation,
                outcome=outcome,
                site=site,
                number=number,
            )
        for state in ("OPEN", "CONFIRMED"):
            run_sql(
                "INSERT INTO discrepancy_tallies (side, state, site_id, number)"
                " VALUES ('MISS_OF_REPORT', :state, :site, :number)",
                state=state,
                site=site,
                number=number,
            )
        for kind in WorkKind:
            # Not in this quarter of an hour, nor in the one before: the pace of the workers is
            # everybody's.
            for hours in (2, 24):
                at = now - dt.timedelta(hours=hours)
                add_work(at, kind, number, reason="UNREADABLE", worker="draft@gpu-1", site_id=site)
    with unit_of_work() as session:
        (night,) = night_summaries.make_due(session, settings())
    return night


def numbers_in(client, path, query):
    """The status of an answer, and the largest number that is in it."""
    answer = client.get(path + query)
    # The time left is of the whole system, as the pace is.
    text = re.sub(r'"seconds_left":[\d.]+', "", answer.text)
    written = re.findall(r'(?<![\w.,"-])(\d{1,3}(?:,\d{3})+|\d{7,})(?![\w"-])', text)
    short = re.findall(r"\b\d(?:\.\d+)?e\+\d+\b", text)
    numbers = [int(number.replace(",", "")) for number in written] + [float(n) for n in short]
    return answer.status_code, max(numbers, default=0)


def test_no_route_counts_anything_of_another_site(walk, setting):
    clients, planted = walk
    night = plant_numbers(planted, setting)
    seen = {"north.lead": set(), "program of north": set(), "both": set()}
    for who, routes in seen.items():
        for route, path, query in addresses(planted[OURS] | {"night": night}, OURS):
            status, largest = numbers_in(clients[who], path, query)
            assert status < 500, (who, path, query)
            is_seen = largest >= THEIRS_ABOVE
            if who == "both" and is_seen:
                routes.add(route)
            elif who != "both":
                assert not is_seen, (who, path, query, largest)
                if largest >= OUR_NUMBER:
                    routes.add(route)
    # Without this, a walk that looks wrongly would find nothing, whatever is counted.
    assert seen["both"] >= NUMBERS_SEEN
    assert seen["north.lead"] >= NUMBERS_SEEN


def test_nothing_of_another_site_is_changed(walk):
    clients, planted = walk
    theirs = planted[THEIRS] | dict.fromkeys(("access_id", "view_id"), planted[THEIRS]["study"])
    tables = ("events", "orders", "received_messages", "campaigns", "discrepancies", "holds")
    tables += ("mode_proposals",)
    tables += ("reviews", "readings", "worklist_views", "report_scores")
    tables += ("reviews", "readings", "worklist_views", "report_styles")
    sections = [{"section": name, "heading": "x"} for name in ("findings", "impression")]
    style = {"name": "x", "sections": sections, "version": 1}
    before = [run_sql(f"SELECT * FROM {table} ORDER BY id") for table in tables]
    bodies = {
        "decision": {"decision": "CANCEL", "holds": [str(theirs["hold"])]},
        "withdraw": {"reason": "x", "draft": str(theirs["study"])},
        "reinstate": {"note": "x"},
        "settle": {},
        "consent": {},
        "refuse": {"note": "x"},
        "cancel": {},
        "answer": {"verdict": "CONFIRMED"},
        "site": {"site": "north", "because": "x"},
        "working-text": {"findings": "x", "impression": "x"},
        "send": {"to": "SUBMITTED"},
        "discard": {},
        "sign": {"draft": str(theirs["study"]), "version": 0, "sha256": "0" * 64},
        "reject": {"draft": str(theirs["study"]), "reason": "WRONG_SIDE"},
        "addendum": {"text": "x"},
        "countersign": {},
        "score": {"score": "1"},
        "{code}": style,
        "end": {"version": 1},
        "retry": {"state": "MISSING", "reason": "NOT_HERE"},
    }
    order = {
        "sender": "x",
        "patient_id": "P1",
        "placer_order_number": "1",
        "accession_numbers": ["A1"],
    }
    tried = 0
    for who in ("north.lead", "program of north"):
        for method, route in sorted(TABLE):
            if method == "GET" or "{" not in route or not route.startswith("/api/"):
                continue
            if "{digest}" in route:  # a model is of no site: whoever sees it fail stops it
                continue
            body = bodies.get(route.rpartition("/")[2], order if method == "PUT" else None)
            headers = {"if-match": f'"{theirs["study"]}-1"'}
            answer = clients[who].request(method, fill(route, theirs), json=body, headers=headers)
            assert answer.status_code in (403, 404), (who, route, answer.text)
            tried += answer.status_code == 404
    assert tried >= 15
    forms = {
        "/campaigns/{campaign_id}/change": {"action": "pause"},
        "/messages/{message_id}/settle": {},
        "/mode-proposals/{proposal_id}/decision": {"answer": "consent"},
        "/report-styles/sites/{code}": {"version": "1", "then": "end"},
        "/second-look/{discrepancy_id}/answer": {"verdict": "CONFIRMED"},
    }
    for route, form in forms.items():
        answer = clients["north.lead"].post(fill(route, theirs), data=form)
        assert answer.status_code == 404, (route, answer.text)
    assert [run_sql(f"SELECT * FROM {table} ORDER BY id") for table in tables] == before

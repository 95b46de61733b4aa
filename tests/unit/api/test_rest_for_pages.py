"""Whatever a page can do, a call of REST can do: each form and each page has its call."""

from functools import cache

import pytest

from api.access.table import TABLE
from api.app import make_app
from records.settings import settings

FORMS = {
    "/emergency": ["POST /api/emergency-accesses"],
    "/emergency/{access_id}/end": ["DELETE /api/emergency-accesses/{access_id}"],
    "/worklist/views": ["POST /api/worklist/views"],
    "/worklist/views/{view_id}/remove": ["DELETE /api/worklist/views/{view_id}"],
    "/worklist/change": ["POST /api/worklist/plan"],
    "/worklist/change/confirmed": ["POST /api/worklist/changes"],
    "/holds": ["POST /api/holds/decision"],
    "/studies/{study}/decision": ["POST /api/studies/{uid}/decision"],
    "/studies/{study}/withdraw": ["POST /api/studies/{uid}/withdraw"],
    "/studies/{study}/reinstate": ["POST /api/studies/{uid}/reinstate"],
    "/studies/{study}/retry": ["POST /api/studies/{uid}/retry"],
    "/studies/{study}/site": ["POST /api/studies/{uid}/site"],
    "/studies/{study}/release": ["POST /api/studies/{uid}/release"],
    "/studies/{study}/lock": ["POST /api/studies/{uid}/lock"],
    "/studies/{study}/unlock": ["DELETE /api/studies/{uid}/lock"],
    "/studies/{study}/text": [
        "PUT /api/studies/{uid}/working-text",
        "POST /api/studies/{uid}/working-text/send",
        "POST /api/studies/{uid}/working-text/discard",
    ],
    "/studies/{study}/show-draft": ["POST /api/studies/{uid}/reviews/show-draft"],
    "/studies/{study}/sign": ["POST /api/studies/{uid}/reviews/sign"],
    "/studies/{study}/reject": ["POST /api/studies/{uid}/reviews/reject"],
    "/studies/{study}/addendum": ["POST /api/studies/{uid}/reviews/{review_id}/addendum"],
    "/studies/{study}/countersign": ["POST /api/studies/{uid}/reviews/{review_id}/countersign"],
    "/studies/{study}/score": ["POST /api/studies/{uid}/reviews/{review_id}/score"],
    "/second-look": ["POST /api/second-looks"],
    "/second-look/{discrepancy_id}/answer": ["POST /api/second-looks/{discrepancy_id}/answer"],
    "/messages/{message_id}/settle": ["POST /api/messages/{message_id}/settle"],
    "/campaigns/new": ["POST /api/campaigns", "POST /api/campaigns/dry-run"],
    "/campaigns/{campaign_id}/change": [
        f"POST /api/campaigns/{{campaign_id}}/{action}"
        for action in ("pause", "resume", "cancel", "retry")
    ],
    "/report-styles/own": ["PUT /api/report-styles/own", "POST /api/report-styles/own/end"],
    "/report-styles/sites/{code}": [
        "PUT /api/report-styles/sites/{code}",
        "POST /api/report-styles/sites/{code}/end",
    ],
    "/models/{digest}/stop": ["POST /api/models/{digest}/stop"],
    "/models/{digest}/lift": ["POST /api/models/{digest}/lift"],
    "/mode-proposals": ["POST /api/mode-proposals"],
    "/mode-proposals/{proposal_id}/decision": [
        "POST /api/mode-proposals/{proposal_id}/consent",
        "POST /api/mode-proposals/{proposal_id}/refuse",
    ],
    "/tonight/retry": ["POST /api/failures/retry"],
}

LOGIN = "A person logs in by a browser; a program has a token or a key (/auth/token)."
OWN = "A person's own password, second factor and sessions, which a program must not reach."
FORMS_WITHOUT_REST = {
    "/login": LOGIN,
    "/link/{token}": LOGIN,
    "/login/oidc/backchannel-logout": "The identity provider's own call (OpenID Connect).",
    "/logout": OWN,
    "/again": OWN,
    "/account/password": OWN,
    "/account/second-factor": OWN,
    "/account/second-factor/confirm": OWN,
    "/account/second-factor/remove": OWN,
    "/account/sessions": OWN,
}

PAGES = {
    "/account": ["GET /api/session"],
    "/": ["GET /api/worklist", "GET /api/worklist/views", "GET /api/counts", "GET /api/parts"],
    "/live": ["GET /api/worklist", "GET /api/counts", "GET /api/parts"],
    "/studies/{study}/next": ["GET /api/studies/{uid}/neighbours"],
    "/studies/{study}/previous": ["GET /api/studies/{uid}/neighbours"],
    "/studies/{study}": [
        "GET /api/studies/{uid}",
        "GET /api/studies/{uid}/films",
        "GET /api/studies/{uid}/working-text",
        "GET /api/studies/{uid}/reviews",
    ],
    "/studies/{study}/changed": ["GET /api/studies/{uid}"],
    "/studies/{study}/views/{instance}.jpg": [
        "GET /api/studies/{uid}/instances/{instance}/picture"
    ],
    "/studies/{study}/instances/{instance}/pixels": [
        "GET /api/studies/{uid}/instances/{instance}/pixels"
    ],
    "/studies/{study}/differences": ["GET /api/studies/{uid}/working-text/differences"],
    "/studies/{study}/checks": ["GET /api/studies/{uid}/working-text/checks"],
    "/studies/{study}/house-wordings": ["GET /api/studies/{uid}/working-text"],
    "/studies/{study}/sign": ["GET /api/studies/{uid}/working-text"],
    "/holds": ["GET /api/holds"],
    "/orders": ["GET /api/orders"],
    "/orders/{order_id}": ["GET /api/orders/{order_id}"],
    "/reports": ["GET /api/reports"],
    "/reports/{report_id}": ["GET /api/reports/{report_id}"],
    "/discrepancies": ["GET /api/discrepancies", "GET /api/discrepancies/errors"],
    "/discrepancies/{discrepancy_id}": ["GET /api/discrepancies/{discrepancy_id}"],
    "/comparisons": ["GET /api/comparisons", "GET /api/comparisons/table"],
    "/comparisons/{comparison_id}": ["GET /api/comparisons/drafts/{comparison_id}"],
    "/second-look": ["GET /api/second-looks"],
    "/second-look/{discrepancy_id}": ["POST /api/second-looks"],
    "/messages": ["GET /api/messages"],
    "/messages/{message_id}": ["GET /api/messages/{message_id}"],
    "/campaigns": ["GET /api/campaigns"],
    "/campaigns/live": ["GET /api/campaigns"],
    "/campaigns/{campaign_id}": [
        "GET /api/campaigns/{campaign_id}",
        "GET /api/campaigns/{campaign_id}/studies",
    ],
    "/campaigns/{campaign_id}/live": ["GET /api/campaigns/{campaign_id}"],
    "/campaigns/{campaign_id}/change": ["GET /api/campaigns/{campaign_id}"],
    "/quality": ["GET /api/quality", "GET /api/quality/by/{dimension}", "GET /api/quality/drift"],
    "/report-styles": ["GET /api/report-styles"],
    "/report-styles/own": ["GET /api/report-styles/own"],
    "/report-styles/sites/{code}": ["GET /api/report-styles/sites/{code}"],
    "/models": ["GET /api/models"],
    "/models/{digest}/drafts": ["GET /api/models/{digest}/drafts"],
    "/tonight": ["GET /api/tonight", "GET /api/failures"],
    "/tonight/live": ["GET /api/tonight"],
    "/tonight/retry": ["GET /api/failures"],
    "/nights": ["GET /api/nights"],
    "/nights/{night}": ["GET /api/nights/{night}"],
    "/refusals": ["GET /api/refusals"],
    "/trail": ["GET /api/trail"],
}
PAGES_WITHOUT_REST = {
    **dict.fromkeys(
        ["/login", "/login/oidc", "/login/oidc/callback", "/login/oidc/logged-out"], LOGIN
    ),
    "/link/{token}": LOGIN,
    **dict.fromkeys(["/again", "/again/oidc", "/account/second-factor"], OWN),
    "/emergency": "An empty form.",
    "/campaigns/new": "An empty form.",
    "/runbook": "A page of the manual.",
}
OTHER_SYSTEMS = ("/api/", "/fhir", "/auth/", "/.well-known/", "/healthz", "/readyz", "/metrics")


@cache
def described():
    """The addresses of the OpenAPI document, which takes a second to make."""
    return make_app(settings()).openapi()["paths"]


def addresses(method):
    return {path for verb, path in TABLE if verb == method and not path.startswith(OTHER_SYSTEMS)}


@pytest.mark.parametrize(
    ("method", "calls", "without"),
    [("POST", FORMS, FORMS_WITHOUT_REST), ("GET", PAGES, PAGES_WITHOUT_REST)],
    ids=["forms", "pages"],
)
def test_each_has_its_call_or_a_reason(method, calls, without):
    assert not set(calls) & set(without)
    assert addresses(method) == set(calls) | set(without)


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [("POST", path, call) for path, calls in FORMS.items() for call in calls]
    + [("GET", path, call) for path, calls in PAGES.items() for call in calls],
)
def test_a_call_needs_what_the_page_needs_and_is_described(method, path, call):
    page, rest = TABLE[(method, path)], TABLE[tuple(call.split())]
    if path not in MIXED:
        assert (page.needs, page.scope) == (rest.needs, rest.scope)
    verb, address = call.split()
    assert verb.lower() in described()[address]


MIXED = {
    "/": "It shows parts and counts to who may see them.",
    "/live": "As the worklist.",
    "/quality": "It shows the drift to who manages models.",
    "/studies/{study}": "It shows each part to who may see it.",
    "/studies/{study}/sign": "A trainee may read the text, too.",
    "/campaigns/{campaign_id}/change": "Its number is read by who may only look, too.",
    "/tonight/retry": "The groups are numbers without patients.",
}
"""Pages whose calls need something else than the page, and why."""

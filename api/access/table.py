"""The table of routes: which permission each page and call needs, and whose patients it shows.

Every route of the application has one row. What has no row is refused, whoever asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from api.access.visitor import Visitor
from records.accounts.roles import PERMISSIONS
from records.states import ActorKind, Permission, Role


class Door(StrEnum):
    """Who is let in where no permission is asked for."""

    PUBLIC = "PUBLIC"  # everybody: what is needed to log in, and whether the process lives
    LOGGED_IN = "LOGGED_IN"  # every person, to his or her own account


class Scope(StrEnum):
    """Whose patients an answer may show; `api.looks` lets no other one leave."""

    NONE = "NONE"  # nobody's: it shows no patients
    SITES = "SITES"  # those of the visitor's sites; the queries leave all others out


@dataclass(frozen=True, slots=True)
class Row:
    """What one route needs.

    Attributes:
        needs: the permission, or the door.
        scope: whose patients the answer may show.
        is_use: whether a person asks for it. What a page asks by itself keeps no login open.
        is_probe: whether the networks of NIGHTDRAFT_PROBE_NETWORKS need nothing.
        is_fhir: whether scopes of FHIR are enough; the route looks which ones.
    """

    needs: Permission | Door
    scope: Scope = Scope.NONE
    is_use: bool = True
    is_probe: bool = False
    is_fhir: bool = False


_PUBLIC = Row(Door.PUBLIC)
_OWN = Row(Door.LOGGED_IN)
_PROBE = Row(Permission.READ_PROBES, is_probe=True)
_STUDIES = Row(Permission.READ_STUDIES, Scope.SITES)
_STUDIES_POLLED = Row(Permission.READ_STUDIES, Scope.SITES, is_use=False)
_IMAGES = Row(Permission.SEE_IMAGES, Scope.SITES)
_EMERGENCIES = Row(Permission.OPEN_EMERGENCIES)
_HOLDS = Row(Permission.DECIDE_HOLDS, Scope.SITES)
_WORK = Row(Permission.CHANGE_WORK, Scope.SITES)
_EDITED = Row(Permission.EDIT_REPORTS, Scope.SITES)
_SIGNED = Row(Permission.SIGN_REPORTS, Scope.SITES)
_SECOND_LOOKS = Row(Permission.ANSWER_SECOND_LOOKS, Scope.SITES)
_MESSAGES = Row(Permission.READ_MESSAGES, Scope.SITES)
_SETTLED = Row(Permission.SETTLE_MESSAGES, Scope.SITES)
_CAMPAIGNS = Row(Permission.READ_CAMPAIGNS, Scope.SITES)
_CAMPAIGNS_POLLED = Row(Permission.READ_CAMPAIGNS, Scope.SITES, is_use=False)
_CAMPAIGNS_CHANGED = Row(Permission.MANAGE_CAMPAIGNS, Scope.SITES)
_MODELS = Row(Permission.MANAGE_MODELS)
_OWN_STYLE = Row(Permission.EDIT_REPORTS)
_SITE_STYLES = Row(Permission.MANAGE_STYLES)
_ORDERS_SENT = Row(Permission.SEND_ORDERS, Scope.SITES)
_FHIR = Row(Permission.SEND_ORDERS, Scope.SITES, is_fhir=True)
_OPERATIONS = Row(Permission.READ_OPERATIONS)
_OPERATIONS_POLLED = Row(Permission.READ_OPERATIONS, is_use=False)

BACKCHANNEL_LOGOUT_PATH = "/login/oidc/backchannel-logout"
"""To which the identity provider posts logouts."""

_FHIR_TYPES = (
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Encounter",
    "Condition",
    "Observation",
    "ImagingStudy",
    "ServiceRequest",
    "DiagnosticReport",
)

TABLE: dict[tuple[str, str], Row] = {
    # Before a login.
    ("GET", "/healthz"): _PUBLIC,
    ("GET", "/login"): _PUBLIC,
    ("POST", "/login"): _PUBLIC,
    ("GET", "/login/oidc"): _PUBLIC,
    ("GET", "/login/oidc/callback"): _PUBLIC,
    ("GET", "/login/oidc/logged-out"): _PUBLIC,
    ("POST", BACKCHANNEL_LOGOUT_PATH): _PUBLIC,
    ("GET", "/link/{token}"): _PUBLIC,
    ("POST", "/link/{token}"): _PUBLIC,
    ("POST", "/auth/token"): _PUBLIC,
    ("GET", "/.well-known/smart-configuration"): _PUBLIC,
    ("GET", "/fhir/.well-known/smart-configuration"): _PUBLIC,
    # One's own account.
    ("POST", "/logout"): _OWN,
    ("GET", "/again"): _OWN,
    ("POST", "/again"): _OWN,
    ("GET", "/again/oidc"): _OWN,
    ("GET", "/account"): _OWN,
    ("POST", "/account/password"): _OWN,
    ("GET", "/account/second-factor"): _OWN,
    ("POST", "/account/second-factor"): _OWN,
    ("POST", "/account/second-factor/confirm"): _OWN,
    ("POST", "/account/second-factor/remove"): _OWN,
    ("POST", "/account/sessions"): _OWN,
    ("GET", "/api/session"): _OWN,
    # Programs that watch.
    ("GET", "/readyz"): _PROBE,
    ("GET", "/metrics"): _PROBE,
    # Studies.
    ("GET", "/"): _STUDIES,
    ("GET", "/live"): _STUDIES_POLLED,
    ("POST", "/worklist/views"): _STUDIES,
    ("POST", "/worklist/views/{view_id}/remove"): _STUDIES,
    ("POST", "/worklist/change"): _WORK,
    ("POST", "/worklist/change/confirmed"): _WORK,
    ("GET", "/studies/{study}/next"): _STUDIES,
    ("GET", "/studies/{study}/previous"): _STUDIES,
    ("POST", "/studies/{study}/lock"): _STUDIES_POLLED,
    ("POST", "/studies/{study}/unlock"): _STUDIES_POLLED,
    ("GET", "/api/worklist"): _STUDIES,
    ("GET", "/api/worklist/views"): _STUDIES,
    ("POST", "/api/worklist/views"): _STUDIES,
    ("DELETE", "/api/worklist/views/{view_id}"): _STUDIES,
    ("POST", "/api/worklist/plan"): _WORK,
    ("POST", "/api/worklist/changes"): _WORK,
    ("GET", "/api/studies/{uid}/neighbours"): _STUDIES,
    ("POST", "/api/studies/{uid}/lock"): _STUDIES,
    ("DELETE", "/api/studies/{uid}/lock"): _STUDIES,
    ("GET", "/studies/{study}"): _STUDIES,
    ("GET", "/studies/{study}/changed"): _STUDIES_POLLED,
    ("GET", "/studies/{study}/views/{instance}.jpg"): _IMAGES,
    ("GET", "/studies/{study}/instances/{instance}/pixels"): _IMAGES,
    ("POST", "/studies/{study}/decision"): _HOLDS,
    ("POST", "/studies/{study}/withdraw"): _WORK,
    ("POST", "/studies/{study}/reinstate"): _WORK,
    ("POST", "/studies/{study}/retry"): _WORK,
    ("POST", "/studies/{study}/site"): _HOLDS,
    ("POST", "/studies/{study}/release"): _WORK,
    ("GET", "/holds"): _STUDIES,
    ("POST", "/holds"): _HOLDS,
    ("GET", "/api/studies"): _STUDIES,
    ("GET", "/api/studies/{uid}"): _STUDIES,
    ("GET", "/api/studies/{uid}/films"): _IMAGES,
    ("GET", "/api/studies/{uid}/instances/{instance}/pixels"): _IMAGES,
    ("GET", "/api/studies/{uid}/instances/{instance}/picture"): _IMAGES,
    ("POST", "/api/studies/{uid}/release"): _WORK,
    ("POST", "/api/studies/{uid}/retry"): _WORK,
    ("POST", "/api/studies/{uid}/decision"): _HOLDS,
    ("POST", "/api/studies/{uid}/withdraw"): _WORK,
    ("POST", "/api/studies/{uid}/reinstate"): _WORK,
    ("POST", "/api/studies/{uid}/site"): _HOLDS,
    # Texts in work, signatures, and what follows them.
    ("POST", "/studies/{study}/text"): _EDITED,
    ("POST", "/studies/{study}/show-draft"): _EDITED,
    ("GET", "/studies/{study}/differences"): _EDITED,
    ("GET", "/studies/{study}/checks"): _EDITED,
    ("GET", "/studies/{study}/house-wordings"): _EDITED,
    ("GET", "/studies/{study}/sign"): _SIGNED,
    ("POST", "/studies/{study}/sign"): _SIGNED,
    ("POST", "/studies/{study}/reject"): _SIGNED,
    ("POST", "/studies/{study}/addendum"): _SIGNED,
    ("POST", "/studies/{study}/countersign"): _SIGNED,
    ("POST", "/studies/{study}/score"): _SIGNED,
    ("GET", "/api/studies/{uid}/working-text"): _EDITED,
    ("GET", "/api/studies/{uid}/working-text/checks"): _EDITED,
    ("GET", "/api/studies/{uid}/working-text/differences"): _EDITED,
    ("PUT", "/api/studies/{uid}/working-text"): _EDITED,
    ("POST", "/api/studies/{uid}/working-text/send"): _EDITED,
    ("POST", "/api/studies/{uid}/working-text/discard"): _EDITED,
    ("GET", "/api/studies/{uid}/reviews"): _STUDIES,
    ("POST", "/api/studies/{uid}/reviews/show-draft"): _EDITED,
    ("POST", "/api/studies/{uid}/reviews/sign"): _SIGNED,
    ("POST", "/api/studies/{uid}/reviews/reject"): _SIGNED,
    ("POST", "/api/studies/{uid}/reviews/{review_id}/addendum"): _SIGNED,
    ("POST", "/api/studies/{uid}/reviews/{review_id}/countersign"): _SIGNED,
    ("POST", "/api/studies/{uid}/reviews/{review_id}/score"): _SIGNED,
    ("GET", "/api/holds"): _STUDIES,
    ("POST", "/api/holds/decision"): _HOLDS,
    # Patients of other sites, in an emergency: until one is opened, nobody is shown.
    ("GET", "/emergency"): _EMERGENCIES,
    ("POST", "/emergency"): _EMERGENCIES,
    ("POST", "/emergency/{access_id}/end"): _EMERGENCIES,
    ("POST", "/api/emergency-accesses"): _EMERGENCIES,
    ("DELETE", "/api/emergency-accesses/{access_id}"): _EMERGENCIES,
    # Orders and reports of other systems; many belong to no study yet.
    ("GET", "/orders"): _STUDIES,
    ("GET", "/orders/{order_id}"): _STUDIES,
    ("GET", "/reports"): _STUDIES,
    ("GET", "/reports/{report_id}"): _STUDIES,
    ("GET", "/api/orders"): _STUDIES,
    ("GET", "/api/orders/{order_id}"): _STUDIES,
    ("POST", "/api/orders"): _ORDERS_SENT,
    ("PUT", "/api/orders/{order_id}"): _ORDERS_SENT,
    ("POST", "/api/orders/{order_id}/cancel"): _ORDERS_SENT,
    ("GET", "/api/reports"): _STUDIES,
    ("GET", "/api/reports/{report_id}"): _STUDIES,
    ("GET", "/fhir/metadata"): Row(Permission.SEND_ORDERS, is_fhir=True),
    ("POST", "/fhir"): _FHIR,
    ("POST", "/fhir/"): _FHIR,
    **{("POST", f"/fhir/{kind}"): _FHIR for kind in _FHIR_TYPES},
    **{("PUT", f"/fhir/{kind}/{{resource_id}}"): _FHIR for kind in _FHIR_TYPES},
    **{("GET", f"/fhir/{kind}/{{resource_id}}"): _FHIR for kind in _FHIR_TYPES},
    # Drafts beside reports, and beside other drafts.
    ("GET", "/discrepancies"): _STUDIES,
    ("GET", "/discrepancies/{discrepancy_id}"): _STUDIES,
    ("GET", "/api/discrepancies"): _STUDIES,
    ("GET", "/api/discrepancies/errors"): _STUDIES,
    ("GET", "/api/discrepancies/{discrepancy_id}"): _STUDIES,
    ("GET", "/comparisons"): _STUDIES,
    ("GET", "/comparisons/{comparison_id}"): _STUDIES,
    ("GET", "/api/comparisons"): _STUDIES,
    ("GET", "/api/comparisons/table"): _STUDIES,
    ("GET", "/api/comparisons/drafts"): _STUDIES,
    ("GET", "/api/comparisons/drafts/{comparison_id}"): _STUDIES,
    ("GET", "/second-look"): _SECOND_LOOKS,
    ("POST", "/second-look"): _SECOND_LOOKS,
    ("GET", "/second-look/{discrepancy_id}"): _SECOND_LOOKS,
    ("POST", "/second-look/{discrepancy_id}/answer"): _SECOND_LOOKS,
    ("GET", "/api/second-looks"): _SECOND_LOOKS,
    ("POST", "/api/second-looks"): _SECOND_LOOKS,
    ("POST", "/api/second-looks/{discrepancy_id}/answer"): _SECOND_LOOKS,
    # Messages that were refused.
    ("GET", "/messages"): _MESSAGES,
    ("GET", "/messages/{message_id}"): _MESSAGES,
    ("POST", "/messages/{message_id}/settle"): _SETTLED,
    ("GET", "/api/messages"): _MESSAGES,
    ("GET", "/api/messages/{message_id}"): _MESSAGES,
    ("POST", "/api/messages/{message_id}/settle"): _SETTLED,
    # Campaigns.
    ("GET", "/campaigns"): _CAMPAIGNS,
    ("GET", "/campaigns/live"): _CAMPAIGNS_POLLED,
    ("GET", "/campaigns/new"): _CAMPAIGNS_CHANGED,
    ("POST", "/campaigns/new"): _CAMPAIGNS_CHANGED,
    ("GET", "/campaigns/{campaign_id}"): _CAMPAIGNS,
    ("GET", "/campaigns/{campaign_id}/live"): _CAMPAIGNS_POLLED,
    ("GET", "/campaigns/{campaign_id}/change"): _CAMPAIGNS_CHANGED,
    ("POST", "/campaigns/{campaign_id}/change"): _CAMPAIGNS_CHANGED,
    ("GET", "/api/campaigns"): _CAMPAIGNS,
    ("POST", "/api/campaigns"): _CAMPAIGNS_CHANGED,
    ("POST", "/api/campaigns/dry-run"): _CAMPAIGNS_CHANGED,
    ("GET", "/api/campaigns/{campaign_id}"): _CAMPAIGNS,
    ("GET", "/api/campaigns/{campaign_id}/studies"): _CAMPAIGNS,
    ("GET", "/api/campaigns/{campaign_id}/export"): _CAMPAIGNS,
    ("POST", "/api/campaigns/{campaign_id}/pause"): _CAMPAIGNS_CHANGED,
    ("POST", "/api/campaigns/{campaign_id}/resume"): _CAMPAIGNS_CHANGED,
    ("POST", "/api/campaigns/{campaign_id}/cancel"): _CAMPAIGNS_CHANGED,
    ("POST", "/api/campaigns/{campaign_id}/retry"): _CAMPAIGNS_CHANGED,
    # Models, and every draft of one.
    ("GET", "/models"): _OPERATIONS,
    ("POST", "/models/{digest}/stop"): _MODELS,
    ("POST", "/models/{digest}/lift"): _MODELS,
    ("GET", "/models/{digest}/drafts"): Row(Permission.MANAGE_MODELS, Scope.SITES),
    ("POST", "/mode-proposals"): _MODELS,
    ("POST", "/mode-proposals/{proposal_id}/decision"): _MODELS,
    ("GET", "/api/models"): _OPERATIONS,
    ("POST", "/api/models/{digest}/stop"): _MODELS,
    ("POST", "/api/models/{digest}/lift"): _MODELS,
    ("GET", "/api/models/{digest}/drafts"): Row(Permission.MANAGE_MODELS, Scope.SITES),
    ("GET", "/api/models/{digest}/drafts.csv"): Row(Permission.MANAGE_MODELS, Scope.SITES),
    ("POST", "/api/mode-proposals"): _MODELS,
    ("POST", "/api/mode-proposals/{proposal_id}/consent"): _MODELS,
    ("POST", "/api/mode-proposals/{proposal_id}/refuse"): _MODELS,
    # What readers made of drafts, in numbers: one's own, or the sum of a lead's sites.
    ("GET", "/quality"): _STUDIES,
    ("GET", "/api/quality"): _STUDIES,
    ("GET", "/api/quality.csv"): _STUDIES,
    ("GET", "/api/quality/by/{dimension}"): _STUDIES,
    ("GET", "/api/quality/drift"): Row(Permission.MANAGE_MODELS, Scope.SITES),
    # Report styles.
    ("GET", "/report-styles"): _OPERATIONS,
    ("GET", "/report-styles/own"): _OWN_STYLE,
    ("POST", "/report-styles/own"): _OWN_STYLE,
    ("GET", "/report-styles/sites/{code}"): _SITE_STYLES,
    ("POST", "/report-styles/sites/{code}"): _SITE_STYLES,
    ("GET", "/api/report-styles"): _OPERATIONS,
    ("GET", "/api/report-styles/own"): _OWN_STYLE,
    ("PUT", "/api/report-styles/own"): _OWN_STYLE,
    ("POST", "/api/report-styles/own/end"): _OWN_STYLE,
    ("GET", "/api/report-styles/sites/{code}"): _SITE_STYLES,
    ("PUT", "/api/report-styles/sites/{code}"): _SITE_STYLES,
    ("POST", "/api/report-styles/sites/{code}/end"): _SITE_STYLES,
    # Parts, nights and numbers, without patients.
    ("GET", "/tonight"): _OPERATIONS,
    ("GET", "/tonight/live"): _OPERATIONS_POLLED,
    ("GET", "/tonight/retry"): _WORK,
    ("POST", "/tonight/retry"): _WORK,
    ("GET", "/nights"): _OPERATIONS,
    ("GET", "/nights/{night}"): _OPERATIONS,
    ("GET", "/refusals"): _OPERATIONS,
    ("GET", "/runbook"): _OPERATIONS,
    ("GET", "/api/counts"): _OPERATIONS,
    ("GET", "/api/refusals"): _OPERATIONS,
    ("GET", "/api/parts"): _OPERATIONS,
    ("GET", "/api/alarms"): _OPERATIONS,
    ("GET", "/api/tonight"): _OPERATIONS,
    ("GET", "/api/nights"): _OPERATIONS,
    ("GET", "/api/nights/{night}"): _OPERATIONS,
    ("GET", "/api/failures"): _OPERATIONS,
    ("POST", "/api/failures/retry"): _WORK,
    # The trail.
    ("GET", "/trail"): Row(Permission.READ_TRAIL),
    ("GET", "/api/trail"): Row(Permission.READ_TRAIL),
    ("GET", "/api/openapi.json"): _OPERATIONS,
    ("GET", "/api/docs"): _OPERATIONS,
}
"""Each route by its method and by its path as the code names it."""

_HOMES = ("/", "/tonight", "/trail", "/account")

_ROLE_WORDS = {
    Role.TRAINEE: "trainees",
    Role.READER: "readers",
    Role.LEAD: "lead readers",
    Role.ADMINISTRATOR: "administrators",
    Role.AUDITOR: "auditors",
}


def allows(row: Row, visitor: Visitor) -> bool:
    """Whether a route may be answered to a visitor."""
    if row.needs is Door.PUBLIC:
        return True
    if row.needs is Door.LOGGED_IN:
        return visitor.session is not None
    if row.needs is Permission.SEND_ORDERS and visitor.fhir is not None and not row.is_fhir:
        return False  # its permission is one for FHIR alone
    return row.needs in visitor.permissions


_PATTERNS = [
    (method, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), row)
    for (method, path), row in sorted(TABLE.items(), key=lambda item: item[0][1].count("{"))
]
"""Each row with what its addresses look like; those without an id come first, as in the routes."""


def find_row(address: str, method: str = "GET") -> Row | None:
    """The row of an address of ours; None where there is none.

    Args:
        address: the path, as a page has it (with ids, query and fragment) or as the code names it.
        method: of HTTP.
    """
    path = re.split("[?#]", address, maxsplit=1)[0]
    return next(
        (row for verb, pattern, row in _PATTERNS if verb == method and pattern.fullmatch(path)),
        None,
    )


def may_open(address: str, visitor: Visitor | None, method: str = "GET") -> bool:
    """Whether a visitor may open a page or send a form; the address is as `find_row` takes it."""
    row = find_row(address, method)
    return row is not None and visitor is not None and allows(row, visitor)


def explain(row: Row, visitor: Visitor) -> str:
    """Who may have a route answered, for a visitor who may not, as a sentence."""
    if isinstance(row.needs, Door):
        return "This is for people: programs have no account page."
    if row.needs in visitor.permissions:
        return "The token of the program is for FHIR alone."
    if visitor.actor.kind is ActorKind.PROGRAM:
        return f"The token of the program does not have the permission {row.needs}."
    words = [word for role, word in _ROLE_WORDS.items() if row.needs in PERMISSIONS[role]]
    if not words:
        return f"This is for programs whose token has the permission {row.needs}."
    named = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    return f"This is for {named}."


def home_of(visitor: Visitor, homes: Iterable[str] = _HOMES) -> str:
    """The page on which a visitor begins: the first of these that he or she may open."""
    return next((path for path in homes if may_open(path, visitor)), "/account")

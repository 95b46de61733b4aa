"""The page on which a campaign is described, tried without creating it, and created."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.campaign_schemas import CampaignDryRun, CampaignRequest
from api.campaigns import create_campaign, look_at
from api.forms import FormFields, validate_form
from api.rendering import render
from records.campaigns import campaigns
from records.database.session import snapshot
from records.errors import NightdraftError, NotAllowed, NotFound, SettingsError, safe_text
from records.pacs import read_pacs_file
from records.settings import settings
from records.states import CAMPAIGN_REASON_SENTENCES, Priority, Purpose
from records.workflow import sites
from records.workflow.site_scope import shows

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")

_PLAIN = (
    *("name", "by", "again", "folder", "pacs", "first_date", "last_date"),
    *("site", "bundle", "priority", "hours", "starts_on", "ends_on", "studies_per_minute"),
)
"""Fields of the form that are fields of the call, under the same name."""


@router.get("/campaigns/new")
def show_form() -> str:
    """The form, empty."""
    return _render({"priority": Priority.BACKLOG.name, "skip_reported": "yes"})


@router.post("/campaigns/new")
def post_form(fields: FormFields) -> Response:
    """Try the campaign and say what it would do, or create it; what is wrong is said above."""
    given = dict(fields)
    try:
        wanted = validate_form(CampaignRequest, _read(given))
        if given.get("do") == "create":
            return RedirectResponse(f"/campaigns/{create_campaign(wanted).id}", status_code=303)
        found = CampaignDryRun.from_found(look_at(wanted))
    except RequestValidationError as error:
        wrong = [f"{entry['loc'][0]}: {entry['msg']}" for entry in error.errors()]
        return HTMLResponse(_render(given, wrong=wrong), 422)
    except (NotAllowed, NotFound, SettingsError) as error:
        return HTMLResponse(_render(given, wrong=[safe_text(error)]), 422)
    return HTMLResponse(_render(given, found=found))


def _read(given: dict[str, str]) -> dict[str, Any]:
    """What the form says, as the call takes it; fields that were left empty are none."""
    values: dict[str, Any] = {name: given[name] for name in _PLAIN if given.get(name)}
    if listed := given.get("studies", "").split():
        values["studies"] = [
            {"study_instance_uid" if _UID.fullmatch(one) else "accession_number": one}
            for one in listed
        ]
    if modalities := re.findall(r"[^,\s]+", given.get("modalities", "")):
        values["modalities"] = modalities
    values["skip_reported"] = bool(given.get("skip_reported"))
    if given.get("beside"):
        values["purpose"] = Purpose.COMPARISON
    return values


def _render(
    given: dict[str, str], *, found: CampaignDryRun | None = None, wrong: list[str] | None = None
) -> str:
    config = settings()
    try:
        known = read_pacs_file(config.pacs_file)
    except NightdraftError:
        known = {}  # a campaign of a PACS is refused with the reason
    with snapshot() as session:
        shown = [site for site in sites.list_all(session) if shows(site.id)]
        may_fetch_everywhere = campaigns.may_fetch_everywhere(session)
        pacs = sorted(name for name in known if campaigns.may_fetch(session, known[name]))
    return render(
        "campaign_new.html",
        given=given,
        sites=shown,
        found=found,
        wrong=wrong or [],
        pacs=pacs,
        has_folders=bool(config.campaign_folders) and may_fetch_everywhere,
        priorities=[priority.name for priority in Priority],
        reasons=CAMPAIGN_REASON_SENTENCES,
    )

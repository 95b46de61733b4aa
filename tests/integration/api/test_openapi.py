"""schemathesis holds REST against its OpenAPI document: every answer must be described there."""

from functools import cache

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from schemathesis.checks import CHECKS
from schemathesis.generation.modes import GenerationMode
from starlette.testclient import TestClient

from api.app import make_app
from records.alarm_kinds import AlarmKind, Channel
from records.database.session import unit_of_work
from records.operations import alarms
from records.operations.troubles import update_troubles
from records.settings import settings

WITH_PARAMETERS = [
    "GET /api/studies",
    "GET /api/studies/{uid}",
    "GET /api/worklist",
    "POST /api/worklist/views",
    "DELETE /api/worklist/views/{view_id}",
    "POST /api/worklist/plan",
    "POST /api/worklist/changes",
    "GET /api/studies/{uid}/neighbours",
    "GET /api/studies/{uid}/films",
    "GET /api/studies/{uid}/instances/{instance}/pixels",
    "GET /api/studies/{uid}/instances/{instance}/picture",
    "POST /api/studies/{uid}/lock",
    "DELETE /api/studies/{uid}/lock",
    "POST /api/studies/{uid}/release",
    "POST /api/studies/{uid}/retry",
    "POST /api/studies/{uid}/decision",
    "POST /api/studies/{uid}/withdraw",
    "POST /api/studies/{uid}/reinstate",
    "POST /api/studies/{uid}/site",
    "GET /api/studies/{uid}/working-text",
    "GET /api/studies/{uid}/working-text/checks",
    "GET /api/studies/{uid}/working-text/differences",
    "PUT /api/studies/{uid}/working-text",
    "POST /api/studies/{uid}/working-text/send",
    "POST /api/studies/{uid}/working-text/discard",
    "GET /api/studies/{uid}/reviews",
    "POST /api/studies/{uid}/reviews/show-draft",
    "POST /api/studies/{uid}/reviews/sign",
    "POST /api/studies/{uid}/reviews/reject",
    "POST /api/studies/{uid}/reviews/{review_id}/addendum",
    "POST /api/studies/{uid}/reviews/{review_id}/countersign",
    "POST /api/studies/{uid}/reviews/{review_id}/score",
    "GET /api/quality",
    "GET /api/quality.csv",
    "GET /api/quality/by/{dimension}",
    "GET /api/holds",
    "POST /api/holds/decision",
    "GET /api/messages",
    "GET /api/messages/{message_id}",
    "POST /api/messages/{message_id}/settle",
    "GET /api/orders",
    "GET /api/orders/{order_id}",
    "POST /api/orders",
    "PUT /api/orders/{order_id}",
    "POST /api/orders/{order_id}/cancel",
    "GET /api/reports",
    "GET /api/reports/{report_id}",
    "POST /api/emergency-accesses",
    "DELETE /api/emergency-accesses/{access_id}",
    "GET /api/discrepancies",
    "GET /api/discrepancies/errors",
    "GET /api/discrepancies/{discrepancy_id}",
    "POST /api/second-looks/{discrepancy_id}/answer",
    "GET /api/comparisons/table",
    "GET /api/comparisons/drafts",
    "GET /api/comparisons/drafts/{comparison_id}",
    "GET /api/trail",
    "GET /api/refusals",
    "GET /api/alarms",
    "GET /api/nights",
    "GET /api/nights/{night}",
    "POST /api/failures/retry",
    "GET /api/campaigns",
    "POST /api/campaigns",
    "POST /api/campaigns/dry-run",
    "GET /api/campaigns/{campaign_id}",
    "GET /api/campaigns/{campaign_id}/studies",
    "GET /api/campaigns/{campaign_id}/export",
    "POST /api/campaigns/{campaign_id}/pause",
    "POST /api/campaigns/{campaign_id}/resume",
    "POST /api/campaigns/{campaign_id}/cancel",
    "POST /api/campaigns/{campaign_id}/retry",
    "GET /api/report-styles/sites/{code}",
    "PUT /api/report-styles/sites/{code}",
    "POST /api/report-styles/sites/{code}/end",
    "PUT /api/report-styles/own",
    "POST /api/report-styles/own/end",
    "POST /api/models/{digest}/stop",
    "POST /api/models/{digest}/lift",
    "GET /api/models/{digest}/drafts",
    "GET /api/models/{digest}/drafts.csv",
    "POST /api/mode-proposals",
    "POST /api/mode-proposals/{proposal_id}/consent",
    "POST /api/mode-proposals/{proposal_id}/refuse",
]
WITHOUT_PARAMETERS = [
    "GET /api/quality/drift",
    "GET /api/session",
    "GET /api/worklist/views",
    "GET /api/report-styles",
    "GET /api/report-styles/own",
    "GET /api/counts",
    "GET /api/parts",
    "GET /api/tonight",
    "GET /api/failures",
    "GET /api/second-looks",
    "POST /api/second-looks",
    "GET /api/comparisons",
    "GET /api/models",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]

few_examples = examples(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def rest(database, broker, data_dir, setting, seeder):
    setting(serve_names="testserver")
    seeder.draft_study(1)
    (study,) = seeder.complete(2)
    seeder.hold(study)
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No room.")
        update_troubles(session, 0, [Channel.EMAIL])
    described = schemathesis.openapi.from_dict(document())
    described.app = make_app(settings())
    return described


@cache
def document():
    """The OpenAPI document as it is sent, the same for every test; it takes a second to make."""
    app = make_app(settings())
    with TestClient(app, base_url="http://localhost") as client:
        return client.get("/api/openapi.json").json()


def test_the_page_lists_every_address(rest):
    operations = [result.ok() for result in rest.get_all_operations()]
    assert sorted(operation.label for operation in operations) == sorted(
        WITH_PARAMETERS + WITHOUT_PARAMETERS
    )


@pytest.mark.parametrize("label", WITH_PARAMETERS + WITHOUT_PARAMETERS)
def test_right_requests_are_answered_as_described(rest, label):
    check(rest, label, GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", WITH_PARAMETERS)
def test_wrong_requests_are_answered_as_described(rest, label):
    check(rest, label, GenerationMode.NEGATIVE)


def is_too_long(response):
    return response.status_code == 413


def is_another_call(response):
    return response.status_code == 422 and "belongs to another call" in response.text


def check(rest, label, mode):
    method, path = label.split()
    operation = rest[path][method]
    # The system is not ready in this test, and 503 is the right answer.
    excluded = [schemathesis.checks.not_a_server_error] if label == "GET /readyz" else []
    if "/working-text" in label and method != "GET":
        # 412 and 428 say that a right call names another text, or none.
        excluded.append(CHECKS.get_one("positive_data_acceptance"))

    @few_examples
    @given(case=operation.as_strategy(generation_mode=mode))
    def check_case(case):
        response = case.call()
        # A text that is much too long is refused by its length, before anybody looks at the rest.
        too_long = [CHECKS.get_one("negative_data_rejection")] if is_too_long(response) else []
        # Two calls that were made up may have the same Idempotency-Key.
        another = [CHECKS.get_one("positive_data_acceptance")] if is_another_call(response) else []
        case.validate_response(response, excluded_checks=[*excluded, *too_long, *another])

    check_case()

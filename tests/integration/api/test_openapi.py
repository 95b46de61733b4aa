"""REST held against its own OpenAPI page by schemathesis: no answer that the page does not know."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from schemathesis.generation.modes import GenerationMode

from api.app import make_app
from records.settings import settings

ASKED_WITH_SOMETHING = [
    "GET /api/studies",
    "GET /api/studies/{uid}",
    "POST /api/studies/{uid}/release",
    "POST /api/studies/{uid}/retry",
    "POST /api/studies/{uid}/decision",
    "GET /api/refusals",
]
ASKED_PLAINLY = ["GET /api/counts", "GET /api/parts", "GET /healthz", "GET /readyz", "GET /metrics"]

few = examples(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def rest(database, broker, data_dir, setting, night):
    setting(serve_names="testserver")
    night.drafted(1)
    (study,) = night.complete(2)
    night.hold(study)
    return schemathesis.openapi.from_asgi("/api/openapi.json", make_app(settings()))


def test_the_page_lists_every_address(rest):
    listed = [found.ok() for found in rest.get_all_operations()]
    assert sorted(operation.label for operation in listed) == sorted(
        ASKED_WITH_SOMETHING + ASKED_PLAINLY
    )


@pytest.mark.parametrize("label", ASKED_WITH_SOMETHING + ASKED_PLAINLY)
def test_right_requests_are_answered_as_described(rest, label):
    _hold(rest, label, GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", ASKED_WITH_SOMETHING)
def test_wrong_requests_are_answered_as_described(rest, label):
    _hold(rest, label, GenerationMode.NEGATIVE)


def _hold(rest, label, mode):
    operation = next(found.ok() for found in rest.get_all_operations() if found.ok().label == label)
    # Nothing is ready here, and that is no fault of the server.
    excluded = [schemathesis.checks.not_a_server_error] if label == "GET /readyz" else []

    @few
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case):
        case.call_and_validate(excluded_checks=excluded)

    holds()

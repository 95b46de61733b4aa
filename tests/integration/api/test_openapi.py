"""REST held against its own OpenAPI page by schemathesis: no answer that the page does not know."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as examples

from api.app import make_app
from records.settings import settings

EXCEPT_READYZ = r"^/(api/|healthz|metrics)"


@pytest.fixture
def rest(database, broker, data_dir, night):
    night.drafted(1)
    (study,) = night.complete(2)
    night.hold(study)
    return schemathesis.openapi.from_asgi("/api/openapi.json", make_app(settings()))


schema = schemathesis.pytest.from_fixture("rest").include(path_regex=EXCEPT_READYZ)


@schema.parametrize()
@examples(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_page_describes(case):
    case.call_and_validate(headers={"host": "localhost"})

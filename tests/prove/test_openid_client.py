"""openid-client, whose signatures are of another library than ours, logs in as a program.

Slow to set up; `make prove-peers` installs it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from records.accounts.programs import ProgramKeys
from tests.acceptance.api.conftest import serve  # noqa: F401  a fixture
from tests.support.accounts import make_account, trail_lines
from tests.support.assertions import EC, RSA, key_set, make_program
from tests.support.node_packages import require_package, run_script

SCRIPT = Path(__file__).with_name("openid_client.js").read_text()


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS384"), (EC, "ES384")])
def test_it_gets_a_token_and_sends_what_its_scope_names(request, free_port, key, algorithm):
    require_package("openid-client")
    start = request.getfixturevalue("serve")
    make_account()
    make_program(keys=ProgramKeys(key_set(RSA, EC)))
    server = start(serve_port=free_port)
    private = json.dumps(key.as_dict(private=True))
    assert run_script(SCRIPT, f"{server.url}/fhir", private, algorithm) == {
        "scope": "system/Patient.cru",
        "seconds": 300,
        "patient": 201,
        "order": 403,
    }
    assert ("LOGIN", "SUCCESS", "PROGRAM", "ris") in [line[:4] for line in trail_lines()]

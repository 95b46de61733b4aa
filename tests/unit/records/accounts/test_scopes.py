"""What is granted of the scopes that a program asks for."""

import pytest

from records.accounts import scopes
from records.accounts.roles import PERMISSIONS
from records.states import Permission, Role

ALL = PERMISSIONS[Role.SERVICE]
ORDERS = {Permission.SEND_ORDERS}


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("system/ServiceRequest.cruds", "system/ServiceRequest.cru"),
        ("system/ServiceRequest.c system/ServiceRequest.r", "system/ServiceRequest.cr"),
        ("system/*.rs", "system/*.r"),
        ("system/Patient.read", "system/Patient.r"),
        ("system/Patient.write", "system/Patient.cu"),
        ("system/*.*", "system/*.cru"),
        ("nightdraft/send_orders", "nightdraft/send_orders"),
        ("nightdraft/send_orders system/Patient.r", "nightdraft/send_orders"),
        (
            "system/Patient.r nightdraft/read_studies system/Group.c",
            "nightdraft/read_studies system/Group.c system/Patient.r",
        ),
    ],
)
def test_scopes_are_granted_as_far_as_they_are_served(asked, granted):
    done = scopes.grant(asked, ALL)
    assert done.text == granted
    assert scopes.grant(done.text, ALL) == done


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "openid",
        "user/Patient.r",
        "patient/Patient.r",
        "system/Patient.ds",
        "system/Patient.rc",  # the letters have an order
        "system/Patient.",
        "system/patient.r",
        "system/Patient.r?status=active",
        "nightdraft/SEND_ORDERS",
        "nightdraft/manage_accounts",
        "send_orders",
        "system/Patient.r;x",
    ],
)
def test_what_is_not_known_or_not_for_programs_is_left_out(asked):
    assert scopes.grant(asked, ALL) == scopes.Granted(frozenset(), None)


def test_nothing_is_granted_that_the_program_may_not():
    assert scopes.grant("system/*.cruds nightdraft/read_studies", ORDERS).text == "system/*.cru"
    done = scopes.grant("system/*.cruds nightdraft/read_studies", {Permission.READ_STUDIES})
    assert done == scopes.Granted(frozenset({Permission.READ_STUDIES}), None)


def test_scopes_of_fhir_limit_it_by_type_and_interaction():
    fhir = scopes.grant("system/ServiceRequest.c system/*.r", ORDERS).fhir
    assert scopes.allows(fhir, "ServiceRequest", "c")
    assert scopes.allows(fhir, "ServiceRequest", "r")
    assert scopes.allows(fhir, "Patient", "r")
    assert not scopes.allows(fhir, "Patient", "c")
    assert not scopes.allows(fhir, "ServiceRequest", "u")
    assert scopes.allows(None, "Patient", "u")


def test_every_scope_that_is_said_to_be_supported_is_granted():
    for scope in scopes.supported(ALL):
        assert scopes.grant(scope, ALL).text == scope

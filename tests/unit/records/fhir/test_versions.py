"""Resources are checked by the models of their version, and no value is quoted."""

import pytest

from records.fhir.elements import ResourceError
from records.fhir.versions import FhirVersion, InvalidResource, check
from tests.support.fhir_resources import patient, service_request


@pytest.mark.parametrize(
    ("resource", "code", "expression"),
    [
        ({}, "structure", "resourceType"),
        ({"resourceType": 7}, "structure", "resourceType"),
        ({"resourceType": "Foo"}, "not-supported", "resourceType"),
        ({"resourceType": "../Patient"}, "structure", "resourceType"),
        (patient(nickname="PLANTED"), "structure", "Patient.nickname"),
        (patient(**{"PLANTED^JANE": 1}), "structure", "Patient"),
        (patient(birthDate="PLANTED"), "value", "Patient.birthDate"),
        (patient(name=[{"family": 7}]), "value", "Patient.name[0].family"),
        (patient(name=[{"family": "a\0b"}]), "value", "Patient.name[0].family"),
        (patient(name=[{"family": "\ud800"}]), "value", "Patient.name[0].family"),
        (patient(multipleBirthInteger=float("inf")), "value", "Patient.multipleBirthInteger"),
        (service_request(subject=None), "structure", "ServiceRequest.subject"),
        (
            {"resourceType": "ServiceRequest", "status": "active", "intent": "order"},
            "required",
            "ServiceRequest.subject",
        ),
        (service_request(contained=[{"resourceType": "Foo"}]), None, "ServiceRequest"),
    ],
)
def test_what_is_wrong_is_named_without_its_value(resource, code, expression):
    with pytest.raises(ResourceError) as raised:
        check(resource, FhirVersion.R4)
    assert raised.value.expression.startswith(expression)
    assert code is None or raised.value.code == code
    assert "PLANTED" not in str(raised.value) + raised.value.expression


def test_several_mistakes_are_named_at_once():
    with pytest.raises(InvalidResource) as raised:
        check(patient(nickname="x", birthDate="never"), FhirVersion.R4)
    assert {path for _, path, _ in raised.value.mistakes} == {
        "Patient.nickname",
        "Patient.birthDate",
    }


@pytest.mark.parametrize("version", FhirVersion)
def test_a_patient_is_the_same_in_each_version(version):
    check(patient(), version)

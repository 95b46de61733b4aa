"""Whatever is wrong with a resource, it is read or refused, and nothing else happens."""

import copy
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from records.fhir.diagnostic_reports import read_diagnostic_report
from records.fhir.elements import ResourceError
from records.fhir.references import ReadingRules
from records.fhir.service_requests import read_service_request
from records.fhir.versions import FhirVersion, check
from tests.support.fhir_resources import diagnostic_report, observation, service_request

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["#p", "Patient/x", "2026", "9999-12-31", "0001-01-01T00:00:00Z", "#"]),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.sampled_from(["reference", "text", "coding", "id"]), st.text(max_size=3)),
)
RULES = ReadingRules(find=lambda _: observation("59776-5", "Clear."))
ORDER = service_request(
    encounter={"reference": "#e"},
    supportingInfo=[{"reference": "Observation/1"}],
    reasonReference=[{"reference": "Condition/1"}],
    locationReference=[{"reference": "Location/1"}],
    occurrenceTiming={"event": ["2026-11-27"]},
    note=[{"text": "x"}],
)
REPORT = diagnostic_report(
    result=[{"reference": "Observation/1"}],
    presentedForm=[{"contentType": "text/html", "data": "PGI+"}],
    basedOn=[{"reference": "ServiceRequest/1"}],
    imagingStudy=[{"reference": "ImagingStudy/1"}],
    performer=[{"reference": "Practitioner/1"}],
)


def places(value, path=()):
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        if isinstance(entry, dict | list):
            yield from places(entry, (*path, key))
        else:
            yield (*path, key)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_damage_is_refused_with_a_reason_or_does_no_harm(data):
    for resource, read in ((ORDER, read_service_request), (REPORT, read_diagnostic_report)):
        damaged = copy.deepcopy(resource)
        for _ in range(data.draw(st.integers(1, 2))):
            *path, key = data.draw(st.sampled_from([p for p in places(damaged) if p]))
            target = damaged
            for step in path:
                target = target[step]
            target[key] = data.draw(JUNK)
        with suppress(ResourceError):
            check(damaged, data.draw(st.sampled_from(FhirVersion)))
        if damaged.get("resourceType") == resource["resourceType"]:
            # A reader relies on no check: a server that is asked may answer anything.
            with suppress(ResourceError):
                read(damaged, RULES, "EHR")

"""Asks a FHIR server for the earlier reports of a study's patient.

The patient is found by identifier, with its system, and nothing else: the same number under another
system is another person. A server may ignore a parameter, so each report's own patient is compared
with the one that was asked for.
"""

from __future__ import annotations

import re
import string
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from intake.queries.asking import Limits, QuestionFailed
from intake.queries.fhir_http import HttpClient, Json, Login, issue_codes, origin_of
from intake.queries.smart_login import SmartLogin
from intake.turns import SystemAway
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import MessageError, SettingsError
from records.failpoints import failpoint
from records.fhir.diagnostic_reports import read_diagnostic_report
from records.fhir.elements import ResourceError, first, items, read_identifiers, text
from records.fhir.references import ReadingRules
from records.fhir.versions import FhirVersion, check
from records.orders import queries
from records.orders.queries import ClaimedQuery
from records.reports.receiving import ReportOutcome, receive_report
from records.reports.report import OutsideReport
from records.settings import Settings
from records.states import QueryKind
from records.tls.contexts import calling_context
from records.workflow.identifiers import PatientId, plain_key

MAX_PAGES = 20
"""Pages of one search that are read."""

MAX_READS = 40
"""Resources that are read one by one for one patient, as reports refer to them."""

MAX_SECONDS = 180.0
"""How long the questions about one patient may take together."""

PAGE_SIZE = 50
_INCLUDED = ("result", "based-on", "subject")
"""Search parameters whose targets are asked for with the reports (FHIR R4, DiagnosticReport)."""


@dataclass(frozen=True, slots=True)
class AskedPatient:
    """The patient of a study, as FHIR finds it: an id, its system, and what DICOM calls that."""

    value: str
    system: str
    issuer: str


class ReportServer:
    """A FHIR server, as `intake.queries.asking.OtherSystem`."""

    kind = QueryKind.REPORTS
    name = "report server"
    alarm_kind = AlarmKind.REPORT_SERVER_AWAY

    def __init__(self, config: Settings) -> None:
        """Read the settings.

        Raises:
            SettingsError: a key, a certificate or a token is missing or cannot be used.
        """
        self.limits = Limits(
            config.reports_per_minute,
            config.reports_attempts,
            config.reports_retry_seconds,
            3600 * config.query_hours,
            config.query_alarm_seconds,
        )
        self._config = config
        self._base = config.reports_url.rstrip("/")
        self._origin = origin_of(self._base)
        context = calling_context(config.reports_ca_file, ("NIGHTDRAFT_REPORTS_CA_FILE", "", ""))
        self._client = HttpClient(context, config.reports_seconds)
        self._login = _make_login(config, self._client)
        self._who = f"the FHIR server {self._origin[1]}"

    def check(self) -> None:
        """Read the CapabilityStatement; every server gives it (FHIR R4, 3.1.0.10)."""
        try:
            self._get(f"{self._base}/metadata?_summary=true")
        except QuestionFailed as error:
            raise SystemAway(str(error)) from None

    def ask(self, query: ClaimedQuery) -> bool:
        """Ask for the reports of one study's patient; see `OtherSystem.ask`."""
        with unit_of_work() as session:
            study = session.get_one(Study, query.study_id)
            given = PatientId(study.patient_id.strip(), study.patient_id_issuer.strip())
        asked = self._asked_patient(given)
        if asked is None:
            sentence = (
                "the report server was not asked: the patient has no id"
                if not given.id
                else "the report server was not asked: the patient's id has no system "
                "(NIGHTDRAFT_REPORTS_PATIENT_SYSTEM, NIGHTDRAFT_FHIR_ISSUERS)"
            )
            with unit_of_work() as session:
                queries.mark_answered(session, query, 0, sentence)
            return True
        reports, unread = self.find(asked)
        failpoint("reports-answered")
        with unit_of_work() as session:
            site_id = session.get_one(Study, query.study_id).site_id
            kept = 0
            for report in reports:
                try:
                    outcome = receive_report(session, report, asked_for=site_id).outcome
                except MessageError:  # it names no patient or number: `find` leaves none through
                    unread += 1
                    continue
                kept += outcome is not ReportOutcome.OWN
            sentence = f"; {unread} could not be read" if unread else ""
            queries.mark_answered(
                session, query, kept, sentence and f"asked the report server: {kept} kept{sentence}"
            )
        return True

    def find(self, asked: AskedPatient) -> tuple[list[OutsideReport], int]:
        """The reports of a patient, newest first, and how many could not be read.

        Raises:
            SystemAway: the server does not answer.
            QuestionFailed: its answers cannot be used.
        """
        search = _Search(self._get, self._base, self._origin, self._who)
        identifier = f"{_escaped(asked.system)}|{_escaped(asked.value)}"
        wanted = {
            "category": self._config.reports_category,
            "code": self._config.reports_code,
            "_sort": "-date",
            "_count": str(min(PAGE_SIZE, self._config.reports_limit)),
        }
        wanted = {name: value for name, value in wanted.items() if value}
        patients: list[dict[str, str]] = []
        if self._config.reports_search == "chained":
            patients = [{"patient.identifier": identifier}]
        else:
            for found in search.run("Patient", {"identifier": identifier}, "Patient", 10):
                if _has_identifier(found, asked) and text(found.get("id")):
                    patients.append({"patient": text(found.get("id"))})
        reports: list[OutsideReport] = []
        unread = 0
        for patient in patients:
            resources = search.run(
                "DiagnosticReport",
                {**patient, **wanted},
                "DiagnosticReport",
                self._config.reports_limit,
                [f"DiagnosticReport:{name}" for name in _INCLUDED],
            )
            for resource in resources:
                try:
                    report = self._read(resource, search)
                except ResourceError:
                    unread += 1
                    continue
                if report is not None and _is_of(report, asked):
                    reports.append(report)
        return reports, unread

    def _read(self, resource: Json, search: _Search) -> OutsideReport | None:
        """One DiagnosticReport; R4 is checked as R4B, and what fails that as R5."""
        if not text(resource.get("id")):
            raise ResourceError("the report has no id", "DiagnosticReport.id", "required")
        try:
            check(resource, FhirVersion.R4B)
        except ResourceError:
            check(resource, FhirVersion.R5)
        rules = ReadingRules(
            self._config.fhir_issuers, self._config.fhir_accession_systems, search.resolve
        )
        address = f"{self._base}/DiagnosticReport/{resource['id']}"
        return read_diagnostic_report(resource, rules, self._origin[1], address)

    def _asked_patient(self, given: PatientId) -> AskedPatient | None:
        """How FHIR names a patient; None where that cannot be said."""
        if not given.id:
            return None
        if not given.issuer:
            system = self._config.reports_patient_system
            issuer = self._config.fhir_issuers.get(system, system)
            return AskedPatient(given.id, system, issuer) if system else None
        for system, issuer in self._config.fhir_issuers.items():
            if plain_key(issuer) == plain_key(given.issuer):
                return AskedPatient(given.id, system, issuer)
        # Where nothing is named, the issuer may be a system itself.
        is_uri = ":" in given.issuer
        return AskedPatient(given.id, given.issuer, given.issuer) if is_uri else None

    def _get(self, url: str) -> Json:
        return self._login.call(self._client, self._who, url)


class _Search:
    """The searches about one patient: pages, included resources, and single ones."""

    def __init__(
        self, get: Callable[[str], Json], base: str, origin: tuple[str, str, int], who: str
    ) -> None:
        self._get = get
        self._base = base
        self._origin = origin
        self._who = who
        self._known: dict[str, Json | None] = {}
        self._reads = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def run(
        self,
        kind: str,
        parameters: dict[str, str],
        wanted: str,
        limit: int,
        includes: list[str] | None = None,
    ) -> list[Json]:
        """The resources of a search, over its pages, up to a limit.

        Raises:
            SystemAway, QuestionFailed: as `HttpClient.call`; a loop of next links is the latter.
        """
        pairs = [*parameters.items(), *(("_include", name) for name in includes or [])]
        url = f"{self._base}/{kind}?{urllib.parse.urlencode(pairs)}"
        seen: set[str] = set()
        found: dict[str, Json] = {}
        while url and len(found) < limit:
            if url in seen:
                raise QuestionFailed(f"the pages of {self._who} lead back to one that was read")
            seen.add(url)
            if len(seen) > MAX_PAGES:
                raise QuestionFailed(f"{self._who} has more than {MAX_PAGES} pages for one patient")
            page = self._call(url)
            if page.get("resourceType") == "OperationOutcome":
                raise QuestionFailed(f"{self._who} answered with an error ({issue_codes(page)})")
            if page.get("resourceType") != "Bundle":
                raise QuestionFailed(f"an answer of {self._who} is no Bundle")
            for entry in items(page.get("entry")):
                resource = first(entry.get("resource"))
                name = f"{text(resource.get('resourceType'))}/{text(resource.get('id'))}"
                if resource.get("resourceType") == wanted:
                    found.setdefault(name, resource)
                self._known[name] = resource
            url = self._next(url, page)
        return list(found.values())[:limit]

    def resolve(self, reference: str) -> Json | None:
        """What a reference names: included before, or read now; None where it is not to be had."""
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", reference):  # it has a scheme (RFC 3986, 3.1)
            if not reference.startswith(f"{self._base}/"):
                return None
            reference = reference[len(self._base) + 1 :]
        if reference in self._known:
            return self._known[reference]
        kind, _, number = reference.partition("/")
        is_name = kind.isalpha() and number and not set(number) & set("/?#")
        if not is_name or self._reads >= MAX_READS:
            return None
        self._reads += 1
        try:
            found = self._call(f"{self._base}/{kind}/{urllib.parse.quote(number)}")
        except (SystemAway, QuestionFailed):
            # A report may refer to what is gone or what we may not read; it is read without.
            found = {}
        self._known[reference] = found if found.get("resourceType") == kind else None
        return self._known[reference]

    def _call(self, url: str) -> Json:
        if time.monotonic() > self._deadline:
            raise SystemAway(f"{self._who} took longer than {MAX_SECONDS:g} s for one patient")
        return self._get(url)

    def _next(self, url: str, page: Json) -> str:
        link = next((x for x in items(page.get("link")) if x.get("relation") == "next"), None)
        if link is None or not text(link.get("url")):
            return ""
        try:
            # Some servers leave blanks and letters as they are, which no address may have.
            following = urllib.parse.urljoin(
                url, urllib.parse.quote(text(link.get("url")), safe=string.punctuation)
            )
            is_here = origin_of(following) == self._origin
        except ValueError:
            raise QuestionFailed(f"a next link of {self._who} is no address") from None
        if not is_here:
            # Our token and the patient's id would go there.
            raise QuestionFailed(
                f"a next link of {self._who} leads to another server than NIGHTDRAFT_REPORTS_URL"
            )
        return following


def _make_login(config: Settings, client: HttpClient) -> Login:
    if config.reports_login == "smart":
        smart = SmartLogin(config, client)
        return Login(smart.token, smart.forget)
    token = config.reports_bearer_token.get_secret_value()
    if config.reports_login == "bearer":
        if not token:
            raise SettingsError("NIGHTDRAFT_REPORTS_BEARER_TOKEN: the login bearer needs it")
        return Login(lambda: token, lambda: None)
    return Login(lambda: "", lambda: None)


def _has_identifier(patient: Json, asked: AskedPatient) -> bool:
    return any(
        (entry.system, plain_key(entry.value)) == (asked.system, plain_key(asked.value))
        for entry in read_identifiers(patient)
    )


def _is_of(report: OutsideReport, asked: AskedPatient) -> bool:
    """Whether a report's own patient is the one that was asked for: id and issuer are equal."""
    ids = (
        PatientId(report.patient.patient_id, report.patient.issuer),
        *report.other_patient_ids,
    )
    return any(
        plain_key(given.id) == plain_key(asked.value)
        and plain_key(given.issuer) == plain_key(asked.issuer)
        for given in ids
    )


def _escaped(value: str) -> str:
    r"""A value of a search parameter: `\`, `,`, `$` and `|` are escaped (FHIR R4, 3.1.1.4.0.1)."""
    for letter in "\\,$|":
        value = value.replace(letter, f"\\{letter}")
    return value

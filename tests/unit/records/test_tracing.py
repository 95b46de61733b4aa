"""Spans: ids and parents, what is missing, a collector that is away, and a forked child."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from records import tracing
from records.errors import SettingsError
from records.tracing import NO_SPAN, begin, flush, is_on, set_up_tracing
from tests.support.tls_servers import BAD_SERVERS, fixed_server, server_context, two_authorities

STUDY = uuid.UUID("0198c1de-0000-7000-8123-456789abcdef")
OTHER = uuid.UUID("0198c1de-0000-7000-8000-000000000002")


@pytest.fixture(autouse=True)
def _no_spans_afterwards():
    yield
    flush()


@pytest.fixture
def sent(monkeypatch):
    """The spans that have ended, by name; it sends them first."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_make_exporter", lambda: exporter)
    set_up_tracing("http://collector.invalid:4318", "draft")

    def spans():
        if tracing._provider is not None:
            tracing._provider[1].force_flush()
        return {span.name: span for span in exporter.get_finished_spans()}

    return spans


def test_without_the_setting_nothing_is_begun_and_nothing_imported():
    code = (
        "import sys, uuid; from records.tracing import begin, flush; "
        "span = begin('draft', uuid.uuid4()); span.note('x'); span.link(uuid.uuid4()); span.end(); "
        "flush(); sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not is_on()
    assert begin("draft", STUDY) is NO_SPAN


def test_the_first_span_has_the_ids_of_what_it_is_about_and_others_hang_below_it(sent):
    begin("prepare", STUDY, study=str(STUDY)).end()
    draft = begin("draft", STUDY)
    generate = begin("generate", STUDY, parent=draft)
    generate.end()
    draft.end()
    begin("arrival", STUDY, is_first=True).end()
    spans = sent()
    first = spans["arrival"]
    assert first.parent is None
    assert (first.context.trace_id, first.context.span_id) == (STUDY.int, 0x8123456789ABCDEF)
    for name in ("prepare", "draft"):
        assert spans[name].context.trace_id == STUDY.int
        assert spans[name].parent.span_id == first.context.span_id
    assert spans["generate"].parent.span_id == spans["draft"].context.span_id
    assert spans["prepare"].attributes == {"nightdraft.study": str(STUDY)}
    assert spans["draft"].resource.attributes["service.name"] == "nightdraft-draft"


def test_a_caller_is_the_parent_and_a_study_is_linked(sent):
    span = begin("GET", OTHER, is_first=True, caller=("ab" * 16, "cd" * 8))
    span.link(STUDY)
    span.note("the server failed", status=500)
    span.end()
    (span,) = sent().values()
    assert span.context.trace_id == int("ab" * 16, 16)
    assert span.parent.span_id == int("cd" * 8, 16)
    assert [link.context.trace_id for link in span.links] == [STUDY.int]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "the server failed"


def test_a_span_can_have_begun_and_ended_some_time_ago(sent):
    begin("wait for draft", STUDY, seconds_ago=100).end(40)
    (span,) = sent().values()
    assert 59 < (span.end_time - span.start_time) / 1e9 < 61
    assert 99 < time.time() - span.start_time / 1e9 < 130


def test_a_forked_child_sends_spans_of_its_own(sent):
    begin("prepare", STUDY).end()
    parent = tracing._provider
    child = os.fork()
    if child == 0:
        begin("prepare", STUDY).end()
        os._exit(0 if tracing._provider is not None and tracing._provider != parent else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_span_that_cannot_be_begun_breaks_nothing(sent, monkeypatch):
    monkeypatch.setattr(tracing, "_process_provider", lambda: 1 / 0)
    assert begin("draft", STUDY) is NO_SPAN


def test_a_collector_that_is_away_holds_the_end_up_for_seconds_at_most(monkeypatch):
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # it takes a connection and never answers
        set_up_tracing(f"http://127.0.0.1:{silent.getsockname()[1]}", "draft")
        begin("draft", STUDY).end()
        monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.2)
        flush()
    assert not is_on()


@pytest.mark.parametrize(
    "missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "opentelemetry"]
)
def test_without_the_libraries_the_start_says_what_to_install(monkeypatch, missing):
    for name in list(sys.modules):
        if name == missing or name.startswith(f"{missing}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match=r"pip install 'nightdraft\[otel\]'"):
        set_up_tracing("http://127.0.0.1:4318", "draft")
    set_up_tracing("", "draft")


# ---- TLS ----

ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    return two_authorities(tmp_path_factory.mktemp("authorities"))


def send_to(kind, authorities, monkeypatch):
    """What a collector got of one span over HTTPS."""
    monkeypatch.setattr(tracing, "_EXPORT_SECONDS", 1.0)
    authority, other = authorities
    with fixed_server(ACCEPTED, server_context(kind, authority, other)) as server:
        set_up_tracing(f"https://127.0.0.1:{server.port}", "draft")
        begin("draft", STUDY).end()
        assert tracing._provider is not None
        tracing._provider[1].force_flush()
        flush()
        return server.requests


@pytest.mark.parametrize("variable", ["OTLP", "OTLP_TRACES"])
def test_spans_go_to_a_collector_whose_certificate_is_good(authorities, monkeypatch, variable):
    monkeypatch.setenv(f"OTEL_EXPORTER_{variable}_CERTIFICATE", str(authorities[0].file))
    (request,) = send_to("good", authorities, monkeypatch)
    assert request.startswith(b"POST /v1/traces ")


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_no_span_goes_to_a_collector_whose_tls_is_bad(authorities, monkeypatch, kind):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(authorities[0].file))
    assert send_to(kind, authorities, monkeypatch) == []


def test_the_authorities_of_requests_do_not_count(authorities, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authorities[0].file))
    assert send_to("good", authorities, monkeypatch) == []


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE"]
)
def test_a_file_of_the_tls_that_cannot_be_used_is_named_at_the_start(monkeypatch, variable):
    monkeypatch.setenv(variable, "/none.pem")
    with pytest.raises(SettingsError, match=variable):
        set_up_tracing("https://collector.invalid:4318", "draft")
    set_up_tracing("http://collector.invalid:4318", "draft")

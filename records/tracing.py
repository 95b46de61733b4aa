"""Spans of OpenTelemetry, sent where NIGHTDRAFT_OTLP_ENDPOINT says; none where it says nothing.

A trace has the id of what it is about: a study's is `records.telemetry.trace_id`, and so is that of
an association or of a call of REST. The first span of a trace has the last half of that id. So any
process can hang its span below the first one, which another process has sent or will send.

Spans have our own ids and words of our own vocabulary, never a patient. Without the setting no
module of OpenTelemetry is imported, and each function here returns at once.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import uuid
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from records.errors import SettingsError, safe_text
from records.telemetry import logger

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext
    from requests import Session

FLUSH_SECONDS = 3.0
"""How long the end of a process waits for spans to be sent; a collector may be away."""

_EXPORT_SECONDS = 5.0
_BATCH_MILLISECONDS = 1000

Attribute = str | int | float | bool

_MODULES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_endpoint = ""
_part = ""
_provider: tuple[int, TracerProvider] | None = None
"""The process that made it, and the provider: a forked child needs one of its own."""

_ids: ContextVar[tuple[int, int] | None] = ContextVar("_ids", default=None)
"""The ids of trace and span that the next span is to have; None draws them."""


def set_up_tracing(endpoint: str, part: str) -> None:
    """Send the spans of this process to a collector.

    Args:
        endpoint: the collector's address, as http://collector:4318; empty sends none.
        part: the running part, which names the service.

    Raises:
        SettingsError: the libraries are not installed, or a file of its TLS cannot be used.
    """
    global _endpoint, _part, _provider
    if endpoint and not all(_is_installed(module) for module in _MODULES):
        raise SettingsError(
            "NIGHTDRAFT_OTLP_ENDPOINT is set, but the libraries for it are not installed: "
            "pip install 'nightdraft[otel]', or remove the setting"
        )
    if endpoint.startswith("https:"):
        _make_context()  # a file that cannot be used is named now
    _endpoint, _part, _provider = endpoint, part, None


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def is_on() -> bool:
    """Whether spans are sent."""
    return bool(_endpoint)


class Span:
    """A span that goes on; `NO_SPAN` where none are sent."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, problem: str = "", **attributes: Attribute) -> None:
        """Note what has become known of it.

        Args:
            problem: what went wrong, in words that name no patient.
            attributes: our own ids and words; no patient.
        """
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(_named(attributes))
        if problem:
            self._span.set_status(StatusCode.ERROR, problem)

    def end(self, seconds_ago: float = 0.0) -> None:
        """End it; it may have ended some seconds ago."""
        if self._span is not None:
            self._span.end(time.time_ns() - round(seconds_ago * 1e9))

    def link(self, trace: uuid.UUID) -> None:
        """Link it to the first span of another trace."""
        if self._span is not None:
            self._span.add_link(_first_span(trace))


NO_SPAN = Span()


def begin(
    name: str,
    trace: uuid.UUID,
    *,
    parent: Span | None = None,
    is_first: bool = False,
    caller: tuple[str, str] = ("", ""),
    seconds_ago: float = 0.0,
    **attributes: Attribute,
) -> Span:
    """Begin a span.

    Args:
        name: what is done; one of a few names.
        trace: the id of the study, association or call of REST that it is about.
        parent: the span that it is a part of; None takes the first one of the trace.
        is_first: whether it is the first one itself.
        caller: trace id and span id of the caller's span, which is the parent then; hexadecimal.
        seconds_ago: how long ago it began.
        attributes: our own ids and words; no patient.
    """
    if not _endpoint:
        return NO_SPAN
    try:
        context, ids = _context_of(trace, parent, is_first, caller)
        token = _ids.set(ids)
        try:
            tracer = _process_provider().get_tracer("nightdraft")
            return Span(
                tracer.start_span(
                    name,
                    context,
                    start_time=time.time_ns() - round(seconds_ago * 1e9),
                    attributes=_named(attributes),
                )
            )
        finally:
            _ids.reset(token)
    except Exception as error:  # no object is refused and no draft lost for want of a span
        logger().warning("a span could not be begun", error=safe_text(error))
        return NO_SPAN


def _context_of(
    trace: uuid.UUID, parent: Span | None, is_first: bool, caller: tuple[str, str]
) -> tuple[Context, tuple[int, int] | None]:
    """The context that a span is begun in, and the ids that it must have."""
    from opentelemetry import trace as api
    from opentelemetry.context import Context

    if caller[0]:
        return _below(_remote(int(caller[0], 16), int(caller[1], 16))), None
    if is_first:
        return Context(), (trace.int, _first_span_id(trace))
    if parent is not None and parent._span is not None:
        return api.set_span_in_context(parent._span, Context()), None
    return _below(_first_span(trace)), None


def flush() -> None:
    """Send what is not sent yet, for at most `FLUSH_SECONDS`; no span is sent afterwards."""
    global _endpoint, _provider
    made, _provider, _endpoint = _provider, None, ""
    if made is not None and made[0] == os.getpid():
        thread = threading.Thread(target=made[1].shutdown, name="spans", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def _process_provider() -> TracerProvider:
    global _provider
    if _provider is None or _provider[0] != os.getpid():
        _provider = os.getpid(), _make_provider(_make_exporter())
    return _provider[1]


def _make_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        f"{_endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS, session=_make_session()
    )


def _make_session() -> Session:
    """What the exporter calls with: HTTPS by the rules of `records.tls`, not those of requests."""
    from requests import PreparedRequest, Session
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Leaves authorities and certificates to the context: requests would add its own."""

        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, ssl_context=_make_context())

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, **options, ssl_context=_make_context())

        def build_connection_pool_key_attributes(
            self, request: PreparedRequest, *_: Any, **__: Any
        ) -> Any:
            return super().build_connection_pool_key_attributes(request, verify=True)

        def cert_verify(self, *_: Any, **__: Any) -> None:
            pass

    session = Session()
    if _endpoint.startswith("https:"):
        session.mount("https://", Adapter())
    return session


def _make_context() -> ssl.SSLContext:
    """The TLS of the calls, with the files that OpenTelemetry's own variables name.

    Raises:
        SettingsError: one of them cannot be used; the message names its variable.
    """
    from records.tls.contexts import calling_context

    names, files = [], []
    for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        name = f"OTEL_EXPORTER_OTLP_TRACES_{file}"
        if not os.environ.get(name):
            name = f"OTEL_EXPORTER_OTLP_{file}"
        names.append(name)
        files.append(os.environ.get(name, ""))
    ca_file, certificate, key = files
    return calling_context(ca_file, (names[0], names[1], names[2]), certificate, key)


def _make_provider(exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Takes the ids of a trace's first span from what the trace is about."""

        def generate_trace_id(self) -> int:
            ids = _ids.get()
            return ids[0] if ids else super().generate_trace_id()

        def generate_span_id(self) -> int:
            ids = _ids.get()
            return ids[1] if ids else super().generate_span_id()

    resource = Resource.create(
        {"service.namespace": "nightdraft", "service.name": f"nightdraft-{_part}"}
    )
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=_BATCH_MILLISECONDS)
    )
    return provider


def _named(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"nightdraft.{name}": value for name, value in attributes.items()}


def _first_span_id(trace: uuid.UUID) -> int:
    return trace.int & (1 << 64) - 1


def _first_span(trace: uuid.UUID) -> SpanContext:
    return _remote(trace.int, _first_span_id(trace))


def _remote(trace_id: int, span_id: int) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, True, TraceFlags(TraceFlags.SAMPLED))


def _below(parent: SpanContext) -> Context:
    from opentelemetry import trace as api
    from opentelemetry.context import Context

    return api.set_span_in_context(api.NonRecordingSpan(parent), Context())

"""The spans of a study's way from C-STORE to draft, as a collector of OpenTelemetry gets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx2 as httpx
import pydicom

from tests.support.otlp_receiver import otlp_receiver
from tests.support.station import running_station
from tests.support.waiting import eventually
from training.corpus.phantoms_dicom import write_phantoms

CALLER = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")

WAY = {
    "arrival": ("sweep", None),
    "receive object": ("listener", "arrival"),
    "register object": ("listener", "receive object"),
    "wait for prepare": ("prepare", "arrival"),
    "prepare": ("prepare", "arrival"),
    "wait for draft": ("draft", "arrival"),
    "draft": ("draft", "arrival"),
    "generate": ("draft", "draft"),
    "store draft": ("draft", "draft"),
}
"""The spans of a study's way: the part that sends each, and its parent."""


def test_a_study_is_one_trace_from_its_first_object_to_its_draft(
    short_folder: Callable[[], Path], tmp_path: Path
) -> None:
    for _ in write_phantoms(tmp_path, range(2_000_000_000, 2_000_000_002), size=320):
        pass
    for path in tmp_path.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID, ds.AccessionNumber = "PLANTED^NAME", "PLANTED-1", "PLANTED-2"
        ds.save_as(path)
    with (
        otlp_receiver() as collector,
        running_station(short_folder(), BUNDLE="null", OTLP_ENDPOINT=collector.address) as station,
    ):
        assert station.run("send", str(tmp_path), "--port", str(station.port)).returncode == 0
        eventually(lambda: station.all_ended(2), 60)
        assert station.counts() == {"DRAFTED": 2}
        answers = httpx.get(f"{station.page}/api/studies").json()["studies"]
        for study in answers:
            trace = UUID(study["id"]).hex
            eventually(lambda trace=trace: WAY.keys() <= names_of(collector, trace), 20)
        httpx.get(
            f"{station.page}/api/studies/{answers[0]['study_instance_uid']}",
            headers={"traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01"},
        )
        (call,) = eventually(lambda: collector.of_trace(CALLER[0]), 20)
    assert (call.name, call.parent_id) == ("GET", CALLER[1])
    assert call.attributes["nightdraft.route"] == "/api/studies/{uid}"
    traces = {UUID(study["id"]).hex for study in answers}
    assert {link[0] for link in call.links} == {UUID(answers[0]["id"]).hex}
    associations = {span.trace_id: span for span in collector.spans if span.name == "association"}
    for trace in traces:
        spans = collector.of_trace(trace)
        by_id = {span.span_id: span for span in spans}
        for span in spans:
            part, parent = WAY[span.name]
            assert span.service == f"nightdraft-{part}", span
            assert (by_id[span.parent_id].name if parent else span.parent_id or None) == parent
            assert 0 <= span.seconds < 120
            assert not span.failed
            if span.name == "receive object":
                ((linked, span_id),) = span.links
                assert associations[linked].span_id == span_id
        assert {span.name for span in spans} == set(WAY)
        assert sum(span.name == "arrival" for span in spans) == 1
        arrival = next(span for span in spans if span.name == "arrival")
        assert arrival.span_id == trace[16:]
        assert arrival.seconds >= 1  # the quiet period
    assert b"PLANTED" not in b"".join(collector.bodies)


def names_of(collector, trace):
    return {span.name for span in collector.of_trace(trace)}

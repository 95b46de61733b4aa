"""What messages say, by the rules of the mapping; and why those that are refused are refused."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.hl7.mapping import read_mapping
from intake.hl7.reading import read_frame
from intake.hl7.rules import OTHER_SERVICES
from records.errors import SettingsError
from records.fhir.diagnostic_reports import IMAGING_SECTIONS
from records.orders.order import OrderAction
from records.states import OrderTextSource, Priority, ReportStatus
from records.workflow.identifiers import PatientId
from tests.support.mllp import make_message, make_order, make_segment

DEFAULT = read_mapping("")
PID = "PID|1||4711^^^ADT^MR||Doe^Jane||19700101|F"

# sample: (what comes of it, refused field or number of orders and reports, the reason's words)
SAMPLES = {
    "aidbox_orm-o01_base-obr.hl7": ("order", 1, ""),
    "aidbox_oru-r01_valid-preliminary.hl7": ("nothing", 0, ""),  # a laboratory's (OBR-24)
    "ans_MDM_radiology_report_init.hl7": ("102", "OBX-5", "no text (CWE, ED)"),
    "dcm4che_ADT_A40-PatientMerge.hl7": ("merge", 1, ""),
    "dcm4che_OMI_O23-ImagingOrder.hl7": ("order", 1, ""),
    "dcm4che_ORM_O01-GeneralOrder.hl7": ("order", 1, ""),
    "dcm4che_ORU_R01-SR.hl7": ("report", 1, ""),
    "lfh_sample_unix.hl7": ("nothing", 0, ""),  # ADT^A01
    "msfhir_OMG-O19-01.hl7": ("101", "ORC-2", "no placer or filler number"),
    "msfhir_ORM-O01-01.hl7": ("order", 1, ""),
    "msfhir_ORU-R01-01.hl7": ("nothing", 0, ""),  # a laboratory's
}
KINDS = {"ReadOrder": "order", "ReadReport": "report", "PatientMerge": "merge"}


def read(content, mapping=DEFAULT):
    (message,) = read_frame(content, mapping)
    return message


def order_of(content, mapping=DEFAULT):
    message = read(content, mapping)
    assert message.refusal is None, message.refusal
    (effect,) = message.effects
    return effect.order


def report_of(content):
    message = read(content)
    assert message.refusal is None, message.refusal
    return message.effects[0].report


def refusal_of(content, mapping=DEFAULT):
    refusal = read(content, mapping).refusal
    return (refusal.code.code, refusal.location) if refusal else None


def site_mapping(tmp_path, text):
    file = tmp_path / "mapping.toml"
    file.write_text(text, encoding="utf-8")
    return read_mapping(str(file))


def test_every_sample_ends_as_the_table_says(samples):
    seen = {}
    for file in sorted((samples / "hl7").glob("*.hl7")):
        message = read(file.read_bytes())
        if message.refusal:
            sentence = SAMPLES[file.name][2]
            assert sentence in message.refusal.sentence
            seen[file.name] = (message.refusal.code.code, message.refusal.location, sentence)
        else:
            kinds = {KINDS[type(effect).__name__] for effect in message.effects} or {"nothing"}
            seen[file.name] = (kinds.pop(), len(message.effects), "")
    assert seen == SAMPLES


def test_an_imaging_order_of_another_maker(samples):
    order = order_of((samples / "hl7/dcm4che_OMI_O23-ImagingOrder.hl7").read_bytes())
    assert order.accession_numbers == ("AccessionNumber",)
    assert order.study_instance_uids == ("1.2.392.200036.9125.0.198811291108.7",)
    assert order.scheduled_at.strftime("%Y%m%d%H%M") == "200008161510"
    assert order.visit_number == "AdmissionIDFromVisitNo"
    assert [text.source for text in order.texts] == [
        OrderTextSource.REASON,
        OrderTextSource.CLINICAL_INFORMATION,
        OrderTextSource.NOTE,
    ]


def test_a_report_of_another_maker(samples):
    report = report_of((samples / "hl7/dcm4che_ORU_R01-SR.hl7").read_bytes())
    assert report.status is ReportStatus.FINAL
    assert report.findings.startswith("The right kidney")
    assert report.author == "VerifyingObserverFN^VerifyingObserverGN"
    assert report.study_instance_uid == "1.2.392.200036.9125.0.198811291108.7"


def order_with(*segments, obr=(), orc=(), **options):
    fields = {1: 1, 2: "77", 4: "CXR^Chest PA", **dict(obr)}
    return make_message(
        PID,
        make_segment("ORC", {1: "NW", 2: "77", **dict(orc)}),
        make_segment("OBR", fields),
        *segments,
        **options,
    )


@pytest.mark.parametrize(
    ("obr", "segments", "texts"),
    [
        ({31: "R05^Cough"}, (), [("order_reason", "Cough")]),
        ({31: "R05"}, (), [("order_reason_code", "R05")]),
        ({31: "Cough for days"}, (), [("order_reason", "Cough for days")]),
        ({31: "R05^Cough~R50^Fever"}, (), [("order_reason", "Cough\nFever")]),
        ({31: "R05^^I10^^^^^^Cough"}, (), [("order_reason", "Cough")]),
        ({13: "Cough"}, (), [("order_clinical_information", "Cough")]),
        ({13: "Cough\\.br\\Fever \\T\\ chills"}, (), [(
            "order_clinical_information", "Cough\nFever & chills",
        )]),
        ({13: "Cough\rFever"}, (), [("order_clinical_information", "Cough\nFever")]),
        ({13: "Cough\r\nOn Monday"}, (), [("order_clinical_information", "Cough\nOn Monday")]),
        ({13: "Cough\x0bFever"}, (), [("order_clinical_information", "Cough Fever")]),
        ({13: '""'}, (), []),
        ({}, ("NTE|1||Cough", "NTE|2||Fever"), [("order_note", "Cough\nFever")]),
        ({}, ("DG1|1||R05^Cough", "DG1|2|||Fever"), [("order_diagnosis", "Cough\nFever")]),
        ({31: "^Cough", 13: "Fever"}, ("NTE|1||Pain", "DG1|1||R05^Flu"), [
            ("order_reason", "Cough"),
            ("order_clinical_information", "Fever"),
            ("order_note", "Pain"),
            ("order_diagnosis", "Flu"),
        ]),
    ],
)  # fmt: skip
def test_where_an_order_says_why(obr, segments, texts):
    order = order_of(order_with(*segments, obr=obr))
    assert [(text.source.value, text.text) for text in order.texts] == texts


def test_a_note_to_the_patient_is_no_note_to_the_order():
    content = make_message(PID, "NTE|1||Deaf", "ORC|NW|77", "OBR|1|77||CXR", "NTE|1||Cough")
    assert [text.text for text in order_of(content).texts] == ["Cough"]


@pytest.mark.parametrize(
    ("segments", "orc", "obr", "priority"),
    [
        (("TQ1|||||||||S",), {7: "^^^^^R"}, {}, Priority.STAT),
        ((), {7: "^^^^^S"}, {27: "^^^^^R"}, Priority.STAT),
        ((), {}, {27: "^^^^^A", 5: "R"}, Priority.URGENT),
        ((), {}, {5: "stat"}, Priority.STAT),
        ((), {7: "^^^^^Soon"}, {5: "R"}, Priority.ROUTINE),  # a code that says nothing
        ((), {}, {}, None),
    ],
)
def test_where_the_priority_is(segments, orc, obr, priority):
    assert order_of(order_with(*segments, orc=orc, obr=obr)).priority is priority


@pytest.mark.parametrize(
    ("segments", "orc", "obr", "hour"),
    [
        (("TQ1|||||||2026010110",), {7: "^^^2026010111"}, {}, 10),
        ((), {7: "^^^2026010111"}, {27: "^^^2026010112"}, 11),
        ((), {}, {27: "^^^2026010112", 36: "2026010113"}, 12),
        ((), {}, {36: "2026010113"}, 13),
        (("TQ1|||||||soon",), {}, {36: "2026010113"}, 13),
        (("TQ1|||||||20260231",), {}, {}, None),
        ((), {}, {}, None),
    ],
)
def test_where_the_scheduled_time_is(segments, orc, obr, hour):
    scheduled = order_of(order_with(*segments, orc=orc, obr=obr)).scheduled_at
    assert (scheduled.hour if scheduled else None) == hour
    assert scheduled is None or scheduled.tzinfo is not None


def test_a_time_has_its_senders_zone(tmp_path):
    with_zone = order_of(order_with(obr={36: "20260701120000-0330"}))
    assert with_zone.scheduled_at.utcoffset() == dt.timedelta(hours=-3, minutes=-30)
    mapping = site_mapping(tmp_path, 'time_zone = "Europe/Berlin"\n')
    there = order_of(order_with(obr={36: "20260701120000"}), mapping)
    assert there.scheduled_at.utcoffset() == dt.timedelta(hours=2)


@pytest.mark.parametrize(
    ("sent", "hour"),
    [
        ("20261025013000", 23),  # the hour before, in Berlin: 01:30+0200
        ("20261025023000", None),  # the clocks show it twice
        ("20261025023000+0100", 1),
        ("20261025033000", 2),
        ("20260329023000", None),  # the clocks never show it
    ],
)
def test_a_sending_time_that_the_clock_shows_twice_is_not_compared(tmp_path, sent, hour):
    mapping = site_mapping(tmp_path, 'time_zone = "Europe/Berlin"\n')
    for content in (order_with(obr={}), result("F", "OBX|1|TX|||Clear.||||||F")):
        message = read(content.replace(b"20260102030405", sent.encode()), mapping)
        (effect,) = message.effects
        at = (effect.order if hasattr(effect, "order") else effect.report).sent_at
        assert (at.astimezone(dt.UTC).hour if at else None) == hour


@pytest.mark.parametrize(
    ("sent", "zone", "kept"),
    [
        ("20260102", "", "20260102"),
        ("202601020304", "", "202601020304"),
        ("20260102030405.123-0500", "", "20260102030405-0500"),
        ("20260102030405-0500", "Europe/Berlin", "20260102030405-0500"),
        ("20260702030405", "Europe/Berlin", "20260702030405+0200"),
        ("20260102", "Europe/Berlin", "20260102"),
        ("2026010203", "Europe/Berlin", "2026010203"),
        ("2026", "", ""),
        ("soon", "", ""),
    ],
)
def test_when_an_examination_was_performed_keeps_its_zone(tmp_path, sent, zone, kept):
    mapping = site_mapping(tmp_path, f'time_zone = "{zone}"\n') if zone else DEFAULT
    obr = make_segment("OBR", {1: 1, 3: "F1", 4: "CXR", 7: sent, 18: "A1", 25: "F"})
    content = make_message(PID, obr, "OBX|1|TX|||Clear.||||||F", kind="ORU^R01")
    (effect,) = read(content, mapping).effects
    assert effect.report.performed_on == kept


@pytest.mark.parametrize("section", ["RAD", "RX", "XRC", "CT", "CUS", "OUS", ""])
def test_results_of_every_imaging_section_are_reports(section):
    obr = make_segment("OBR", {1: 1, 3: "F1", 4: "CXR", 18: "A1", 24: section, 25: "F"})
    content = make_message(PID, obr, "OBX|1|TX|||Clear.||||||F", kind="ORU^R01")
    assert report_of(content).text == "Clear."
    assert not OTHER_SERVICES & IMAGING_SECTIONS


@pytest.mark.parametrize(
    ("code", "status", "action"),
    [
        ("NW", "", OrderAction.PLACE),
        ("XO", "", OrderAction.CHANGE),
        ("SC", "CM", OrderAction.COMPLETE),
        ("SC", "CA", OrderAction.CANCEL),
        ("CA", "", OrderAction.CANCEL),
        ("DC", "CM", OrderAction.CANCEL),
        ("OC", "", OrderAction.CANCEL),
    ],
)
def test_what_a_message_does_with_the_order(code, status, action):
    assert order_of(order_with(orc={1: code, 5: status})).action is action


def test_a_cancellation_may_have_no_obr():
    order = order_of(make_message(PID, "ORC|CA|77"))
    assert (order.action, order.placer_order_number) == (OrderAction.CANCEL, "77")


def test_several_orders_a_message_and_several_studies_an_order():
    content = make_message(
        PID,
        make_segment("PV1", {3: "^^^NORTH", 19: "V7^^^ADT"}),
        "ORC|NW|1|11",
        "TQ1|||||||||S",
        "OBR|1|1^RIS|11|CXR",
        "IPC|A1^RAD|P1|1.2.3|S1|DX",
        "IPC|A2^RAD|P2|1.2.4|S2|DX",
        "OBR|2|2|12|ABD",
        "IPC|A3",
        "ORC|NW|3",
        "OBR|1|3||CT",
        kind="OMI^O23^OMI_O23",
    )
    orders = [effect.order for effect in read(content).effects]
    assert [order.accession_numbers for order in orders] == [("A1", "A2"), ("A3",), ()]
    assert orders[0].accession_number_issuer == "RAD"
    assert orders[0].study_instance_uids == ("1.2.3", "1.2.4")
    assert [order.priority for order in orders] == [Priority.STAT, Priority.STAT, None]
    assert [order.visit_number for order in orders] == ["V7^ADT"] * 3
    assert [order.site for order in orders] == ["NORTH"] * 3
    numbers = [(order.placer_order_number, order.filler_order_number) for order in orders]
    assert numbers == [("1^RIS", "11"), ("2", "12"), ("3", "")]


def test_one_zds_is_of_all_orders():
    content = make_message(
        PID, "ORC|NW|1", "OBR|1|1||CXR", "ORC|NW|2", "OBR|1|2||ABD", "ZDS|1.2.3^^^DICOM"
    )
    uids = [effect.order.study_instance_uids for effect in read(content).effects]
    assert uids == [("1.2.3",), ("1.2.3",)]


def test_the_patient_of_a_message():
    pid = (
        "PID|1||99^^^SSN&1.2&ISO^SS~4711^^^&1.2.3&ISO^MR"
        "||van Doe&van&Doe^Jane^Q^Jr^Dr^^L^A~\u5c71\u7530^\u592a\u90ce^^^^^L^I||1970010112|U"
    )
    order = order_of(make_message(pid, "ORC|NW|1", "OBR|1|1||CXR"))
    assert (order.patient.patient_id, order.patient.issuer) == ("4711", "1.2.3")
    assert order.other_patient_ids == (PatientId("99", "SSN"),)
    assert order.patient.name == "van Doe^Jane^Q^Dr^Jr=\u5c71\u7530^\u592a\u90ce"
    assert (order.patient.birth_date, order.patient.sex) == ("19700101", "")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("8859/1", "latin-1"),
        ("UNICODE UTF-8", "utf-8"),
        ("~ISO IR87", "iso2022_jp"),
        ("", "utf-8"),
        ("", "latin-1"),
        ("UNICODE UTF-8", "latin-1"),
        ("ASCII", "latin-1"),
        # As DICOM, IANA and Windows name them.
        ("ISO-8859-1", "latin-1"),
        ("iso_8859-1", "latin-1"),
        ("8859-2", "iso8859-2"),
        ("ISO_IR 101", "iso8859-2"),
        ("ISO_IR 100", "latin-1"),
        ("ISO_IR 203", "iso8859-15"),
        ("ISO_IR 166", "iso8859-11"),
        ("ISO_IR 192", "utf-8"),
        ("utf8", "utf-8"),
        ("Windows-1252", "cp1252"),
        ("CP1250", "cp1250"),
        ("ISO 2022 IR 87", "iso2022_jp"),
        ("Shift_JIS", "shift_jis"),
        ("KLINGON", "utf-8"),
    ],
)
def test_character_sets(name, codec):
    is_japanese = codec in ("iso2022_jp", "shift_jis")
    reason = "\u5c71\u7530" if is_japanese else "H\u00fcfte schmerzt"
    if codec == "iso8859-11":
        reason = "\u0e44\u0e2d"
    if codec in ("iso8859-2", "cp1250"):
        reason = "B\u00f3l w \u0141odzi"
    text = order_with(obr={31: f"^{reason}"}, rest="|" * 6 + name).decode()
    assert order_of(text.encode(codec)).texts[0].text == reason


@pytest.mark.parametrize("name", ["", "8859/1", "ASCII", "UNICODE UTF-8"])
def test_dashes_of_windows_are_no_control_characters(name):
    text = order_with(obr={31: "^3 \u2013 5 cm, \u201cold\u201d"}, rest="|" * 6 + name).decode()
    reason = order_of(text.encode("cp1252")).texts[0].text
    assert reason == "3 \u2013 5 cm, \u201cold\u201d"


def test_letters_of_an_unknown_character_set_are_not_guessed():
    text = order_with(obr={31: "^\u0411\u043e\u043b\u044c"}, rest="|" * 6 + "KOI8-R").decode()
    content = text.encode("koi8-r")
    assert refusal_of(content) == ("103", "MSH-18")
    first, second = read_frame(b"BHS|^~\\&|\r" + content + order_with(), DEFAULT)
    assert (first.refusal.location, second.refusal) == ("MSH-18", None)
    assert refusal_of(order_with(rest="|" * 6 + "KOI8-R")) is None


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\r\n", b"\n\xef\xbb\xbf"])
def test_what_stands_before_a_message_is_passed_over(start):
    if start.startswith(b"\n"):
        start = start[1:]
    assert order_of(start + order_with()).placer_order_number == "77"


def test_odd_separators():
    content = order_with(obr={13: "Pain ^ fever", 2: "77^RIS", 31: "R05^Cough"})
    odd = content.decode().replace("Pain ^ fever", "Pain \\S\\ fever")
    odd = odd.translate(str.maketrans("|^~\\&", "#@+?%")).encode()
    order = order_of(odd)
    assert order.placer_order_number == "77^RIS"
    assert [text.text for text in order.texts] == ["Cough", "Pain @ fever"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_other_line_ends(end):
    assert order_of(order_with().replace(b"\r", end)).placer_order_number == "77"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (make_message("ORC|NW|77", "OBR|1|77||CXR"), ("100", "PID")),
        (make_message(PID), ("100", "ORC")),
        (make_message(PID, "OBR|1|77||CXR"), ("100", "ORC")),
        (make_message(PID, "ORC|NW|77"), ("100", "OBR")),
        (make_message("PID|1", "ORC|NW|77", "OBR|1|77||CXR"), ("101", "PID-3")),
        (make_message(PID, "ORC||77", "OBR|1|77||CXR"), ("101", "ORC-1")),
        (make_message(PID, "ORC|ZZ|77", "OBR|1|77||CXR"), ("103", "ORC-1")),
        (make_message(PID, "ORC|NW", "OBR|1|||CXR"), ("101", "ORC-2")),
        (make_message(PID, f"ORC|NW|{'7' * 201}", "OBR|1|||CXR"), ("104", "ORC-2")),
        (make_order(control_id=""), ("101", "MSH-10")),
        (make_order(control_id="7" * 201), ("104", "MSH-10")),
        (make_order(processing_id="X"), ("202", "MSH-11")),
        (make_message(kind="QRY^R02"), ("200", "MSH-9")),
        (make_message(PID, kind="ORU^R99"), ("201", "MSH-9")),
        (make_message(PID, kind="ORU^R01"), ("100", "OBR")),
        (make_message(PID, "OBR|1||F1", kind="ORU^R01"), None),  # only asked for: no result
        (make_message(PID, "OBR|1||F1|" + "|" * 21 + "F", kind="ORU^R01"), ("101", "OBX-5")),
        (make_message(PID, kind="MDM^T02"), ("100", "TXA")),
        (make_message(kind="ADT^A01"), None),
        (make_message(kind="SIU^S12"), None),
    ],
)
def test_what_is_missing_is_named(content, refusal):
    assert refusal_of(content) == refusal


def result(status, *observations, number="F1", **fields):
    obr = make_segment("OBR", {1: 1, 3: number, 4: "CXR", 18: "A1", 25: status})
    return make_message(PID, obr, *observations, kind="ORU^R01", **fields)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("F", ReportStatus.FINAL),
        ("C", ReportStatus.CORRECTED),
        ("P", ReportStatus.PRELIMINARY),
        ("R", ReportStatus.PRELIMINARY),
        ("X", ReportStatus.CANCELLED),
    ],
)
def test_how_far_a_report_is(code, status):
    assert report_of(result(code, f"OBX|1|TX|||Clear.||||||{code}")).status is status


def test_headings_divide_a_report_that_is_one_text():
    text = "FINDINGS: Clear lungs. IMPRESSION: Normal."
    report = report_of(result("F", f"OBX|1|FT|18748-4^Report^LN||{text}||||||F"))
    assert (report.findings, report.impression) == ("Clear lungs.", "Normal.")
    assert report.text == text
    plain = report_of(result("F", "OBX|1|FT|18748-4^Report^LN||Clear lungs.||||||F"))
    assert (plain.findings, plain.impression, plain.text) == ("", "", "Clear lungs.")


@pytest.mark.parametrize(
    ("event", "txa", "status", "number"),
    [
        ("T02", {12: "D2", 17: "LA"}, ReportStatus.FINAL, "D2"),
        ("T02", {12: "D2", 17: "DI"}, ReportStatus.PRELIMINARY, "D2"),
        ("T02", {12: "D2"}, ReportStatus.FINAL, "D2"),  # OBX-11 is F
        ("T08", {12: "D2", 17: "AU"}, ReportStatus.CORRECTED, "D2"),
        ("T10", {12: "D2", 13: "D1", 17: "AU"}, ReportStatus.CORRECTED, "D1"),
        ("T11", {12: "D2"}, ReportStatus.CANCELLED, "D2"),
        ("T04", {12: "D2", 17: "LA", 19: "CA"}, ReportStatus.CANCELLED, "D2"),
    ],
)
def test_documents(event, txa, status, number):
    content = make_message(
        PID,
        make_segment("TXA", {1: 1, 2: "DI", 15: "A7", **txa}),
        "OBX|1|TX|18748-4^Report^LN||Clear lungs.||||||F",
        kind=f"MDM^{event}",
    )
    report = report_of(content)
    assert (report.status, report.report_number) == (status, number)
    assert report.accession_numbers == ("A7",)


@pytest.mark.parametrize(
    ("event", "txa", "numbers"),
    [
        ("T06", {12: "D2", 13: "D1"}, ("D2", "D1")),
        ("T02", {12: "D2", 13: "D1"}, ("D2", "D1")),
        ("T08", {12: "D2", 13: "D1"}, ("D2", "D1")),
        ("T11", {12: "D2", 13: "D1"}, ("D2", "D1")),
        # Without a number of its own it must not take its parent's place.
        ("T06", {12: "D1", 13: "D1"}, ("D1#1", "D1")),
        ("T06", {13: "D1"}, ("D1#1", "D1")),
        # No addenda: the document names itself, or replaces another one.
        ("T02", {12: "D1", 13: "D1"}, ("D1", "")),
        ("T08", {12: "D2"}, ("D2", "")),
        ("T10", {12: "D2", 13: "D1"}, ("D1", "")),
    ],
)
def test_a_document_with_a_parent_is_its_addendum(event, txa, numbers):
    content = make_message(
        PID,
        make_segment("TXA", {1: 1, 2: "DI", 15: "A7", 17: "AU", **txa}),
        "OBX|1|TX|18748-4^Report^LN||A rib is broken.||||||F",
        kind=f"MDM^{event}",
        control_id="1",
    )
    report = report_of(content)
    assert (report.report_number, report.parent_number) == numbers


def test_patients_are_corrected_merged_and_moved():
    corrected = read(make_message(PID, kind="ADT^A08")).effects[0]
    assert corrected.ids == (PatientId("4711", "ADT"),)
    merged = read(make_message(PID, "MRG|99^^^ADT", PID, "MRG|98^^^ADT", kind="ADT^A40")).effects
    assert [merge.retired_ids for merge in merged] == [
        (PatientId("99", "ADT"),),
        (PatientId("98", "ADT"),),
    ]
    moved = read(make_message(PID, "MRG|99||||V7^^^ADT", "PV1|1", kind="ADT^A45")).effects[0]
    assert (moved.visit_number, moved.to.patient_id) == ("V7^ADT", "4711")
    pv1 = make_segment("PV1", {1: 1, 19: "V8"})
    assert read(make_message(PID, "MRG|99", pv1, kind="ADT^A45")).effects[0].visit_number == "V8"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (make_message(kind="ADT^A08"), ("100", "PID")),
        (make_message("PID|1", kind="ADT^A31"), ("101", "PID-3")),
        (make_message(PID, kind="ADT^A40"), ("101", "MRG-1")),
        (make_message(PID, "MRG|99", kind="ADT^A45"), ("101", "MRG-5")),
    ],
)
def test_a_change_of_patients_names_what_it_lacks(content, refusal):
    assert refusal_of(content) == refusal


def test_a_discharge_letter_is_no_report():
    content = make_message(PID, "TXA|1|DS", "OBX|1|TX|||Went home.", kind="MDM^T02")
    assert read(content).effects == ()


def test_a_site_maps_its_fields_and_codes(tmp_path):
    mapping = site_mapping(
        tmp_path,
        """
        [fields]
        accession_numbers = ["ZAC-2", "OBR-18"]
        site = ["=North"]
        [priorities]
        "7" = "STAT"
        [actions]
        ZN = "PLACE"
        [senders."RIS|HOSPITAL".fields]
        clinical_information = []
        reason = ["OBR-46.2"]
        """,
    )
    content = order_with(
        "ZAC|1|Z7", orc={1: "ZN"}, obr={5: "7", 13: "Allergic", 18: "A1", 46: "1^Cough"}
    )
    order = order_of(content, mapping)
    assert (order.accession_numbers, order.site, order.priority) == (("Z7",), "North", 0)
    assert [text.text for text in order.texts] == ["Cough"]
    other = order_of(content.replace(b"|RIS|", b"|CPOE|"), mapping)
    assert [text.text for text in other.texts] == ["Allergic"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fields]\nreasons = []", "fields: there is no 'reasons' (did you mean reason?)"),
        ('[fields]\nreason = ["OBR31"]', "reason: 'OBR31' is no field"),
        ('[fields]\nreason = "OBR-31"', "reason must be a list of texts"),
        ('[priorities]\n7 = "NOW"', "priorities: 'NOW' is none of STAT"),
        ('time_zone = "Mars"', "time_zone must be a name such as Europe/Berlin"),
        ("[field]", "there is no 'field' (did you mean fields?)"),
        ("[senders.X]\nfoo = 1", "senders.X: there is no 'foo'"),
        ("a =", "is not TOML"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path, text, words):
    with pytest.raises(SettingsError) as error:
        site_mapping(tmp_path, text)
    assert words in str(error.value)
    assert "mapping.toml" in str(error.value)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(noise):
    for content in (noise, b"MSH|^~\\&|" + noise, make_order() + noise):
        for message in read_frame(content, DEFAULT):
            assert message.refusal is None or message.refusal.sentence


@pytest.mark.parametrize("nothing", ["\x01", "\x1b \x7f", "\u202e", "\ufeff \u2028", "\\X01\\"])
def test_what_has_control_characters_alone_is_not_there(nothing):
    utf8 = {"rest": "||||||UNICODE UTF-8"}
    assert refusal_of(make_order(patient=f"{nothing}^^^ADT^MR", **utf8)) == ("101", "PID-3")
    assert refusal_of(make_order(number=nothing, accession=nothing, **utf8)) == ("101", "ORC-2")
    order = order_of(make_order(patient=f"{nothing}^^^ADT^MR~4711", accession=nothing, **utf8))
    assert (order.patient.patient_id, order.other_patient_ids) == ("4711", ())
    assert (order.accession_numbers, order.placer_order_number) == ((), "77")
    order = order_of(order_with(f"NTE|1||{nothing}", obr={31: nothing, 13: "Fever"}, **utf8))
    assert [text.text for text in order.texts] == ["Fever"]
    patient = PID.replace("4711", nothing)
    text = "OBX|1|TX|||Clear.||||||F"
    report = make_message(patient, "OBR|1||F1|" + "|" * 21 + "F", text, kind="ORU^R01", **utf8)
    assert refusal_of(report) == ("101", "PID-3")
    correction = make_message(patient, kind="ADT^A08", **utf8)
    assert refusal_of(correction) == ("101", "PID-3")
    empty = result("F", f"OBX|1|TX|||{nothing}||||||F", **utf8)
    assert refusal_of(empty) == ("101", "OBX-5")

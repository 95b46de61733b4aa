"""Reports from elsewhere, as an interface hands them over."""

from records.database.session import unit_of_work
from records.reports.receiving import receive_report
from records.reports.report import OutsideReport
from records.states import Origin, ReportStatus
from tests.support.registered_studies import PATIENT


def new_report(**changed):
    values = {
        "origin": Origin.HL7,
        "sender": "RIS|HOSPITAL",
        "status": ReportStatus.FINAL,
        "patient": PATIENT,
        "report_number": "R1",
        "accession_numbers": ("A0",),
        "procedure": "XR CHEST",
        "performed_on": "20251224",
        "findings": "The lungs are clear.",
        "impression": "No disease.",
        "text": "FINDINGS: The lungs are clear.\n\nIMPRESSION: No disease.",
    }
    return OutsideReport(**(values | changed))


def receive(**changed):
    with unit_of_work() as session:
        return receive_report(session, new_report(**changed))

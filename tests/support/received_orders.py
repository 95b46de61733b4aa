"""Orders as an interface hands them on, for tests."""

import uuid

from records.database.session import unit_of_work
from records.database.tables import Study
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.orders.receiving import ReceivedOrderResult, receive_order
from records.states import OrderTextSource, Origin
from records.workflow.patients import Patient


def order_text(text, source=OrderTextSource.REASON):
    return OrderText(source, text)


def send_order(**changed) -> ReceivedOrderResult:
    """Receive an order; `changed` are fields of ReceivedOrder."""
    values = {
        "origin": Origin.HL7,
        "sender": "RIS|HOSPITAL",
        "action": OrderAction.PLACE,
        "patient": Patient("P-1", "", "PHANTOM^ONE", "19700101", "F"),
        "placer_order_number": "77",
        "accession_numbers": ("A1",),
        "texts": (order_text("Fever and cough."),),
        "procedure": "XR CHEST PA",
    }
    message_id = changed.pop("message_id", None)
    with unit_of_work() as session:
        return receive_order(session, ReceivedOrder(**(values | changed)), message_id)


def send_order_for(study_id: uuid.UUID, **changed) -> ReceivedOrderResult:
    """Receive an order for a study, of its patient unless another one is given."""
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        values = {
            "patient": Patient.of_study(study),
            "accession_numbers": (study.accession_number,),
            "placer_order_number": f"N{study.accession_number}",
        }
    return send_order(**(values | changed))

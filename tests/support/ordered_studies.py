"""Orders and studies that are matched, prepared and drafted by the records alone."""

from records.database.session import unit_of_work
from records.orders import effects
from records.orders.indications import Candidate, choose, order_candidates
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.orders.receiving import receive_order
from records.states import OrderTextSource, Origin, Stage
from records.workflow import drafts, requests, studies
from tests.support.registered_studies import PATIENT, claim, new_draft, register

WHY = OrderText(OrderTextSource.REASON, "Fever and cough.")


def new_order(**changed):
    values = {
        "origin": Origin.HL7,
        "sender": "RIS|HOSPITAL",
        "action": OrderAction.PLACE,
        "patient": PATIENT,
        "placer_order_number": "77",
        "accession_numbers": ("A1",),
        "texts": (WHY,),
    }
    return ReceivedOrder(**(values | changed))


def receive(**changed):
    with unit_of_work() as session:
        return receive_order(session, new_order(**changed))


def close():
    """Close what has arrived, as the sweep does; returns the studies' ids."""
    with unit_of_work() as session:
        closed = studies.close_quiet(session, 0.0)
        effects.take_up_closed(session, closed)
    return closed


def complete(*instances):
    """Register objects and close their studies; returns the ids in order, each once."""
    study_ids = list(dict.fromkeys(done.study_id for done in register(*instances)))
    close()
    return study_ids


def prepare(header=""):
    """Prepare what is ready from the orders that there are; returns the texts that were taken."""
    texts = []
    for lease in claim(Stage.PREPARE, limit=100):
        with unit_of_work() as session:
            effects.take_up_for_preparing(session, lease.study_id)
            orders = effects.counting_orders(session, lease.study_id)
            headers = [Candidate("request_reason", header)] if header else []
            found = choose([*order_candidates(orders), *headers])
            prepared = requests.PreparedInput(
                "prepared/x",
                f"{lease.study_id} {found.text}",
                "pp",
                {
                    "indication": found.text,
                    "indication_source": found.source,
                    "indications": found.as_json(),
                },
            )
            assert requests.mark_prepared(session, lease, prepared)
        texts.append(found.text)
    return texts


def draft(header=""):
    """Prepare and draft what is ready; returns the texts that the drafts were made from."""
    prepare(header)
    texts = []
    for lease in claim(Stage.DRAFT, limit=100):
        kept = {key: lease.provenance[key] for key in ("indication", "indication_source")}
        new = new_draft(lease, **kept, indications=lease.provenance["indications"])
        with unit_of_work() as session:
            assert drafts.save(session, lease, new)
        texts.append(new.indication)
    return texts

"""Medplum's HL7 client as a foreign peer, in both modes of acknowledgment.

Slow to set up; `make prove-peers` installs the client.
"""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.support.mllp import running_listener
from tests.support.node_packages import require_package, run_script

# All messages are sent before the first is answered.
SENDER = r"""
globalThis.WebSocket ??= class {};
const { Hl7Message } = require('@medplum/core');
const { Hl7Client, ReturnAckCategory } = require('@medplum/hl7');
const [port, count] = process.argv.slice(1, 3).map(Number);
const asks = process.argv[3];
const client = new Hl7Client({ host: '127.0.0.1', port });
function send(number) {
  const patient = number < count ? 'PID|1||MRN12345||DOE^JANE' : 'PID|1||||DOE^JANE';
  const message = Hl7Message.parse([
    `MSH|^~\\&|MEDPLUM|HOSPITAL|NIGHTDRAFT|WARD|20260102030405||ORM^O01|M${number}|P|2.5.1|||${asks}|${asks}`,
    patient, `ORC|NW|${number}`, `OBR|1|${number}||CXR|||||||||Cough.|||||A${number}`].join('\r'));
  return client.sendAndWait(message, { returnAck: ReturnAckCategory.APPLICATION });
}
(async () => {
  const answers = await Promise.all(Array.from({ length: count + 1 }, (_, number) => send(number)));
  await client.close();
  const read = (answer, field) => answer.getSegment('MSA').getField(field).toString();
  console.log(JSON.stringify(answers.map((answer) => [read(answer, 1), read(answer, 2)])));
  process.exit(0);
})();
"""


@pytest.mark.parametrize("asks", ["", "AL"], ids=["original mode", "enhanced mode"])
def test_its_orders_are_kept_and_it_reads_our_answers(database, data_dir, asks):
    require_package("@medplum/hl7")
    with running_listener() as listener:
        answers = run_script(SENDER, listener.port, 20, asks)
    assert answers == [*(["AA", f"M{number}"] for number in range(20)), ["AE", "M20"]]
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 20

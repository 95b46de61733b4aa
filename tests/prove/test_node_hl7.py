"""node-hl7-client as a foreign peer: its messages, its answers, its queue over one connection.

Slow to set up; `make prove-peers` installs the client.
"""

from __future__ import annotations

from sqlalchemy import func, select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.support.mllp import running_listener
from tests.support.node_packages import require_package, run_script

SENDER = """
const { Client, HL7_2_5_1 } = require('node-hl7-client');
const [port, count] = process.argv.slice(1).map(Number);
const answers = [];
let next = 0;
const client = new Client({ host: '127.0.0.1', version: '2.5.1' });
const connection = client.createConnection({ port }, (response) => {
  const message = response.getMessage();
  answers.push([message.get('MSA.1').toString(), message.get('MSA.2').toString()]);
  if (next <= count) return send();
  process.stdout.write(JSON.stringify(answers), () => process.exit(0));
});
function send() {
  const number = next++;
  const message = new HL7_2_5_1()
    .buildMSH({ msh_3: 'NODE', msh_4: 'HOSPITAL', msh_9_1: 'ORM', msh_9_2: 'O01',
                msh_10: `N${number}`, msh_11_1: 'P' })
    .buildPID({ pid_3: 'MRN12345', pid_5: 'DOE^JANE' })
    .toMessage();
  if (number < count) {  // the last one orders nothing
    const orc = message.addSegment('ORC');
    orc.set('1', 'NW'); orc.set('2', `${number}`);
    const obr = message.addSegment('OBR');
    obr.set('2', `${number}`); obr.set('4.1', 'CXR'); obr.set('13', 'Cough.');
    obr.set('18', `A${number}`);
  }
  connection.sendMessage(message);
}
send();
"""


def test_its_orders_are_kept_and_it_reads_our_answers(database, data_dir):
    require_package("node-hl7-client")
    with running_listener() as listener:
        answers = run_script(SENDER, listener.port, 20)
    assert answers == [*(["AA", f"N{number}"] for number in range(20)), ["AE", "N20"]]
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 20

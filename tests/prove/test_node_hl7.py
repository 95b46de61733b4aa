"""node-hl7-client as a foreign peer: its messages, its answers, its queue over one connection.

Slow to set up; `make prove-peers` installs the client.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from sqlalchemy import func, select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.support.mllp import running_listener

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


@pytest.fixture
def modules() -> str:
    folder = os.environ.get("NODE_PATH", "")
    if shutil.which("node") is None or not os.path.isdir(f"{folder}/node-hl7-client"):  # noqa: PTH112
        pytest.skip("node-hl7-client is not installed: `make prove-peers` installs it")
    return folder


def test_its_orders_are_kept_and_it_reads_our_answers(modules, database, data_dir):
    with running_listener() as listener:
        sent = subprocess.run(
            ["node", "-e", SENDER, str(listener.port), "20"],
            env=os.environ | {"NODE_PATH": modules},
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )
    assert sent.returncode == 0, sent.stderr[-1000:]
    answers = json.loads(sent.stdout.strip().splitlines()[-1])
    assert answers == [*(["AA", f"N{number}"] for number in range(20)), ["AE", "N20"]]
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 20

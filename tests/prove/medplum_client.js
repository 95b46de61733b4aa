// Medplum's client sends orders and a report to a FHIR server. It prints what it made of the answers.
globalThis.WebSocket ??= class {}; // @medplum/core names it when it is loaded; Node 20 has none
const { MedplumClient, OperationOutcomeError } = require('@medplum/core');

const client = new MedplumClient({ baseUrl: process.argv[1], fhirUrlPath: 'fhir', maxRetries: 0 });
const SYSTEM = 'http://hospital.example/mrn';

const order = (number, subject) => ({
  resourceType: 'ServiceRequest',
  status: 'active',
  intent: 'order',
  subject,
  identifier: [
    { type: { coding: [{ code: 'PLAC' }] }, system: 'http://ehr.example', value: `P${number}` },
    { type: { coding: [{ code: 'ACSN' }] }, value: `A${number}` },
  ],
  reasonCode: [{ text: 'Cough.' }],
});

async function refused(call) {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof OperationOutcomeError)) throw error;
    return error.outcome.issue[0].code;
  }
  return 'accepted';
}

(async () => {
  const seen = {};
  const patient = await client.createResource({
    resourceType: 'Patient',
    identifier: [{ system: SYSTEM, value: '4711' }],
  });
  const subject = { reference: `Patient/${patient.id}` };
  const placed = await client.createResource(order(1, subject));
  seen.again = (await client.createResource(order(1, subject))).id === placed.id;
  seen.ifNoneExist =
    (await client.createResourceIfNoneExist(order(1, subject), 'identifier=http://ehr.example|P1')).id === placed.id;
  seen.read = (await client.readResource('ServiceRequest', placed.id)).reasonCode[0].text;
  seen.revoked = (await client.updateResource({ ...placed, status: 'revoked' })).status;
  const bundle = await client.executeBatch({
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [
      {
        fullUrl: 'urn:uuid:5c0f5e52-8a5e-4a0a-9d0e-0d3f1a3f7a01',
        request: { method: 'POST', url: 'Patient' },
        resource: { resourceType: 'Patient', identifier: [{ system: SYSTEM, value: '4712' }] },
      },
      {
        request: { method: 'POST', url: 'ServiceRequest' },
        resource: order(2, { reference: 'urn:uuid:5c0f5e52-8a5e-4a0a-9d0e-0d3f1a3f7a01' }),
      },
    ],
  });
  seen.transaction = bundle.entry.map((entry) => entry.response.status.slice(0, 3));
  seen.nobody = await refused(client.createResource(order(3, { reference: 'Patient/nobody' })));
  seen.search = await refused(client.search('ServiceRequest', 'identifier=P1'));
  console.log(JSON.stringify(seen));
})();

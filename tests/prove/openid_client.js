// openid-client logs in by SMART Backend Services and sends a patient. It prints what it was answered.
// Its arguments: the address of our FHIR server, the private key as JWK, and its name of the algorithm.
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const ALGORITHMS = {
  RS384: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-384' },
  ES384: { name: 'ECDSA', namedCurve: 'P-384' },
};

(async () => {
  const [base, jwk, algorithm] = [process.argv[1], JSON.parse(process.argv[2]), process.argv[3]];
  const file = path.join(process.env.NODE_PATH, 'openid-client', 'build', 'index.js');
  const client = await import(pathToFileURL(file));
  const said = await (await fetch(`${base}/.well-known/smart-configuration`)).json();
  const { kid, ...plain } = jwk;
  const key = await crypto.subtle.importKey('jwk', plain, ALGORITHMS[algorithm], false, ['sign']);
  const config = new client.Configuration(
    { issuer: base, token_endpoint: said.token_endpoint },
    'ris',
    undefined,
    client.PrivateKeyJwt(
      { key, kid },
      {
        [client.modifyAssertion](header, payload) {
          payload.aud = said.token_endpoint; // it would be the issuer, which SMART does not have
        },
      },
    ),
  );
  client.allowInsecureRequests(config);
  const given = await client.clientCredentialsGrant(config, { scope: 'system/Patient.cruds' });
  const send = (kind, body) =>
    fetch(`${base}/${kind}/one`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${given.access_token}`, 'content-type': 'application/fhir+json' },
      body: JSON.stringify({ resourceType: kind, id: 'one', ...body }),
    });
  const identifier = [{ system: 'http://hospital.example/mrn', value: '4711' }];
  console.log(
    JSON.stringify({
      scope: given.scope,
      seconds: given.expires_in,
      patient: (await send('Patient', { identifier })).status,
      order: (await send('ServiceRequest', {})).status,
    }),
  );
})();

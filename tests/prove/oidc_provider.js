// oidc-provider with its own pages for logins, on a free port. It prints the port.
// Its argument: the address of our pages, and as JSON the client's metadata beyond its addresses.
const { generateKeyPairSync } = require('node:crypto');
const http = require('node:http');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

// A key for each kind of signature.
const KEYS = [['rsa', { modulusLength: 2048 }], ['ec', { namedCurve: 'P-256' }]].map(
  ([kind, options]) => generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
);

const [pages, client] = process.argv.slice(2);
const GROUPS = { ada: ['staff', 'radiologists'], grace: ['staff', 'leads'], eve: ['staff'] };

async function serve() {
  const folder = path.join(process.env.NODE_PATH, 'oidc-provider', 'lib', 'index.js');
  const { Provider } = await import(pathToFileURL(folder));
  const server = http.createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id: 'nightdraft',
      redirect_uris: [`${pages}/login/oidc/callback`],
      post_logout_redirect_uris: [`${pages}/login/oidc/logged-out`],
      backchannel_logout_uri: `${pages}/login/oidc/backchannel-logout`,
      backchannel_logout_session_required: true,
      require_auth_time: true,
      ...JSON.parse(client),
    }],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups'] },
    features: { backchannelLogout: { enabled: true } },
    jwks: { keys: KEYS },
    // It calls no address of a private network else, and so none on loopback.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    pkce: { required: () => true },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'PS256'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, name: `Person ${id}`, preferred_username: id, groups: GROUPS[id] ?? [],
      }),
    }),
  });
  provider.on('backchannel.error', (_, error) => console.error('back-channel', error.message));
  server.on('request', provider.callback());
  console.log(port);
}
serve();

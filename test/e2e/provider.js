// A certified OpenID Connect provider with its own pages, in this process. Whoever types a name there is that account. It is on
// localhost while the chat is on 127.0.0.1, so that to the browser they are two sites.

import { once } from 'node:events';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

export const CLIENT_ID = 'chat';
export const CLIENT_SECRET = 'a secret that only the two servers know';

export class IdentityProvider {
  #server;
  #handler = null;

  /** Takes a port for one test. Nothing is served on it yet. */
  static async listen(t) {
    const made = new IdentityProvider();
    made.#server = createServer((request, response) => {
      if (made.#handler !== null) made.#handler(request, response);
      else response.writeHead(503).end();
    });
    made.#server.listen(0, '127.0.0.1');
    await once(made.#server, 'listening');
    made.issuer = `http://localhost:${made.#server.address().port}`;
    t.after(() => {
      made.#server.closeAllConnections();
      made.#server.close();
    });
    return made;
  }

  /** Serves the chat at this address. */
  serve(chat) {
    const provider = new Provider(this.issuer, {
      clients: [{
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        redirect_uris: [`${chat}/oidc/callback`],
        post_logout_redirect_uris: [`${chat}/`],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      }],
      pkce: { required: () => true },
      cookies: { keys: ['of this test'] },
      claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: `account-${id}`, preferred_username: id, groups: id === 'guest' ? [] : ['staff'] }),
      }),
    });
    this.#handler = provider.callback();
  }
}

/** The flags of a server whose people sign in there. */
export const flagsFor = (provider) => [
  '--dev=false', '--oidc.issuer', provider.issuer, '--oidc.name', 'Example', '--oidc.client-id', CLIENT_ID, '--oidc.client-secret', CLIENT_SECRET,
  '--oidc.scopes', 'profile', '--oidc.user-claim', 'preferred_username',
  '--oidc.redirect-url', (server) => `${server.address}/oidc/callback`,
];

// The session of somebody who signed in with a provider: tokens of this server for it, renewed on the open connection before
// they end, and its end. The session itself is a cookie that no script sees; package signin of the server has the other half.

const TOKEN_PATH = '/oidc/token';
const LOGOUT_PATH = '/oidc/logout';

/** A token is renewed when this part of its life is over, so that a server that is away for a while costs nothing. */
const RENEW_AFTER = 2 / 3;
const RETRY_MS = 5_000;

const platform = {
  fetch: (...request) => fetch(...request),
  setTimeout: (...timer) => setTimeout(...timer),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** There is no session any more: only signing in again helps. */
export class SessionOver extends Error {}

export class Session {
  // Set at construction.
  #over;
  #platform;

  #user = null;
  #client = null;
  #timer;
  /** A token that was fetched and that no connection has had yet. */
  #fresh = null;

  /** @param {(error: SessionOver) => void} over  called when the session has ended while a client was kept */
  constructor(over, { fetch, setTimeout, clearTimeout } = platform) {
    this.#over = over;
    this.#platform = { fetch, setTimeout, clearTimeout };
  }

  /** Whose it is, null before that is known. */
  get user() {
    return this.#user;
  }

  /** Finds out whose session it is. Throws SessionOver if there is none. */
  async begin() {
    this.#fresh = await this.#fetchToken();
    return this.#user;
  }

  /** Renews the tokens of this client from now on. */
  keep(client) {
    this.#client = client;
  }

  /** A token for the next connection, or to renew one. */
  async token() {
    const fresh = this.#fresh;
    this.#fresh = null;
    return fresh ?? this.#fetchToken();
  }

  /** Ends it, here and for all windows. Answers where the provider's own session is ended, or ''. */
  async end() {
    this.close();
    const response = await this.#platform.fetch(LOGOUT_PATH, { method: 'POST' });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return (await response.json()).redirect;
  }

  /** Renews nothing any more. */
  close() {
    this.#client = null;
    this.#platform.clearTimeout(this.#timer);
  }

  async #fetchToken() {
    const response = await this.#platform.fetch(TOKEN_PATH, { method: 'POST' });
    if (response.status === 401) throw this.#ended('Your session has ended. Sign in again.');
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const { user, token, expiresInMs } = await response.json();
    if (this.#user !== null && this.#user !== user) throw this.#ended(`${user} has signed in in this browser.`);
    this.#user = user;
    this.#renewIn(expiresInMs * RENEW_AFTER);
    return token;
  }

  #ended(why) {
    const error = new SessionOver(why);
    const kept = this.#client !== null;
    this.close();
    if (kept) this.#over(error);
    return error;
  }

  #renewIn(ms) {
    this.#platform.clearTimeout(this.#timer);
    this.#timer = this.#platform.setTimeout(() => this.#renew(), ms);
  }

  async #renew() {
    this.#fresh = null; // it is as old as the one that is to be renewed
    try {
      await this.#client?.renew();
    } catch {
      if (this.#client !== null) this.#renewIn(RETRY_MS);
    }
  }
}

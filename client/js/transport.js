// Which way a client goes to the server: a WebSocket, or events and POSTs where none gets through. docs/client.md, "Fallback".

import { binary } from './binary.js';
import { EventSocket } from './events.js';
import { json } from './json.js';

const codecs = { binary, json };

/** Tries of a WebSocket that fail although HTTP works, after which it is taken to be blocked. One that nothing answers counts for all. */
const MOST_FAILURES = 2;

/** After so long a connection is begun with a WebSocket again: the network may be another. */
const BLOCKED_MS = 600_000;

export class Transport {
  // Set at construction.
  #WebSocket;
  #url;
  #codec;
  #clock;
  #fetch;
  #eventsUrl;

  /** 'websocket' or 'events', of the connection that is there or was last tried. */
  name = 'websocket';
  /** A connection is being opened. */
  #trying = false;
  #failures = 0;
  /** Up to when events are what is tried first: they worked. */
  #eventsUntil = 0;
  /** Ends the questions whether HTTP works; null when there were none. */
  #asking = null;

  /** Throws on options that can't work. */
  constructor({ url, codec = 'binary', WebSocket = globalThis.WebSocket, fetch = globalThis.fetch, fallback = true }, clock) {
    if (!Object.hasOwn(codecs, codec)) {
      throw new TypeError(`Rookery: codec is binary or json, not ${codec}`);
    }
    if (typeof WebSocket !== 'function') {
      throw new TypeError('Rookery: this platform has no WebSocket; give an implementation as the option WebSocket');
    }
    this.#WebSocket = WebSocket;
    this.#url = socketAddress(url);
    this.#codec = codecs[codec];
    this.#clock = clock;
    this.#fetch = fallback !== false && typeof fetch === 'function' ? fetch : null;
    this.#eventsUrl = eventsAddress(this.#url, fallback);
  }

  /** Opens a socket; subprotocol and codec are its codec's. Throws if the platform refuses the address. */
  open() {
    this.#trying = true;
    this.name = this.#failures >= MOST_FAILURES || this.#clock.now() < this.#eventsUntil ? 'events' : 'websocket';
    if (this.name === 'events') {
      return { socket: new EventSocket(this.#eventsUrl, { fetch: this.#fetch, clock: this.#clock }), codec: json };
    }
    const WebSocket = this.#WebSocket;
    return { socket: new WebSocket(this.#url, this.#codec.subprotocol), codec: this.#codec };
  }

  /** The server has answered over the socket. */
  works() {
    this.rest();
    // Where a WebSocket was blocked once, one try more is enough to know that it still is.
    this.#failures = this.name === 'events' ? MOST_FAILURES - 1 : 0;
    this.#eventsUntil = this.name === 'events' ? this.#clock.now() + BLOCKED_MS : 0;
  }

  /** No connection is tried any more: what was asked is of no use. */
  rest() {
    this.#trying = false;
    this.#asking?.abort();
    this.#asking = null;
  }

  /** The connection is lost, or the try to have one: for a socket that nothing has come from this may mean that it is blocked. */
  lost({ code }) {
    if (!this.#trying || this.#fetch === null) return;
    this.#trying = false;
    if (this.name === 'events') {
      this.#failures = 0; // nothing gets through: the network or the server is away
      this.#eventsUntil = 0;
    } else {
      this.#ask(code === 'connect_timeout' ? MOST_FAILURES : 1);
    }
  }

  /** Asks whether HTTP works at the same time: a server that is away blocks nothing. */
  async #ask(weight) {
    const fetch = this.#fetch; // which browsers want to be called as a function
    this.#asking ??= new AbortController();
    const { signal } = this.#asking;
    try {
      const { status } = await fetch(this.#eventsUrl, { method: 'HEAD', cache: 'no-store', signal });
      if (status < 300 && !signal.aborted) this.#failures += weight;
    } catch {
      // Neither.
    }
  }
}

/** Absolute, and ws or wss: older browsers take nothing else. */
function socketAddress(url = '/ws') {
  const absolute = new URL(url, globalThis.location?.href);
  absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
  return absolute.href;
}

/** Beside the WebSocket, unless the option says where. */
function eventsAddress(url, fallback) {
  const absolute = typeof fallback === 'boolean' ? new URL('events', url) : new URL(fallback, globalThis.location?.href);
  absolute.protocol = absolute.protocol.replace(/^ws/, 'http');
  return absolute.href;
}

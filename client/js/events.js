// A stream of Server-Sent Events and POSTs in the shape of a WebSocket, for networks that let none through: docs/fallback.md.
// One connection brings what the server says; what the client says goes by POST, one after the other, so that it keeps
// its order. By fetch and not by EventSource, which comes back by itself: when to come back is rookery.js's to say.

import { CLOSE_ABNORMAL, CLOSE_NORMAL } from './codes.js';

/** What waits goes together up to so many characters: each POST takes a way there and back. */
const MAX_TOGETHER = 16 << 10;

/** How long to wait with a POST that was refused without a word about when. */
const RETRY_MS = 1_000;

/** The longest such wait, whatever a proxy says: all that the client says stands behind it. */
const MOST_RETRY_MS = 30_000;

/** How long close waits until what was sent before has gone. Whoever does not answer meanwhile will not, and a page or process wants to end. */
const CLOSE_MS = 5_000;

export class EventSocket extends EventTarget {
  // Set at construction.
  #fetch;
  #clock;
  #url;
  #abort = new AbortController();

  /** What POSTs are addressed to; null before the first event. */
  #name = null;
  #waiting = [];
  #posting = false;
  #retryTimer;
  #closeTimer;
  /** Nothing more is taken; what was taken is still sent. */
  #closing = false;
  #over = false;

  /** What the server takes at once, in bytes. Whoever has heard it says so. */
  maxMessageBytes = Infinity;
  /** Characters that no POST has brought yet. */
  bufferedAmount = 0;

  constructor(url, { fetch, clock }) {
    super();
    this.#url = url;
    this.#fetch = fetch;
    this.#clock = clock;
    this.#receive();
  }

  send(text) {
    if (this.#closing) return;
    this.#waiting.push(text);
    this.bufferedAmount += text.length;
    this.#post();
  }

  /** Ends when what was sent before has gone, as a WebSocket does. The server sees the end of the stream; a code there is none for. */
  close() {
    if (this.#closing) return;
    this.#closing = true;
    if (this.#posting) this.#closeTimer = this.#clock.setTimeout(() => this.#end(CLOSE_ABNORMAL, ''), CLOSE_MS);
    else this.#end(CLOSE_NORMAL, '');
  }

  // What the server says.

  async #receive() {
    const fetch = this.#fetch; // which browsers want to be called as a function
    try {
      const response = await fetch(this.#url, { headers: { Accept: 'text/event-stream' }, cache: 'no-store', signal: this.#abort.signal });
      if (!response.ok || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
        this.#end(CLOSE_ABNORMAL, `events were answered with HTTP ${response.status}`);
        return;
      }
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let text = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        text += decoder.decode(value, { stream: true });
        const end = text.lastIndexOf('\n\n');
        if (end < 0) continue;
        const events = text.slice(0, end);
        text = text.slice(end + 2);
        this.#take(events);
      }
    } catch {
      // Not reached, or broken off, or closed by us: the end says all.
    }
    this.#end(CLOSE_ABNORMAL, '');
  }

  /** What came together is one message, as over a WebSocket. */
  #take(events) {
    let frames = '';
    for (const event of events.split('\n\n')) {
      const { event: kind = 'message', data } = fieldsOf(event);
      if (data === undefined) continue; // a comment, or when to retry
      if (kind === 'session') {
        this.#name = data;
        this.#say('open');
      } else if (data.startsWith('{"close":')) {
        this.#say('message', { data: frames });
        const { code, reason = '' } = JSON.parse(data).close;
        this.#end(code, reason);
        return;
      } else if (kind === 'message') {
        frames += data + '\n';
      }
    }
    if (frames !== '') this.#say('message', { data: frames });
  }

  // What the client says.

  async #post() {
    if (this.#posting) return;
    this.#posting = true;
    while (this.#waiting.length > 0 && !this.#over) {
      let size = 0;
      const most = Math.min(MAX_TOGETHER, this.maxMessageBytes / 3); // as many bytes a character may take
      const first = this.#waiting.findIndex((text, i) => (size += text.length + 1) > most && i > 0);
      const together = this.#waiting.splice(0, first < 0 ? this.#waiting.length : first);
      if (!(await this.#deliver(together.join('\n')))) return;
      this.bufferedAmount -= together.reduce((sum, text) => sum + text.length, 0);
    }
    this.#posting = false;
    if (this.#closing) this.#end(CLOSE_NORMAL, '');
  }

  /** Whether the server has taken it. What it has no room for now is sent again. */
  async #deliver(body) {
    const fetch = this.#fetch;
    const address = new URL(this.#url); // which may have a query
    address.pathname += `/${this.#name}`;
    for (;;) {
      let status, after;
      try {
        const response = await fetch(address.href, { method: 'POST', body, signal: this.#abort.signal });
        await response.arrayBuffer(); // else the connection is not used again
        status = response.status;
        after = Number(response.headers.get('Retry-After')) * 1000;
      } catch {
        this.#end(CLOSE_ABNORMAL, ''); // it may have been taken: who asked knows what to do
        return false;
      }
      if (status === 204) return true;
      if (status !== 429 && status !== 503) {
        this.#end(CLOSE_ABNORMAL, `a POST was answered with HTTP ${status}`);
        return false;
      }
      if (this.#over) return false;
      // Never settled if the socket is closed meanwhile.
      await new Promise((resolve) => (this.#retryTimer = this.#clock.setTimeout(resolve, Math.min(after || RETRY_MS, MOST_RETRY_MS))));
    }
  }

  #end(code, reason) {
    if (this.#over) return;
    this.#over = this.#closing = true;
    for (const timer of [this.#retryTimer, this.#closeTimer]) this.#clock.clearTimeout(timer);
    this.#abort.abort();
    this.#say('close', { code, reason });
  }

  #say(name, fields = {}) {
    this.dispatchEvent(Object.assign(new Event(name), fields));
  }
}

/** The fields of an event; a comment has none. */
function fieldsOf(event) {
  const fields = {};
  for (const line of event.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, '');
  }
  return fields;
}

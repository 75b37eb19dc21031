// A clock that moves only when told, and a network whose other end is the test.

import { Rookery } from '../rookery.js';

export class FakeClock {
  time = 1_000_000;
  #timers = new Map();
  #next = 1;

  now() {
    return this.time;
  }

  setTimeout(callback, ms) {
    const id = this.#next++;
    this.#timers.set(id, { at: this.time + Math.max(0, ms), callback, id });
    return id;
  }

  clearTimeout(id) {
    this.#timers.delete(id);
  }

  get waiting() {
    return this.#timers.size;
  }

  /** Lets ms pass, firing timers in order; what a timer sets fires too if it is due. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.#timers.values()].filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (due === undefined) break;
      this.#timers.delete(due.id);
      this.time = Math.max(this.time, due.at);
      due.callback();
      await settle();
    }
    this.time = end;
    await settle();
  }
}

/** Lets everything that waits for a promise run. */
export function settle() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The WebSocket of one connection, and the server's hand on it. */
class FakeSocket extends EventTarget {
  sent = [];
  closedWith = null;

  constructor(url, protocol) {
    super();
    this.url = url;
    this.protocol = protocol;
  }

  send(text) {
    this.sent.push(...text.split('\n').filter(Boolean).map((line) => JSON.parse(line)));
  }

  /** As strict as browsers are. */
  close(code, reason = '') {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException(`code ${code}`, 'InvalidAccessError');
    if (new TextEncoder().encode(reason).length > 123) throw new DOMException('the reason is too long', 'SyntaxError');
    this.closedWith ??= { code, reason };
  }

  // The server's side.

  open() {
    this.dispatchEvent(new Event('open'));
  }

  /** One WebSocket message with these frames. */
  say(...frames) {
    this.raw(frames.map((frame) => JSON.stringify(frame)).join('\n') + '\n');
  }

  raw(data) {
    this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }

  end(code = 1006, reason = '') {
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }

  /** The requests of one operation, oldest first. */
  requests(op) {
    return this.sent.filter((frame) => op in frame);
  }

  last(op) {
    return this.requests(op).at(-1);
  }

  /** Answers the newest request of an operation. */
  reply(op, answer) {
    this.say({ id: this.last(op).id, ...answer });
  }

  refuse(op, name, { code = 400, retry = false, ...more } = {}) {
    this.reply(op, { error: { code, name, message: name, retry, ...more } });
  }

  accept({ heartbeatMs = 25_000, maxMessageBytes = 65_536 } = {}) {
    this.open();
    this.reply('connect', { connected: { user: 'alice', session: 's', heartbeatMs, maxMessageBytes } });
  }

  joined(room, head, more = {}) {
    const request = this.sent.findLast((frame) => frame.join?.room === room);
    this.say({ id: request.id, joined: { room, epoch: 'e1', head, ...more } });
  }

  message(room, seq, text = `m${seq}`) {
    this.say({ message: { room, seq, at: 1, from: 'bob', text } });
  }

  gap(room, first, last, reason) {
    this.say({ gap: { room, first, last, reason } });
  }
}

/**
 * A client on a fake clock and network. random is fixed at one half unless given, so that a
 * wait is half its ceiling.
 */
export function makeClient(options = {}) {
  const clock = new FakeClock();
  const sockets = [];
  class WebSocket extends FakeSocket {
    constructor(url, protocol) {
      super(url, protocol);
      sockets.push(this);
    }
  }
  const states = [];
  const identity = options.token === undefined ? { name: 'alice' } : {};
  const client = new Rookery({
    url: 'ws://test/ws',
    codec: 'json',
    WebSocket,
    fetch: async () => {
      throw new TypeError('nothing answers by HTTP');
    },
    clock,
    random: () => 0.5,
    randomBytes: (length) => new Uint8Array(length).fill(0xab),
    ...identity,
    ...options,
  });
  client.on('state', (event) => states.push(event));
  return { client, clock, sockets, states, socket: () => sockets.at(-1) };
}

/** A client that is connected already. */
export async function connected(options = {}, accept = {}) {
  const made = makeClient(options);
  made.client.connect();
  await made.clock.pass(0);
  made.socket().accept(accept);
  return made;
}

/** Lets the wait for the next try pass, and the server accept that try. */
export async function comeBack({ client, clock, socket }, accept = {}) {
  await clock.pass(Math.max(0, client.retryAt - clock.now()));
  socket().accept(accept);
}

/** Ends the connection and lets the client come back on a new socket. */
export async function reconnect(made, accept = {}) {
  made.socket().end();
  await comeBack(made, accept);
}

/** What becomes of a promise that should be settled by now: 'waiting', {value} or {error}. */
export async function outcome(promise) {
  let result = 'waiting';
  promise.then((value) => (result = { value }), (error) => (result = { error }));
  await settle();
  return result;
}

/** The same promise, whose rejection the test asks for later. */
export function kept(promise) {
  promise.catch(() => {});
  return promise;
}

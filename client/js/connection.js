// One connection: the life of one socket, from opening to its end. Requests and their
// replies, and the heartbeat. What comes after the end is for the owner (rookery.js).

import { CLOSE_ABNORMAL, CLOSE_BAD_FRAME, CLOSE_NORMAL } from './codes.js';
import { RookeryError } from './errors.js';

/** What answers each request when it is not an error. */
const replyTo = {
  connect: 'connected',
  join: 'joined',
  leave: 'left',
  publish: 'published',
  history: 'history',
  receipts: 'receipts',
  create: 'room',
  configure: 'room',
  member: 'member',
  members: 'members',
  rooms: 'rooms',
  sync: 'synced',
  notify: 'notify',
  device: 'device',
  presence: 'presence',
  state: 'state',
  ping: 'pong',
};

/** Bytes that the socket has not sent, beyond which ephemeral publishes and marks are left out. */
const MAX_WAITING = 1 << 16;

/** A check after wake() waits this long: whoever pressed the button is looking. */
const CHECK_MS = 5_000;

/**
 * @typedef {object} ConnectionOwner
 * @property {() => void} opened
 * @property {(frame: object) => void} frame  what the server says by itself
 * @property {(code: number, reason: string) => void} ended  by the server or the network
 * @property {(why: string) => void} dead  we gave it up
 */

export class Connection {
  // Set at construction.
  #socket;
  #codec;
  #clock;
  #owner;

  #over = false;
  #nextId = 1;
  /** Requests in flight: id to {op, done}. */
  #pending = new Map();

  // Set by the reply to connect.
  #heartbeatMs = 0;
  #maxMessageBytes = Infinity;

  #lastHeard = 0;
  #pinged = false;
  #heartbeatTimer;

  /** @param {ConnectionOwner} owner */
  constructor({ socket, codec, clock }, owner) {
    this.#codec = codec;
    this.#clock = clock;
    this.#owner = owner;
    this.#socket = socket;
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.addEventListener('open', () => {
      if (!this.#over) this.#owner.opened();
    });
    this.#socket.addEventListener('message', (event) => {
      if (!this.#over) this.#heard(event.data);
    });
    this.#socket.addEventListener('close', (event) => {
      if (this.#over) return;
      this.#finish();
      this.#owner.ended(event.code ?? CLOSE_ABNORMAL, event.reason ?? '');
    });
    // An error is always followed by close, which says the same and more. Without a listener
    // Node's sockets would throw it.
    this.#socket.addEventListener('error', () => {});
  }

  /**
   * Sends a request. done(error, reply) is called with what it is answered with; never when
   * the connection ends before that, since then only the owner of the request knows whether
   * to repeat it.
   *
   * @param {string} op
   * @param {object} body
   * @param {(error: RookeryError | null, reply?: object) => void} done
   */
  request(op, body, done) {
    const id = this.#nextId++;
    const message = this.#codec.encode({ id, [op]: body });
    const size = typeof message === 'string' ? new TextEncoder().encode(message).length : message.length;
    if (size > this.#maxMessageBytes) {
      done(new RookeryError('too_large', `${op} takes ${size} bytes, the server at most ${this.#maxMessageBytes}: send less at once.`));
      return;
    }
    this.#pending.set(id, { op, done });
    this.#socket.send(message);
  }

  /**
   * Sends what nobody answers: an ephemeral publish, a mark, typing. false: it is too large, or the socket
   * has so much waiting that it would be old when it left.
   */
  tell(op, body) {
    if (this.#socket.bufferedAmount > MAX_WAITING) return false;
    const message = this.#codec.encode({ [op]: body });
    const size = typeof message === 'string' ? new TextEncoder().encode(message).length : message.length;
    if (size > this.#maxMessageBytes) return false;
    this.#socket.send(message);
    return true;
  }

  /** Begins the heartbeat with what the server said in connected. */
  established({ heartbeatMs, maxMessageBytes }) {
    this.#heartbeatMs = heartbeatMs;
    this.#maxMessageBytes = maxMessageBytes || Infinity;
    this.#socket.maxMessageBytes = this.#maxMessageBytes; // for the one of events, which puts messages together
    this.#lastHeard = this.#clock.now();
    if (heartbeatMs > 0) this.#beatIn(heartbeatMs);
  }

  /** Pings now and gives the connection up when nothing is heard within CHECK_MS. */
  check() {
    if (this.#over) return;
    this.#ping();
    this.#beatIn(this.#heartbeatMs > 0 ? Math.min(CHECK_MS, this.#heartbeatMs) : CHECK_MS);
  }

  /** Ends the connection; nothing of it is heard from now on, its late events included. */
  drop(code = CLOSE_NORMAL, reason = '') {
    if (this.#over) return;
    this.#finish();
    try {
      this.#socket.close(code, cutReason(reason));
    } catch {
      // Still opening, or gone already: there is nobody to tell.
    }
  }

  #finish() {
    this.#over = true;
    this.#pending.clear();
    this.#clock.clearTimeout(this.#heartbeatTimer);
  }

  #heard(data) {
    this.#lastHeard = this.#clock.now();
    this.#pinged = false;
    let frames;
    try {
      frames = this.#codec.decode(data);
    } catch (error) {
      this.#giveUp(CLOSE_BAD_FRAME, `bad frame from the server: ${error.message}`);
      return;
    }
    for (const frame of frames) {
      if (this.#over) return; // what the frame before led to
      this.#take(frame);
    }
  }

  #take(frame) {
    if (frame.id !== 0) {
      const request = this.#pending.get(frame.id);
      if (request === undefined) return;
      this.#pending.delete(frame.id);
      const reply = frame[replyTo[request.op]];
      if (frame.error) request.done(RookeryError.fromReply(frame.error));
      else if (reply) request.done(null, reply);
      else this.#giveUp(CLOSE_BAD_FRAME, `the reply to ${request.op} is of another kind`);
      return;
    }
    if (frame.ping) this.#ping();
    else this.#owner.frame(frame);
  }

  // The heartbeat. One timer; hearing something does not touch it, since messages are far
  // more frequent than heartbeats. It finds out when it fires.

  #beatIn(ms) {
    this.#clock.clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = this.#clock.setTimeout(() => this.#beat(), ms);
  }

  #beat() {
    if (this.#pinged) {
      this.#giveUp(4001, 'the server has not answered a ping');
      return;
    }
    const silent = this.#clock.now() - this.#lastHeard;
    if (silent >= 0 && silent < this.#heartbeatMs) {
      this.#beatIn(this.#heartbeatMs - silent);
      return;
    }
    // Silent for long, or the clock was set back: ask. Our own absence (a sleeping machine, a
    // hidden page) is no proof, only an unanswered ping is.
    this.#ping();
    this.#beatIn(this.#heartbeatMs || CHECK_MS);
  }

  #ping() {
    this.#pinged = true;
    this.request('ping', {}, () => {});
  }

  #giveUp(code, why) {
    this.drop(code, why);
    this.#owner.dead(why);
  }
}

/**
 * What a Close frame holds of a reason: 123 bytes of UTF-8 (RFC 6455 5.5). close throws on
 * more, and the socket would stay open, with nobody listening to it.
 */
function cutReason(reason) {
  const bytes = new TextEncoder().encode(reason).subarray(0, 123);
  return new TextDecoder().decode(bytes, { stream: true }); // half a character is left out
}

// What the application has published and the server has not yet answered. docs/client.md,
// "Publishing".

import { RookeryError } from './errors.js';

/** The server remembers keys for 10 minutes; a minute is kept for the way there. */
const KEY_WINDOW_MS = 9 * 60_000;

/** Errors after which the message may be stored all the same. */
const leavesOpen = new Set(['internal', 'log_unavailable']);

export class Outbox {
  // Set at construction.
  #link;
  #window;
  #maxQueued;
  #maxQueuedBytes;
  #keyPrefix;

  #keys = 0;
  #queued = 0;
  #queuedBytes = 0;
  /** Room name to its lane: {entries, heldUntil, timer}. Rooms don't wait for each other. */
  #lanes = new Map();
  #ended = null;

  constructor(link, { publishWindow = 1, maxQueued = 1_000, maxQueuedBytes = 1 << 20 }) {
    this.#link = link;
    this.#window = publishWindow;
    this.#maxQueued = maxQueued;
    this.#maxQueuedBytes = maxQueuedBytes;
    // Unique for the user, not only for this client: 64 random bits.
    const random = link.randomBytes(8);
    this.#keyPrefix = Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  get length() {
    return this.#queued;
  }

  nextKey() {
    this.#keys++;
    return `${this.#keyPrefix}-${this.#keys}`;
  }

  /**
   * @param {string|Uint8Array|undefined} content  undefined: of a change that has none
   * @returns {Promise<{seq: number, at: number, key: string}>}
   */
  publish(room, content, { key = this.nextKey(), ...more } = {}) {
    const body = { room, key, ...more };
    let size = 0;
    if (typeof content === 'string') {
      body.text = content;
      size = new TextEncoder().encode(content).length;
    } else if (content instanceof Uint8Array) {
      body.data = content.slice(); // the caller may go on writing into its own
      size = content.length;
    } else if (content !== undefined || !more.change) {
      return Promise.reject(new TypeError('publish: the content is neither a string nor a Uint8Array'));
    }
    const refusal = this.#refusal(size, key);
    if (refusal) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const lane = this.#lane(room);
      // epoch: of the numbers that it names, as far as known. openSince: when it was first sent without being answered; undefined: certainly not stored.
      const epoch = names(body) ? this.#link.room(room)?.epoch : undefined;
      lane.entries.push({ body, size, epoch, sent: false, openSince: undefined, refusals: 0, resolve, reject });
      this.#queued++;
      this.#queuedBytes += size;
      this.#pump(lane);
    });
  }

  connected() {
    for (const lane of this.#lanes.values()) this.#pump(lane);
  }

  /** A room is known to be of an epoch: what names messages of another one is about others now, or about none. */
  began({ name, epoch }) {
    const lane = this.#lanes.get(name);
    for (const entry of lane?.entries.filter((waiting) => waiting.epoch !== undefined && waiting.epoch !== epoch) ?? []) {
      this.#remove(lane, entry);
      entry.reject(new RookeryError('epoch_changed', `${name} has begun anew, and the message that this is about is gone.`, { key: entry.body.key }));
    }
  }

  /** A room is joined, or will not be: nothing waits for that any more. */
  settled({ name }) {
    const lane = this.#lanes.get(name);
    if (lane !== undefined) this.#pump(lane);
  }

  disconnected() {
    for (const lane of this.#lanes.values()) {
      for (const entry of lane.entries) entry.sent = false;
    }
  }

  ended(error) {
    this.#ended = error;
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    this.#queued = 0;
    this.#queuedBytes = 0;
    for (const lane of lanes) {
      this.#link.clock.clearTimeout(lane.timer);
      for (const entry of lane.entries) entry.reject(closedError(error, entry.body.key));
    }
  }

  #refusal(size, key) {
    if (this.#ended) return closedError(this.#ended, key);
    if (size > this.#link.maxMessageBytes) {
      return new RookeryError('too_large', `The message has ${size} bytes, the server takes at most ${this.#link.maxMessageBytes}: shorten it.`, { key });
    }
    if (this.#queued >= this.#maxQueued || this.#queuedBytes + size > this.#maxQueuedBytes) {
      return new RookeryError('queue_full', `${this.#queued} messages (${this.#queuedBytes} bytes) are waiting to be sent: try again when some have gone.`, { key });
    }
    return null;
  }

  #lane(room) {
    let lane = this.#lanes.get(room);
    if (lane === undefined) {
      lane = { room, entries: [], heldUntil: 0, timer: undefined };
      this.#lanes.set(room, lane);
    }
    return lane;
  }

  /**
   * Sends what may be sent: oldest first, at most the window in flight. What names messages waits for the room to be joined, which says
   * whether they are still those, and what is behind it waits, too.
   */
  #pump(lane) {
    if (!this.#link.ready || this.#link.clock.now() < lane.heldUntil) return;
    this.#rejectForgotten(lane);
    // A copy: an entry that is too large is answered, and so removed, while it is sent.
    for (const entry of lane.entries.slice(0, this.#window)) {
      if (entry.epoch !== undefined && this.#link.room(lane.room)?.state === 'joining') return;
      if (!entry.sent) this.#send(lane, entry);
    }
  }

  #send(lane, entry) {
    const openBefore = entry.openSince;
    entry.sent = true;
    entry.openSince ??= this.#link.clock.now();
    this.#link.request('publish', entry.body, (error, reply) => {
      if (error === null) {
        this.#remove(lane, entry);
        entry.resolve({ seq: reply.seq, at: reply.at, key: entry.body.key });
      } else if (error.retry) {
        if (!leavesOpen.has(error.code)) entry.openSince = openBefore;
        this.#hold(lane, entry, error.retryAfterMs);
        return;
      } else {
        this.#remove(lane, entry);
        error.key = entry.body.key;
        entry.reject(error);
      }
      this.#pump(lane);
    });
  }

  #hold(lane, entry, retryAfterMs) {
    entry.sent = false;
    const delay = this.#link.delay(entry.refusals++, retryAfterMs);
    const { clock } = this.#link;
    lane.heldUntil = clock.now() + delay;
    clock.clearTimeout(lane.timer);
    lane.timer = clock.setTimeout(() => {
      lane.heldUntil = 0; // whatever the wall clock says now
      this.#pump(lane);
    }, delay);
  }

  #rejectForgotten(lane) {
    const now = this.#link.clock.now();
    const forgotten = (entry) => !entry.sent && entry.openSince !== undefined && now - entry.openSince >= KEY_WINDOW_MS;
    for (const entry of lane.entries.filter(forgotten)) {
      this.#remove(lane, entry);
      entry.reject(new RookeryError('outcome_unknown',
        `The message to ${lane.room} was sent more than 9 minutes ago and never answered: look whether it is there before you send it again.`,
        { key: entry.body.key }));
    }
  }

  #remove(lane, entry) {
    const index = lane.entries.indexOf(entry);
    if (index < 0) return;
    lane.entries.splice(index, 1);
    this.#queued--;
    this.#queuedBytes -= entry.size;
    if (lane.entries.length === 0) {
      this.#link.clock.clearTimeout(lane.timer);
      this.#lanes.delete(lane.room);
    }
  }
}

function closedError(reason, key) {
  return new RookeryError('closed', `The client is closed (${reason.message}); the message was not acknowledged.`, { key, cause: reason });
}

/** The publish is about other messages, by their numbers. */
function names({ change, replyTo, thread }) {
  return Boolean(change || replyTo || thread);
}

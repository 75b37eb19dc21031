// How far users have come in a room: this user's marks on their way to the server, and what the
// server tells of everybody. docs/client.md, "Receipts".

/** One mark of a room in this time. The server gathers those of a second anyway. */
const INTERVAL_MS = 1_000;

const start = Object.freeze({ delivered: 0, read: 0 });

export class Receipts {
  // Set at construction.
  #link;
  #room;

  /** What the last joined said; undefined before. */
  #kept;
  #epoch;
  /** The room is joined on this connection, so what it said is of the history that numbers belong to. */
  #live = false;
  /** Where the application says that the user stands. */
  #own = start;
  /** What of it was sent on this connection. */
  #sent = start;
  /** User to the furthest that the server told. At most 100: of more users it tells counts. */
  #told = new Map();
  /** Runs for INTERVAL_MS after a mark. */
  #timer;

  /**
   * @param {object} link  see rookery.js
   * @param {string} room
   */
  constructor(link, room) {
    this.#link = link;
    this.#room = room;
  }

  get kept() {
    return this.#kept;
  }

  /** Moves the user forward, to where both numbers are at least what is given. */
  mark({ delivered = 0, read = 0 }) {
    for (const seq of [delivered, read]) {
      if (!Number.isSafeInteger(seq) || seq < 0) throw new TypeError(`mark: ${seq} is no sequence number`);
    }
    this.#own = beyond(this.#own, { delivered, read });
    this.#send();
  }

  /** Where a user stands now, if that is further than what was told of them before; else null. */
  heard({ user, delivered, read }) {
    const before = this.#told.get(user) ?? start;
    const now = beyond(before, { delivered, read });
    if (!isBeyond(now, before)) return null;
    this.#told.set(user, now);
    return { user, ...now };
  }

  joined({ receipts, epoch }) {
    this.#kept = receipts;
    this.#epoch = epoch;
    this.#live = true;
    this.#send();
  }

  disconnected() {
    this.#live = false;
    this.#link.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sent = start;
  }

  /** Sequence numbers are those of another history now. */
  reset() {
    this.#own = start;
    this.#sent = start;
    this.#told.clear();
  }

  #send() {
    if (!this.#kept || !this.#live || !this.#link.ready || this.#timer !== undefined) return;
    const known = beyond(this.#sent, this.#told.get(this.#link.user) ?? start);
    if (!isBeyond(this.#own, known)) return;
    // Refused by a socket that has much waiting, it is tried again like one that came too soon.
    if (this.#link.tell('mark', { room: this.#room, ...this.#own, epoch: this.#epoch })) this.#sent = this.#own;
    this.#timer = this.#link.clock.setTimeout(() => {
      this.#timer = undefined;
      this.#send();
    }, INTERVAL_MS);
  }
}

/** The further of two standings in each respect. What was read has arrived. */
function beyond(a, b) {
  const read = Math.max(a.read, b.read);
  return { delivered: Math.max(a.delivered, b.delivered, read), read };
}

function isBeyond(a, b) {
  return a.delivered > b.delivered || a.read > b.read;
}

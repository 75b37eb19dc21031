// What this page has written in one room and the server has not yet given a place, or has not yet shown.

/** The server remembers a retry key for 10 minutes; see docs/client.md. */
export const KEY_WINDOW_MS = 9 * 60_000;
/** The client's word for what names messages that are gone, since the room has begun anew. */
export const EPOCH_CHANGED = 'epoch_changed';

const GONE = 'The room has begun anew, and the message that this answers is gone.';

/**
 * @typedef {object} Entry
 * @property {string} key     the retry key: sent again with it, it is stored once
 * @property {string} text
 * @property {object} [more]  what it answers and mentions
 * @property {string} [epoch] the one in which the room gave what it answers its number
 * @property {number} at      when it was written, by this machine's clock
 * @property {'pending'|'sent'|'failed'} state  sent: acknowledged, its message not yet here
 * @property {string} [error] why it failed
 * @property {number} [seq]   its place, as far as known
 * @property {boolean} [inFlight]  the client has it
 */

/**
 * @typedef {object} OutgoingOwner
 * @property {() => string} epoch  of the room
 * @property {() => number} newest  the newest message that is known to be there
 * @property {() => void} changed
 */

export class Outgoing {
  // Set at construction.
  #client;
  #room;
  #settings;
  #owner;

  /** @type {Entry[]} */
  entries;

  /**
   * @param {object} client
   * @param {string} room
   * @param {object} settings  see settings.js
   * @param {OutgoingOwner} owner
   */
  constructor(client, room, settings, owner) {
    this.#client = client;
    this.#room = room;
    this.#settings = settings;
    this.#owner = owner;
    this.entries = settings.loadOutgoing(room).map(restored);
  }

  /** Those to be shown: whose message has not come. */
  get shown() {
    return this.entries.filter((entry) => entry.state === 'failed' || entry.seq === undefined || entry.seq > this.#owner.newest());
  }

  /** @param {{replyTo?: number, thread?: number, mentions?: string[]}} more */
  send(text, more) {
    const entry = { key: this.#client.nextKey(), text, more, epoch: this.#owner.epoch(), at: Date.now(), state: 'pending' };
    this.entries.push(entry);
    this.#save();
    this.#publish(entry);
    this.#owner.changed();
  }

  /** What is left of an earlier visit of this page, or of the time before the room began anew. */
  resume() {
    for (const entry of this.entries) {
      if (entry.inFlight || entry.state === 'sent') continue;
      const gone = names(entry) && entry.epoch !== this.#owner.epoch();
      if (gone) answerNothing(entry);
      if (entry.state === 'failed') continue;
      if (gone) this.#fail(entry, GONE);
      else this.#publish(entry);
    }
  }

  /** Sends a failed message again, with its key: if it did arrive, it is not doubled. */
  retry(key) {
    const entry = this.entries.find((candidate) => candidate.key === key);
    if (entry?.state !== 'failed') return;
    entry.state = 'pending';
    entry.error = undefined;
    entry.at = Date.now();
    this.#save();
    this.#publish(entry);
    this.#owner.changed();
  }

  remove(key) {
    this.entries = this.entries.filter((entry) => entry.key !== key);
    this.#save();
  }

  clear() {
    this.entries = [];
    this.#settings.saveOutgoing(this.#room, []);
  }

  /**
   * A message of this user may be one that is still outgoing here: its reply comes before or
   * after it. Until the reply says otherwise, the oldest one with the same text is taken for
   * it, so that it is never shown twice.
   */
  recognise(message) {
    const known = this.entries.find((entry) => entry.seq === message.seq);
    if (known?.state === 'sent') this.remove(known.key);
    if (known) return;
    const likely = this.entries.find((e) => e.state === 'pending' && e.seq === undefined && e.text === message.text);
    if (likely) likely.seq = message.seq;
  }

  async #publish(entry) {
    entry.inFlight = true;
    try {
      const { seq } = await this.#client.publish(this.#room, entry.text, { ...entry.more, key: entry.key });
      entry.state = 'sent';
      entry.seq = seq;
      this.#save();
      // The reply and the message are not ordered: the one that comes last takes it away.
      if (seq <= this.#owner.newest()) this.remove(entry.key);
    } catch (error) {
      if (error.code === 'closed') return; // kept for the next visit of this page
      if (error.code === EPOCH_CHANGED) answerNothing(entry);
      this.#fail(entry, error.code === EPOCH_CHANGED ? GONE : error.message);
    } finally {
      entry.inFlight = false;
    }
    this.#owner.changed();
  }

  /** It waits for the person to say what becomes of it, after a reload as well. */
  #fail(entry, error) {
    entry.state = 'failed';
    entry.error = error;
    entry.seq = undefined;
    this.#save();
  }

  #save() {
    const unsent = this.entries.filter((entry) => entry.state !== 'sent');
    this.#settings.saveOutgoing(this.#room, unsent.map(({ key, text, more, epoch, at, error }) => ({ key, text, more, epoch, at, error })));
  }
}

function restored({ key, text, more, epoch, at, error }) {
  const entry = { key, text, more, epoch, at, state: 'pending' };
  if (error === undefined && Date.now() - at < KEY_WINDOW_MS) return entry;
  return { ...entry, state: 'failed', error: error ?? 'Written in an earlier visit, and perhaps sent: look whether it is there.' };
}

/** It is about another message, by its number. */
function names({ more }) {
  return Boolean(more?.replyTo || more?.thread);
}

/** What it is about is gone: it is for the room. */
function answerNothing(entry) {
  const { replyTo, thread, ...more } = entry.more;
  entry.more = more;
}

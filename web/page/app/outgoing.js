// What this page has written in one room and the server has not yet given a place, or has not yet shown.

/** The server remembers a retry key for 10 minutes; see docs/client.md. */
export const KEY_WINDOW_MS = 9 * 60_000;

/**
 * @typedef {object} Entry
 * @property {string} key     the retry key: sent again with it, it is stored once
 * @property {string} text
 * @property {object} [more]  what it answers and mentions
 * @property {number} at      when it was written, by this machine's clock
 * @property {'pending'|'sent'|'failed'} state  sent: acknowledged, its message not yet here
 * @property {string} [error] why it failed
 * @property {number} [seq]   its place, as far as known
 * @property {boolean} [inFlight]  the client has it
 */

export class Outgoing {
  // Set at construction.
  #client;
  #room;
  #settings;
  #newest;
  #changed;

  /** @type {Entry[]} */
  entries;

  /**
   * @param {object} client
   * @param {string} room
   * @param {object} settings  see settings.js
   * @param {() => number} newest  the newest message that is known to be there
   * @param {() => void} changed
   */
  constructor(client, room, settings, newest, changed) {
    this.#client = client;
    this.#room = room;
    this.#settings = settings;
    this.#newest = newest;
    this.#changed = changed;
    this.entries = settings.loadOutgoing(room).map(restored);
  }

  /** Those to be shown: whose message has not come. */
  get shown() {
    return this.entries.filter((entry) => entry.state === 'failed' || entry.seq === undefined || entry.seq > this.#newest());
  }

  /** @param {{replyTo?: number, thread?: number, mentions?: string[]}} more */
  send(text, more) {
    const entry = { key: this.#client.nextKey(), text, more, at: Date.now(), state: 'pending' };
    this.entries.push(entry);
    this.#save();
    this.#publish(entry);
    this.#changed();
  }

  /** What an earlier visit of this page has left. */
  resume() {
    for (const entry of this.entries) {
      if (entry.state === 'pending' && !entry.inFlight) this.#publish(entry);
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
    this.#changed();
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
      if (seq <= this.#newest()) this.remove(entry.key);
    } catch (error) {
      if (error.code === 'closed') return; // kept for the next visit of this page
      entry.state = 'failed';
      entry.error = error.message;
      entry.seq = undefined;
    } finally {
      entry.inFlight = false;
    }
    this.#changed();
  }

  #save() {
    const unsent = this.entries.filter((entry) => entry.state !== 'sent');
    this.#settings.saveOutgoing(this.#room, unsent.map(({ key, text, more, at }) => ({ key, text, more, at })));
  }
}

function restored({ key, text, more, at }) {
  if (Date.now() - at < KEY_WINDOW_MS) return { key, text, more, at, state: 'pending' };
  return { key, text, more, at, state: 'failed', error: 'Written in an earlier visit, and perhaps sent: look whether it is there.' };
}

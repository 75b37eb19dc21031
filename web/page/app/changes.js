// Changes of one room's messages that were asked for here. Each shows as if it were made, as what is written shows before it has
// its place: until it comes like everybody's, or is refused. Like that it outlives a reload.

import { EPOCH_CHANGED, KEY_WINDOW_MS } from './outgoing.js';

/**
 * @typedef {object} Asked
 * @property {string} key  the retry key: sent again with it, it is made once
 * @property {object} change  and text and mentions, as in a message that is a change
 * @property {string} epoch  the one in which the room gave the change's target its number
 * @property {number} at  when it was asked for, by this machine's clock
 * @property {number} [seq]  its place, as far as known
 * @property {boolean} [inFlight]  the client has it
 * @property {boolean} [over]  it has come like everybody's, or was made before the room began anew
 */

/**
 * @typedef {object} ChangesOwner
 * @property {() => string} epoch  of the room
 * @property {() => number} newest  the newest number that is known to be there
 * @property {(answered?: {change: object, text?: string, error?: Error, gone?: boolean}) => void} changed  one is asked for; answered: it was made or,
 *   with the error, was not; gone: nor can it be, since its message's number is that of another one now, or of none
 */

export class Changes {
  // Set at construction.
  #client;
  #room;
  #settings;
  #shown;
  #owner;

  /** @type {Asked[]} oldest first */
  #asked;

  /**
   * @param {object} client
   * @param {string} room
   * @param {object} settings  see settings.js
   * @param {object} shown  the client's holder of the room's messages
   * @param {ChangesOwner} owner
   */
  constructor(client, room, settings, shown, owner) {
    this.#client = client;
    this.#room = room;
    this.#settings = settings;
    this.#shown = shown;
    this.#owner = owner;
    this.#asked = settings.loadChanges(room);
  }

  /** Something is not answered yet. */
  get waiting() {
    return this.#asked.some(({ seq }) => seq === undefined);
  }

  edit(target, text, mentions) {
    this.#ask({ change: { target, edit: {} }, text, mentions });
  }

  delete(target) {
    this.#ask({ change: { target, delete: {} } });
  }

  react(target, reaction, remove) {
    this.#ask({ change: { target, react: { reaction, remove } } });
  }

  pin(target, remove) {
    this.#ask({ change: { target, pin: { remove } } });
  }

  /** What an earlier visit of this page has left. */
  resume() {
    for (const asked of this.#asked) {
      if (asked.inFlight || asked.seq !== undefined) continue;
      const error = this.#outdated(asked);
      if (error) this.#drop(asked, error);
      else this.#publish(asked);
    }
  }

  clear() {
    this.#asked = [];
    this.#save();
  }

  /** The message with what is asked for in it; asked has what that is. */
  foreseen(message) {
    const asked = this.#asked.filter((one) => one.change.target === message.seq && !this.#isOver(one));
    if (asked.length === 0) return message;
    return { ...asked.reduce((so, change) => this.#shown.foresee(so, change), message), asked };
  }

  #ask(what) {
    const asked = { key: this.#client.nextKey(), ...what, epoch: this.#owner.epoch(), at: Date.now() };
    this.#asked = [...this.#asked.filter((one) => !this.#isOver(one)), asked];
    this.#save();
    this.#publish(asked);
    this.#owner.changed();
  }

  /**
   * Why it can't be sent any more. Anything but an edit may be made twice: it says how the message is to be. An edit
   * that was made would take back those that came after it.
   */
  #outdated({ change, epoch, at }) {
    if (epoch !== this.#owner.epoch()) return Object.assign(new Error('The room has begun anew, and the message that was to be changed is gone.'), { code: EPOCH_CHANGED });
    if (change.edit && Date.now() - at >= KEY_WINDOW_MS) return new Error('Edited in an earlier visit, and perhaps sent: look whether it is there.');
    return null;
  }

  async #publish(asked) {
    const { key, change, text, mentions } = asked;
    asked.inFlight = true;
    try {
      asked.seq = (await this.#client.publish(this.#room, text, { key, change, mentions })).seq; // the change itself comes before or after it
      this.#save();
      this.#owner.changed({ change, text });
    } catch (error) {
      if (error.code === 'closed') return; // kept for the next visit of this page
      this.#drop(asked, error.code === 'unchanged' ? undefined : error); // what is so already needs no words
    } finally {
      asked.inFlight = false;
    }
  }

  #drop(asked, error) {
    this.#asked = this.#asked.filter((one) => one !== asked);
    this.#save();
    this.#owner.changed({ change: asked.change, text: asked.text, error, gone: error?.code === EPOCH_CHANGED });
  }

  #save() {
    const open = this.#asked.filter(({ seq }) => seq === undefined);
    this.#settings.saveChanges(this.#room, open.map(({ key, change, text, mentions, epoch, at }) => ({ key, change, text, mentions, epoch, at })));
  }

  /** Once it is, it stays so: while the room is read again, nothing is known to be there. */
  #isOver(asked) {
    const { seq, epoch } = asked;
    asked.over ||= seq !== undefined && (seq <= this.#owner.newest() || epoch !== this.#owner.epoch());
    return asked.over;
  }
}

// Changes of one room's messages that were asked for here. Each shows as if it were made, as what is written shows before it has
// its place: until it comes like everybody's, or is refused.

/**
 * @typedef {object} Asked
 * @property {number} id  of this page's own
 * @property {object} change  and text and mentions, as in a message that is a change
 * @property {number} [seq]  its place, as far as known
 */

export class Changes {
  // Set at construction.
  #client;
  #room;
  #shown;
  #newest;
  #changed;

  /** @type {Asked[]} oldest first */
  #asked = [];
  #count = 0;

  /**
   * @param {object} client
   * @param {string} room
   * @param {object} shown  the client's holder of the room's messages
   * @param {() => number} newest  the newest number that is known to be there
   * @param {() => void} changed
   */
  constructor(client, room, shown, newest, changed) {
    this.#client = client;
    this.#room = room;
    this.#shown = shown;
    this.#newest = newest;
    this.#changed = changed;
  }

  edit(target, text, mentions) {
    return this.#ask({ change: { target, edit: {} }, text, mentions }, this.#client.edit(this.#room, target, text, { mentions }));
  }

  delete(target) {
    return this.#ask({ change: { target, delete: {} } }, this.#client.delete(this.#room, target));
  }

  react(target, reaction, remove) {
    return this.#ask({ change: { target, react: { reaction, remove } } }, this.#client.react(this.#room, target, reaction, { remove }));
  }

  pin(target, remove) {
    return this.#ask({ change: { target, pin: { remove } } }, this.#client.pin(this.#room, target, { remove }));
  }

  /** The message with what is asked for in it; asked has what that is. */
  foreseen(message) {
    const asked = this.#asked.filter((one) => one.change.target === message.seq && !this.#here(one));
    if (asked.length === 0) return message;
    return { ...asked.reduce((so, change) => this.#shown.foresee(so, change), message), asked };
  }

  /** Settled with the server's answer. */
  async #ask(what, answer) {
    const asked = { id: ++this.#count, ...what };
    this.#asked = [...this.#asked.filter((one) => !this.#here(one)), asked];
    this.#changed();
    try {
      asked.seq = (await answer).seq; // the change itself comes before or after it
    } catch (error) {
      this.#asked = this.#asked.filter((one) => one !== asked);
      throw error;
    } finally {
      this.#changed();
    }
  }

  #here({ seq }) {
    return seq !== undefined && seq <= this.#newest();
  }
}

// What is asked and not yet answered: pages of history and of rooms, receipts, and all about members. A read can be repeated without
// harm, so it is, until it is answered. docs/client.md, "History".

import { RookeryError } from './errors.js';

const MAX_WAITING = 100;

export class Reads {
  #link;
  #waiting = new Set();
  #ended = null;

  constructor(link) {
    this.#link = link;
  }

  /**
   * @param {'history'|'receipts'|'create'|'configure'|'member'|'members'|'rooms'|'sync'} op
   * @param {object} body
   * @returns {Promise<object>} the reply
   */
  read(op, body) {
    if (this.#ended) return Promise.reject(this.#ended);
    if (this.#waiting.size >= MAX_WAITING) {
      const words = `${MAX_WAITING} reads are waiting already: wait for some of them.`;
      return Promise.reject(new RookeryError('queue_full', words));
    }
    return new Promise((resolve, reject) => {
      const read = { op, body, refusals: 0, timer: undefined, resolve, reject };
      this.#waiting.add(read);
      this.#send(read);
    });
  }

  connected() {
    for (const read of this.#waiting) {
      this.#link.clock.clearTimeout(read.timer);
      this.#send(read);
    }
  }

  ended(error) {
    this.#ended = error;
    for (const read of this.#waiting) {
      this.#link.clock.clearTimeout(read.timer);
      read.reject(error);
    }
    this.#waiting.clear();
  }

  #send(read) {
    if (!this.#link.ready) return;
    this.#link.request(read.op, read.body, (error, reply) => {
      if (error?.retry) {
        const delay = this.#link.delay(read.refusals++, error.retryAfterMs);
        read.timer = this.#link.clock.setTimeout(() => this.#send(read), delay);
        return;
      }
      this.#waiting.delete(read);
      if (error) read.reject(error);
      else read.resolve(reply);
    });
  }
}

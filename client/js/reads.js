// History requests that the server has not yet answered. A read can be repeated without
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

  /** @returns {Promise<{room: string, epoch: string, messages: object[], more: boolean}>} */
  history(room, { before, after, limit } = {}) {
    if (this.#ended) return Promise.reject(this.#ended);
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(new RookeryError('queue_full', `${MAX_WAITING} history requests are waiting already: wait for some of them.`));
    }
    return new Promise((resolve, reject) => {
      const read = { body: { room, before, after, limit }, refusals: 0, timer: undefined, resolve, reject };
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
    this.#link.request('history', read.body, (error, reply) => {
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

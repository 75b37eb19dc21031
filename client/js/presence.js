// Who is in a room and who is typing there, as the server tells it, and this user's own typing on its way.
// docs/client.md, "Presence and typing".

/** This user's typing is said again after this time while it goes on. */
const AGAIN_MS = 2_500;

export class Presence {
  // Set at construction.
  #link;
  #room;
  #changed;
  #typing;

  #watching = false;
  /** Counts questions, so that the answer to an older one is known as such. */
  #questions = 0;
  /** Of the question, in a row. */
  #refusals = 0;
  #askTimer;
  #version = 0;
  #count = 0;
  /** User to 'online' or 'away'. Of a large room those who were named. */
  #states = new Map();

  /** Those who are typing, as told last. */
  #typists = { users: [], more: 0 };
  #typistsTimer;
  /** Runs for AGAIN_MS after this user's typing was said. */
  #saidTimer;

  /**
   * @param {object} link  see rookery.js
   * @param {string} room
   * @param {(seen: object) => void} changed
   * @param {(typists: object) => void} typing
   */
  constructor(link, room, changed, typing) {
    this.#link = link;
    this.#room = room;
    this.#changed = changed;
    this.#typing = typing;
  }

  get seen() {
    return { count: this.#count, users: new Map(this.#states) };
  }

  /** A room that is not joined yet is asked for when it is. */
  watch(joined) {
    this.#watching = true;
    if (joined) this.#ask();
  }

  unwatch(joined) {
    if (!this.#watching) return;
    this.#watching = false;
    this.#unask();
    if (joined && this.#link.ready) this.#link.request('presence', { room: this.#room }, () => {});
  }

  /** Says that the user is typing, if that was not said a moment ago. */
  type() {
    if (this.#saidTimer !== undefined || !this.#link.ready) return;
    this.#link.tell('typing', { room: this.#room });
    this.#saidTimer = this.#link.clock.setTimeout(() => (this.#saidTimer = undefined), AGAIN_MS);
  }

  /** Says that the user has stopped, if it was said that they are typing. */
  stopTyping() {
    if (this.#saidTimer === undefined) return;
    this.#quiet();
    if (this.#link.ready) this.#link.tell('typing', { room: this.#room, stopped: true });
  }

  /** What was typed is published, which ends it for the server too. */
  published() {
    this.#quiet();
  }

  joined() {
    if (this.#watching) this.#ask();
  }

  /** What was told holds no more. */
  disconnected() {
    this.ended();
    this.#typed({ users: [], more: 0 });
  }

  ended() {
    this.#unask();
    this.#quiet();
    this.#link.clock.clearTimeout(this.#typistsTimer);
  }

  /** What has changed since the version before. */
  change({ version, count, users }) {
    if (!this.#watching || this.#version === 0) return; // the answer is still on its way
    if (version !== this.#version + 1) {
      this.#ask();
      return;
    }
    this.#version = version;
    this.#take(count, users);
  }

  /** Who is typing, all of them. */
  typists({ users, more, lifetimeMs }) {
    this.#link.clock.clearTimeout(this.#typistsTimer);
    this.#typistsTimer = this.#link.clock.setTimeout(() => this.#typed({ users: [], more: 0 }), lifetimeMs);
    this.#typed({ users: users.filter((user) => user !== this.#link.user), more });
  }

  /** Their message has come, so they are not typing it any more. */
  wrote(user) {
    const { users, more } = this.#typists;
    if (users.includes(user)) this.#typed({ users: users.filter((other) => other !== user), more });
  }

  #ask() {
    if (!this.#link.ready) return;
    const question = this.#unask();
    this.#link.request('presence', { room: this.#room, watch: true }, (error, reply) => {
      if (question !== this.#questions) return;
      if (error) {
        if (error.retry) this.#askTimer = this.#link.clock.setTimeout(() => this.#ask(), this.#link.delay(this.#refusals++, error.retryAfterMs));
        return;
      }
      this.#refusals = 0;
      this.#version = reply.version;
      this.#states.clear();
      this.#take(reply.count, reply.users);
    });
  }

  /** What was asked is of no use any more, nor what was answered. Returns the number of the next question. */
  #unask() {
    this.#link.clock.clearTimeout(this.#askTimer);
    this.#version = 0;
    return ++this.#questions;
  }

  #take(count, users) {
    this.#count = count;
    for (const { user, state } of users) {
      if (state === 'offline') this.#states.delete(user);
      else this.#states.set(user, state);
    }
    this.#changed({ ...this.seen, changes: users });
  }

  #typed(typists) {
    const before = this.#typists;
    this.#typists = typists;
    if (before.more !== typists.more || before.users.join('\n') !== typists.users.join('\n')) this.#typing(typists);
  }

  #quiet() {
    this.#link.clock.clearTimeout(this.#saidTimer);
    this.#saidTimer = undefined;
  }
}

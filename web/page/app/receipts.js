// How far everybody has come in a room, which is what the ticks of one's own messages show. It knows names, or in
// a large room counts of the newest messages; see docs/protocol.md, "Receipts".

export class Receipts {
  // Set at construction.
  #self;

  /** User to {delivered, read}. */
  #others = new Map();
  /** The person who looks at this: one of those that are counted, but not one of whom the ticks speak. */
  #own = { delivered: 0, read: 0 };
  /** Of a large room: how many users there are, and {seq, delivered, read} ascending. null: all are named. */
  #counted = null;

  /** @param {string} self  the name of the person who looks at this */
  constructor(self) {
    this.#self = self;
  }

  /** Nobody is told by name any more. */
  get large() {
    return this.#counted !== null;
  }

  /** The answer to a question. */
  take({ own, users, receipts, counts }) {
    for (const receipt of [own, ...receipts]) this.hear(receipt);
    if (users > receipts.length) this.count({ users, counts });
  }

  /** A user has come further. What goes back is an answer that was overtaken. */
  hear({ user, delivered, read }) {
    const before = user === this.#self ? this.#own : this.#others.get(user);
    const now = { delivered: Math.max(before?.delivered ?? 0, delivered), read: Math.max(before?.read ?? 0, read) };
    if (user === this.#self) this.#own = now;
    else this.#others.set(user, now);
  }

  count({ users, counts }) {
    this.#counted = { users, counts };
  }

  /**
   * What has become of a stored message.
   *
   * @returns {{state: 'stored'|'delivered'|'read', words: string}}
   */
  of(seq) {
    const { users, delivered, read, atLeast } = this.large ? this.#ofLarge(seq) : this.#ofNamed(seq);
    const of = (count) => `${atLeast ? 'at least ' : ''}${count} of ${users}`;
    if (users > 0 && read >= users) return { state: 'read', words: 'Read by everybody' };
    const state = users > 0 && delivered >= users ? 'delivered' : 'stored';
    if (read > 0) return { state, words: `Read by ${of(read)}` };
    if (state === 'delivered') return { state, words: 'Delivered to everybody' };
    return { state, words: delivered > 0 ? `Delivered to ${of(delivered)}` : 'Sent' };
  }

  #ofNamed(seq) {
    const others = [...this.#others.values()];
    return {
      users: others.length,
      delivered: others.filter((other) => other.delivered >= seq).length,
      read: others.filter((other) => other.read >= seq).length,
      atLeast: false,
    };
  }

  /** Only the newest messages are counted. Of an older one, no fewer have it than have the oldest of those. */
  #ofLarge(seq) {
    const { users, counts } = this.#counted;
    const nearest = counts.find((count) => count.seq >= seq);
    const others = (count = 0, own) => Math.max(0, count - (own ? 1 : 0));
    return {
      users: others(users, this.#own.delivered > 0),
      delivered: others(nearest?.delivered, this.#own.delivered >= nearest?.seq),
      read: others(nearest?.read, this.#own.read >= nearest?.seq),
      atLeast: nearest?.seq > seq,
    };
  }
}

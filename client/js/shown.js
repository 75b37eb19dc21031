// Messages of one room as an application shows them, with what was changed later in them. docs/changes.md, "What a message
// looks like later".

/** Changes that are kept although their messages are not held: the page with them may be on its way. */
const MAX_EARLY = 1000;

export class Shown {
  #user;
  #messages = new Map();
  /** Changes and messages of threads that came before what they are about, oldest first. */
  #early = [];

  /** @param {() => string|null} user  who reads, for `own` of reactions */
  constructor(user) {
    this.#user = user;
  }

  /**
   * Takes a message or a change in, in any order, once or more often. Returns the message that is new or changed now, null
   * if there is none. Messages are not changed in place: each change makes another object.
   */
  take(message) {
    if (message.ephemeral) return null;
    if (message.change) return this.#change(message);
    const held = this.#messages.get(message.seq);
    let next = message;
    if (held) {
      const newer = revision(message) > revision(held);
      const replied = last(message) > last(held);
      if (!newer && !replied) return null;
      next = { ...(newer ? message : held), replies: (replied ? message : held).replies };
    }
    for (const early of this.#early) {
      if (early.change?.target === next.seq) next = folded(next, early, this.#user());
      else if (!early.change && early.thread === next.seq) next = replied(next, early.seq);
    }
    this.#messages.set(next.seq, next);
    if (next.thread) this.#reply(next);
    return next;
  }

  get(seq) {
    return this.#messages.get(seq);
  }

  /**
   * A message as it will be once a change is made that this user has asked for: {change, text, data, mentions}. Nothing of it is
   * held; a reaction that the message has already counts once.
   */
  foresee(message, change) {
    return folded(message, { ...change, from: this.#user(), seq: revision(message) + 1 }, this.#user());
  }

  /** Lets go of a message that is not shown any more. */
  forget(seq) {
    this.#messages.delete(seq);
  }

  clear() {
    this.#messages.clear();
    this.#early = [];
  }

  #change(message) {
    const held = this.#messages.get(message.change.target);
    if (!held) {
      this.#keep(message);
      return null;
    }
    const next = folded(held, message, this.#user());
    this.#messages.set(next.seq, next);
    return next === held ? null : next;
  }

  #reply({ seq, thread }) {
    const root = this.#messages.get(thread);
    if (root) this.#messages.set(thread, replied(root, seq));
    else this.#keep({ seq, thread });
  }

  #keep(early) {
    this.#early.push(early);
    if (this.#early.length > MAX_EARLY) this.#early.shift();
  }
}

const revision = (message) => message.revision ?? 0;
const last = (message) => message.replies?.last ?? 0;

function replied(message, seq) {
  if (seq <= last(message)) return message;
  return { ...message, replies: { count: (message.replies?.count ?? 0) + 1, last: seq } };
}

/** The message with a change in it; the same object if the change is in it already. */
export function folded(message, { seq, from, change, text, data, mentions }, user) {
  if (seq <= revision(message) || message.deleted) return message;
  const next = { ...message, revision: seq };
  if (change.edit) {
    next.edits = (message.edits ?? 0) + 1;
    // Without a content a later change has overtaken it.
    if (text !== undefined || data !== undefined) replaceContent(next, { text, data, mentions });
  } else if (change.delete) {
    next.deleted = true;
    replaceContent(next, {});
    for (const gone of ['kind', 'reactions', 'pinned']) delete next[gone];
  } else if (change.react) {
    next.reactions = reacted(message.reactions ?? [], change.react, from, user);
    if (next.reactions.length === 0) delete next.reactions;
  } else if (change.pin) {
    if (change.pin.remove) delete next.pinned;
    else next.pinned = true;
  }
  return next;
}

function replaceContent(message, content) {
  for (const name of ['text', 'data', 'mentions']) {
    if (content[name] === undefined) delete message[name];
    else message[name] = content[name];
  }
}

function reacted(before, { reaction, remove }, from, user) {
  const known = before.find((r) => r.reaction === reaction) ?? { reaction, count: 0, users: [] };
  if (from === user && (known.own === true) !== (remove === true)) return before; // so it is already
  const next = { ...known, users: known.users.filter((name) => name !== from) };
  next.count += remove ? -1 : 1;
  if (!remove) next.users.push(from);
  if (from === user) {
    if (remove) delete next.own;
    else next.own = true;
  }
  const after = before.map((r) => (r === known ? next : r)).filter((r) => r.count > 0);
  return before.includes(known) || remove ? after : [...before, next];
}

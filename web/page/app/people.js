// Who is in a room with the person, and who is typing there: what is known of it, and the words for it.

/** More names than these are a number. */
export const MOST_NAMED = 30;
/** So many are counted at a glance, and have room on a phone. */
const FEW = 3;

const NOBODY = { users: [], more: 0 };

export class People {
  #changed;
  #room = null;
  #watched = false;
  /** {count, users: Map of name to 'online' or 'away'}; null: not known, or the room is one in which nobody is told. */
  #present = null;
  /** What is known of who is there is of before the connection was lost. */
  #past = false;
  #typists = NOBODY;
  /** Name to when the person saw somebody leave. */
  #left = new Map();

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** What the room is joined with. */
  get callbacks() {
    return {
      onPresence: ({ count, users }) => this.#take({ present: { count, users } }, false),
      onTyping: (typists) => this.#take({ typists }),
    };
  }

  /** The room was joined, perhaps once more: what was known was of another time. */
  entered(room) {
    this.#room = room;
    this.#take({ present: null, typists: NOBODY });
    if (this.#watched) room.watchPresence();
  }

  /** The connection is lost: who was there still has a name here, but may have gone. The next joined asks again. */
  lost() {
    this.#take({}, true);
  }

  /** The person is not in the room any more. */
  left() {
    this.#room = null;
    this.#take({ present: null, typists: NOBODY });
  }

  /** Somebody looks at the room, or does not any more. */
  watch(wanted) {
    if (wanted === this.#watched) return;
    this.#watched = wanted;
    if (wanted) this.#room?.watchPresence();
    else this.#room?.unwatchPresence();
  }

  /** The person has changed the text that they write. */
  wrote(text) {
    if (text.trim() === '') this.#room?.stopTyping();
    else this.#room?.typing();
  }

  #take({ present = this.#present, typists = this.#typists }, past = this.#past) {
    // Of a large room the server names some, and nobody was seen to leave while there was no connection.
    const whole = present !== null && present.users.size >= present.count && !this.#past;
    this.#past = past;
    for (const user of this.#present?.users.keys() ?? []) {
      if (whole && !present.users.has(user)) this.#left.set(user, Date.now());
    }
    this.#present = present;
    this.#typists = typists;
    this.#changed();
  }

  /**
   * Those who are there, online before away, by name; unknown: they were when the connection was lost.
   *
   * @returns {{named: {user: string, state: 'online'|'away'|'unknown'}[], more: number}}
   */
  get there() {
    if (this.#present === null) return { named: [], more: 0 };
    const { count, users } = this.#present;
    const named = [...users].map(([user, state]) => ({ user, state }));
    named.sort((a, b) => (a.state === b.state ? (a.user < b.user ? -1 : 1) : a.state === 'online' ? -1 : 1));
    named.splice(MOST_NAMED);
    const more = Math.max(0, count - named.length);
    return { named: this.#past ? named.map(({ user }) => ({ user, state: 'unknown' })) : named, more };
  }

  /** How many are there in all, since no window is wide enough for many names; '' where that is plain. */
  get countWords() {
    const { named, more } = this.there;
    if (more === 0 && named.length <= FEW) return '';
    return this.#past ? 'not known now' : `${named.length + more} here`;
  }

  /** 'online', 'away', 'offline', or undefined where it is not known: of a large room the server names some, and without a connection nobody. */
  stateOf(user) {
    if (this.#present === null || this.#past) return undefined;
    const { count, users } = this.#present;
    return users.get(user) ?? (users.size >= count ? 'offline' : undefined);
  }

  /** When somebody was seen to leave, 0 if that was not seen: the server's lists of members know what was before. */
  leftAt(user) {
    return this.#left.get(user) ?? 0;
  }

  /** '' when nobody else is. */
  get typingWords() {
    const { users, more } = this.#typists;
    const all = more === 0 ? [...users] : [...users, more === 1 ? 'somebody else' : `${more} others`];
    if (all.length === 0) return '';
    const last = all.pop();
    const verb = all.length > 0 || (users.length === 0 && more > 1) ? 'are' : 'is';
    return `${all.length > 0 ? `${all.join(', ')} and ${last}` : last} ${verb} typing`;
  }
}

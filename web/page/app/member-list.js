// The members of one room, or who is banned from it: pages by name, and what has changed since.

const PAGE = 50;

export class MemberList {
  #client;
  #room;
  #banned;
  #changed;
  #loading = false;

  members = [];
  more = false;
  total = 0;
  error = null;

  /** @param {{banned?: boolean}} of @param {() => void} changed */
  constructor(client, room, { banned = false }, changed) {
    this.#client = client;
    this.#room = room;
    this.#banned = banned;
    this.#changed = changed;
  }

  /** Reads the next page. */
  async load() {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const after = this.members.at(-1)?.user;
      const page = await this.#client.members(this.#room, { after, limit: PAGE, banned: this.#banned });
      // Whom the news have brought meanwhile is in the page too.
      const here = new Set(this.members.map(({ user }) => user));
      this.members.push(...page.members.filter(({ user }) => !here.has(user)));
      this.members.sort(byName);
      this.more = page.more;
      this.total = page.total;
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.#loading = false;
    this.#changed();
  }

  /** What has happened to somebody; the same news may come twice. */
  hear({ user, action, role, until, reason }) {
    const index = this.members.findIndex((member) => member.user === user);
    const known = this.members[index];
    const listed = this.#banned ? action === 'ban' : Boolean(role);
    if (!listed) {
      if (known === undefined || (this.#banned && action !== 'unban')) return;
      this.members.splice(index, 1);
      this.total--;
    } else if (known === undefined) {
      // Behind the pages that are here, a page will bring it.
      this.total++;
      if (this.more && user > this.members.at(-1)?.user) return;
      this.members.push(this.#banned ? { user, bannedUntil: until, reason } : { user, role, mutedUntil: action === 'mute' ? until : 0 });
      this.members.sort(byName);
    } else {
      const mutedUntil = action === 'mute' ? until : action === 'unmute' ? 0 : known.mutedUntil;
      this.members[index] = this.#banned ? { ...known, bannedUntil: until, reason } : { ...known, role, mutedUntil };
    }
    this.#changed();
  }
}

/** As the server orders them, by their bytes; code points are in the same order. */
function byName({ user: a }, { user: b }) {
  return a < b ? -1 : a > b ? 1 : 0;
}

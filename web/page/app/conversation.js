// One room as the page knows it, without a line about how it looks.
//
// What is kept is a window: messages without a hole between them, at most MAX_KEPT of them,
// since a room may have millions. It is attached when its end is the live edge. Whoever reads
// far back lets go of the live edge (the window's end is cut off), whoever follows lets go of
// the past. Scrolling moves the window by pages of history.
//
// Messages of this page that the server has not yet given a place stand behind the window:
// outgoing.js.
//
// Changes to messages take numbers of the room as well. They are folded into the messages and are not in the window, so it
// also knows which numbers it covers. Those that were asked for here and are not there yet: changes.js.
//
// In a room that keeps receipts, how far the person has read is what the server says, for all their
// devices; this page marks what has arrived here, and what was looked at. In an ephemeral room nothing has a
// place: what is said stands in `passing` until newer words push it out.

import { Changes } from './changes.js';
import { removalWords, titleOf } from './membership.js';
import { Outgoing } from './outgoing.js';
import { People } from './people.js';
import { Receipts } from './receipts.js';

const PAGE = 50;
export const MAX_KEPT = 300;
export const MAX_PASSING = 100;

export class Conversation {
  // Set at construction.
  #client;
  #settings;
  #changed;
  #outgoing;

  #room = null;
  /** Counts beginnings, so that a page asked for before one is not taken after it. */
  #beginnings = 0;
  /** The page of history on its way: {direction}. */
  #move = null;
  /** Nobody knows how far the room was read: it is taken as read. */
  #assumedRead = false;
  #passed = 0;
  /** Holds the messages of the window, with their changes. */
  #shown;
  /** The window covers these numbers; the last one is not known before the first message where it is undefined. */
  #first = 1;
  #end = 0;
  /** How many of the numbers after lastRead nobody has to read: changes, and what was before a membership. */
  #notUnread = 0;
  /** How the list of all rooms knew it (client.sync), null for those that it does not have. */
  #synced = null;
  /** The list has told how far the person has read, and nobody has looked: how far others have come is not asked yet. */
  #unasked = false;

  /**
   * @param {object} client    a Rookery, or a stand-in for it
   * @param {string} name
   * @param {object} settings  see settings.js
   * @param {(what: {conversation: Conversation, arrived?: object, altered?: object, asked?: boolean, people?: boolean, answered?: object, anew?: boolean}) => void} changed
   *   answered: see changes.js; anew: numbers of messages are those of others now
   */
  constructor(client, name, settings, changed) {
    this.name = name;
    this.#client = client;
    this.#settings = settings;
    this.#changed = changed;
    this.#shown = client.shown();
    /** Who is there; what changes in it changes nothing else. */
    this.people = new People(() => this.#changed({ conversation: this, people: true }));
    const owner = { epoch: () => this.epoch, newest: () => this.newest };
    this.changes = new Changes(client, name, settings, this.#shown, {
      ...owner, changed: (answered) => this.#changed({ conversation: this, asked: true, answered }),
    });

    this.status = 'loading'; // loading | ready | failed | removed
    this.error = null;
    this.epoch = null;
    this.messages = [];
    this.atBeginning = false;
    this.attached = true;
    /** Head of the room as far as it is known. */
    this.newest = 0;
    this.lastRead = 0;
    /** The view shows the end of the room, so that old messages may go rather than new ones. */
    this.following = true;
    /** @type {Receipts|null} null: the room keeps none, or has not been joined yet */
    this.receipts = null;
    this.ephemeral = false;
    /** Of an ephemeral room: messages with an id of this page's own, and a version that a newer value changes. */
    this.passing = [];
    /** Of a room with members: what it is, and what the person is in it. */
    this.membership = null;
    /** How many of the unread messages mention the person. */
    this.mentions = 0;
    /** When something was last said, 0 if that is not known. */
    this.lastAt = 0;
    this.#outgoing = new Outgoing(client, name, settings, { ...owner, changed: () => this.#changed({ conversation: this }) });
  }

  get begun() {
    return this.#beginnings > 0;
  }

  /** The list of all rooms has it, and it is not begun before somebody looks. */
  get known() {
    return this.#synced !== null;
  }

  /** When the person last wrote here, as far as the window knows; 0 for never. */
  get lastOwnAt() {
    return this.messages.findLast(({ from }) => from === this.#client.user)?.at ?? 0;
  }

  get title() {
    return titleOf(this.name, this.membership);
  }

  get unread() {
    return Math.max(0, this.newest - this.lastRead - this.#notUnread);
  }

  /** Which way the window is being moved: older, newer, or null. */
  get moving() {
    return this.#move?.direction ?? null;
  }

  /**
   * Reads the end of the room, then joins with the position of what was read, so that nothing
   * is missed between the two.
   *
   * @param {number} limit  a room that is not looked at needs its newest message only
   */
  async begin(limit = PAGE) {
    const beginning = ++this.#beginnings;
    this.#room?.leave();
    this.#move = null;
    this.#unasked = false;
    this.receipts = null;
    this.newest = 0;
    this.status = 'loading';
    this.error = null;
    this.#changed({ conversation: this });
    let page;
    try {
      page = await this.#newestPage(limit, () => beginning === this.#beginnings);
    } catch (error) {
      if (beginning === this.#beginnings) this.#fail(error);
      return;
    }
    if (beginning !== this.#beginnings) return;
    this.status = 'ready';
    const anew = this.epoch !== null && page.epoch !== this.epoch;
    if (anew) this.#shown.clear(); // of changes, too, whose messages may be on their way
    this.#replace(page, this.#synced?.epoch === page.epoch ? this.#synced.head : 0);
    this.#takeReadPosition(page);
    this.#join(page);
    this.#resume();
    this.#changed({ conversation: this, anew });
  }

  /**
   * Of a room with members the server gives nothing before it is joined, and only the page says from where on to join.
   * So it is joined before as well, by which whoever may becomes a member; what comes meanwhile comes again.
   */
  async #newestPage(limit, wanted) {
    try {
      return await this.#client.history(this.name, { limit });
    } catch (error) {
      if (error.code !== 'not_joined' || !wanted()) throw error;
    }
    const entry = this.#client.join(this.name);
    this.#room = entry;
    try {
      await entry.ready;
      return await this.#client.history(this.name, { limit });
    } finally {
      entry.leave();
    }
  }

  /**
   * The list of all rooms has this one: begins with what it says instead of asking, or, if it is not to be joined before
   * somebody looks, only shows what is unread. What an earlier visit has left to be sent does not wait for that.
   *
   * @param {object} synced  a room of client.sync
   * @param {{epoch: string, join: boolean}} how
   */
  introduce(synced, { epoch, join }) {
    this.membership = synced.membership ?? this.membership;
    if (this.begun) {
      const { read, unread, head } = synced;
      if (epoch === this.epoch && head === this.newest && read > this.lastRead) {
        this.#setRead(read, { told: true }); // on another device, while there was no connection here
        this.#notUnread = head - read - unread;
      }
      this.#changed({ conversation: this });
      return;
    }
    this.#synced = { ...synced, epoch };
    const { head, begin, messages } = synced;
    const wanted = join || this.#outgoing.entries.length > 0 || this.changes.waiting;
    if (wanted && (messages.length > 0 || head < begin)) {
      this.#beginnings++;
      this.#unasked = true;
      this.status = 'ready';
      const more = messages.length > 0 && messages[0].seq > begin;
      this.#replace({ epoch, messages, more }, head);
      this.#takeReadPosition({ epoch });
      this.#join({ epoch });
      this.#resume();
    } else {
      this.newest = head;
      this.lastAt = messages.at(-1)?.at ?? this.lastAt;
      this.#takeReadPosition({ epoch });
      if (wanted) this.begin(1); // the list has no message of a room with many changes behind it
    }
    this.#changed({ conversation: this });
  }

  /** The person is no member any more; removal says why, if that is known. */
  lost(removal) {
    this.#beginnings++; // whatever is on its way is not shown any more
    this.#room?.leave();
    this.people.left();
    this.#fail(new Error(removalWords(this.title, removal)), 'removed');
  }

  /** Leaves the room and what is unsent in it. */
  end() {
    this.#beginnings++;
    this.#room?.leave();
    this.#outgoing.clear();
    this.changes.clear();
  }

  /** The person has seen all there is. */
  markRead() {
    if (this.status !== 'ready' || !this.attached) return;
    if (this.lastRead >= this.newest && !this.#assumedRead) {
      this.#mark({ read: this.newest }); // the server may not know it yet
      return;
    }
    this.#setRead(this.newest);
    this.#changed({ conversation: this });
  }

  /** Somebody looks at the room now. */
  look() {
    if (!this.#unasked) return;
    this.#unasked = false;
    if (this.receipts !== null) this.#ask(this.#room);
  }

  /** The page is looked at again: a large room does not tell what other devices of this person have read. */
  refresh() {
    if (this.receipts?.large) this.#ask(this.#room);
  }

  // Sending.

  /** @param {{replyTo?: number, thread?: number, mentions?: string[]}} more */
  send(text, more = {}) {
    this.#outgoing.send(text, more);
  }

  /** Sends what an earlier visit of this page has left. */
  #resume() {
    this.#outgoing.resume();
    this.changes.resume();
  }

  retry(key) {
    this.#outgoing.retry(key);
  }

  discard(key) {
    this.#outgoing.remove(key);
    this.#changed({ conversation: this });
  }

  /** Everything outgoing, see outgoing.js; shownOutgoing is without that whose message has come. */
  get outgoing() {
    return this.#outgoing.entries;
  }

  get shownOutgoing() {
    return this.#outgoing.shown;
  }

  /** A page of a thread, or of what is pinned, with all changes in it; the window stays as it is. */
  async list(query) {
    const page = await this.#client.history(this.name, query);
    return { ...page, messages: page.messages.map((message) => this.get(message.seq) ?? message) };
  }

  /** A message of the window as it is shown, undefined if it is not there. */
  get(seq) {
    const message = this.#shown.get(seq);
    return message && this.changes.foreseen(message);
  }

  // Moving the window.

  /** Takes in a page of what came before the window. */
  loadOlder() {
    if (this.atBeginning || this.messages.length === 0) return Promise.resolve();
    const before = this.#first;
    return this.#load('older', { before, limit: PAGE }, (page) => {
      if (this.#first !== before) return;
      this.messages.unshift(...this.#hold(page));
      if (page.messages.length > 0) this.#first = page.messages[0].seq;
      this.atBeginning = !page.more;
      if (this.messages.length > MAX_KEPT) {
        this.#letGo(this.messages.splice(MAX_KEPT));
        this.#end = this.#lastSeq;
        this.attached = false;
      }
    });
  }

  /** Takes in a page of what came after the window, until it meets the live edge. */
  loadNewer() {
    if (this.attached || this.messages.length === 0) return Promise.resolve();
    const { newest } = this;
    return this.#load('newer', { after: this.#end, limit: PAGE }, (page) => {
      this.messages.push(...this.#hold(page));
      this.#dropOldest();
      this.#measure(page, page.more ? 0 : newest);
    });
  }

  /** Puts the window at the end of the room. */
  async jumpToNewest() {
    this.following = true;
    if (this.attached) return;
    this.#move = null; // whatever is on its way leads elsewhere
    const { newest } = this;
    await this.#load('newer', { limit: PAGE }, (page) => {
      this.#replace(page, newest);
      this.following = true; // the view may have scrolled about in the meantime
    });
  }

  /** Puts the window around a message that is not in it. */
  async goTo(seq) {
    this.following = false;
    this.#move = null; // whatever is on its way leads elsewhere
    await this.#load('older', { before: seq + PAGE / 2, limit: PAGE }, (page) => this.#replace(page));
  }

  async #load(direction, range, take) {
    if (this.#move !== null) return;
    const move = (this.#move = { direction });
    this.#changed({ conversation: this });
    try {
      const page = await this.#client.history(this.name, range);
      // A page of another epoch does not fit to the window; onReset is on its way.
      if (this.#move === move && page.epoch === this.epoch) take(page);
    } catch (error) {
      // The client repeats what can be repeated, so this is final; the window stays as it is.
      if (this.#move === move) this.error = error;
    }
    if (this.#move !== move) return;
    this.#move = null;
    this.#changed({ conversation: this });
  }

  /** newest: what was known to be there when the page was asked for. */
  #replace(page, newest = 0) {
    this.epoch = page.epoch;
    this.ephemeral = page.ephemeral === true;
    this.#letGo(this.messages);
    this.messages = this.#hold(page);
    this.#first = page.messages[0]?.seq ?? 1;
    this.#end = 0;
    this.atBeginning = !page.more;
    this.lastAt = Math.max(this.lastAt, page.messages.at(-1)?.at ?? 0);
    this.#measure(page, newest);
  }

  /** Takes the messages of a page in and gives those that are new, with their changes. */
  #hold({ messages }) {
    for (const message of messages) this.#shown.take(message);
    return messages.map(({ seq }) => this.#shown.get(seq)).filter((message) => message !== undefined);
  }

  #letGo(messages) {
    for (const { seq } of messages) this.#shown.forget(seq);
  }

  /** Puts what a message has become into the window. */
  #renew(message) {
    const { messages } = this;
    let low = 0;
    for (let high = messages.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (messages[middle].seq < message.seq) low = middle + 1;
      else high = middle;
    }
    if (messages[low]?.seq === message.seq) messages[low] = message;
  }

  get #lastSeq() {
    return this.messages.at(-1)?.seq ?? 0;
  }

  /** History may be ahead of what the room has delivered, or behind it. */
  #measure({ messages }, covered) {
    this.#end = Math.max(this.#end, messages.at(-1)?.seq ?? 0, covered);
    this.newest = Math.max(this.newest, this.#end);
    this.attached = this.#end >= this.newest;
  }

  // What the room says.

  #join(page) {
    this.#room = this.#client.join(this.name, {
      epoch: page.epoch,
      after: this.newest,
      onMessage: (message) => this.#receive(message),
      onJoined: (event, room) => this.#joined(event, room),
      onReceipt: (receipt) => this.#heard(receipt),
      onReceiptCounts: (event) => {
        this.receipts?.count(event);
        this.#changed({ conversation: this });
      },
      ...this.people.callbacks,
      onReset: () => this.begin(),
      // Where the window would have a hole, it starts anew at the newest messages.
      onGap: () => this.begin(),
      onMembership: (membership) => {
        this.membership = membership;
        this.#changed({ conversation: this });
      },
      onState: ({ state, error }) => {
        if (state === 'joining') this.people.lost();
        if (state === 'refused') this.#fail(error);
        else this.#changed({ conversation: this });
      },
    });
    this.people.entered(this.#room);
  }

  #receive(message) {
    if (message.ephemeral) {
      // Elsewhere it is a cursor, "is typing": not what was said.
      if (this.ephemeral) this.#pass(message);
      return;
    }
    const allRead = this.lastRead >= this.newest && !this.#assumedRead;
    const own = message.from === this.#client.user;
    const covers = this.attached && message.seq > this.#end;
    this.newest = Math.max(this.newest, message.seq);
    this.#mark({ delivered: this.newest });
    if (message.change) {
      this.#fold(message, { covers, allRead });
      return;
    }
    this.lastAt = message.at;
    if (!own && message.mentions?.includes(this.#client.user)) this.mentions++;
    if (own) {
      this.#outgoing.recognise(message);
      if (allRead) this.#setRead(this.newest); // nobody has to read what they wrote
    }
    // Not when a page of history has brought it already.
    if (covers) {
      if (!this.following && this.messages.length >= MAX_KEPT) {
        this.attached = false;
      } else {
        this.#end = message.seq;
        this.messages.push(this.#shown.take(message) ?? message);
        if (this.following) this.#dropOldest();
      }
    }
    const root = message.thread && this.#shown.get(message.thread);
    if (root) this.#renew(root);
    this.#changed({ conversation: this, arrived: message });
  }

  #fold(change, { covers, allRead }) {
    if (covers) this.#end = change.seq;
    if (allRead) this.#setRead(this.newest);
    else if (change.seq > this.lastRead) this.#notUnread++;
    const message = this.#shown.take(change);
    if (message) this.#renew(message);
    this.#changed({ conversation: this, altered: message ?? undefined });
  }

  /** A value that its sender has renewed takes the place of the one before; anything else is said. */
  #pass(message) {
    this.lastAt = message.at;
    if (message.from === this.#client.user) this.#outgoing.remove(message.key);
    const version = ++this.#passed;
    const renewed = this.passing.findIndex(({ from, key }) => key && key === message.key && from === message.from);
    if (renewed >= 0) {
      this.passing[renewed] = { ...message, id: this.passing[renewed].id, version };
      this.#changed({ conversation: this });
      return;
    }
    this.passing.push({ ...message, id: version, version });
    if (this.passing.length > MAX_PASSING) this.passing.shift();
    this.#changed({ conversation: this, arrived: message });
  }

  // Receipts.

  #joined({ receipts, ephemeral, membership = null }, room) {
    this.ephemeral = ephemeral;
    this.membership = membership;
    if (receipts) {
      this.receipts ??= new Receipts(this.#client.user);
      this.#mark({ delivered: this.newest });
      if (!this.#unasked) this.#ask(room); // what changed while there was no connection is not told
    } else {
      this.receipts = null;
      if (this.#assumedRead) this.#setRead(this.lastRead);
    }
    this.#changed({ conversation: this });
  }

  async #ask(room) {
    let answer;
    try {
      answer = await room.receipts();
    } catch {
      return; // the ticks stay as they are; the next joined asks again
    }
    if (room !== this.#room || this.receipts === null) return;
    this.receipts.take(answer);
    const { delivered, read } = answer.own;
    // Whom the server does not know here has no past that they missed.
    if (this.#assumedRead) this.#setRead(delivered > 0 ? read : this.lastRead, { told: true });
    else if (read > this.lastRead) this.#setRead(read, { told: true });
    this.#changed({ conversation: this });
  }

  #heard(receipt) {
    this.receipts?.hear(receipt);
    // Another device of this person. Before the answer to #ask it says nothing that the answer does not.
    const own = receipt.user === this.#client.user && !this.#assumedRead;
    if (own && receipt.read > this.lastRead) this.#setRead(receipt.read, { told: true });
    this.#changed({ conversation: this });
  }

  #dropOldest() {
    const surplus = this.messages.length - MAX_KEPT;
    if (surplus <= 0) return;
    this.#letGo(this.messages.splice(0, surplus));
    this.#first = this.messages[0].seq;
    this.atBeginning = false;
  }

  #takeReadPosition({ epoch }) {
    const here = this.#settings.loadRead(this.name);
    const seq = here?.epoch === epoch ? here.seq : undefined;
    const synced = this.#synced?.epoch === epoch ? this.#synced : null;
    this.#synced = this.begun ? null : this.#synced; // later it is old
    if (synced === null) {
      // A room seen for the first time has no past that anybody missed, unless the server says otherwise.
      this.#assumedRead = seq === undefined;
      this.lastRead = Math.min(seq ?? this.newest, this.newest);
      return;
    }
    this.#assumedRead = false;
    this.lastRead = Math.min(Math.max(synced.read, seq ?? 0), synced.head);
    const unread = Math.min(synced.unread, synced.head - this.lastRead);
    this.#notUnread = synced.head - this.lastRead - unread;
    this.mentions = Math.min(synced.mentions, unread);
  }

  /** told: it is not what was looked at here, so nobody else is told. */
  #setRead(seq, { told = false } = {}) {
    this.lastRead = seq;
    this.#notUnread = 0;
    if (seq >= this.newest) this.mentions = 0;
    this.#assumedRead = false;
    this.#settings.saveRead(this.name, { epoch: this.epoch, seq });
    if (!told) this.#mark({ read: seq });
  }

  #mark({ delivered = 0, read = 0 }) {
    this.#room.mark({ delivered, read });
    this.receipts?.hear({ user: this.#client.user, delivered: Math.max(delivered, read), read });
  }

  #fail(error, status = 'failed') {
    this.status = status;
    this.error = error;
    this.#changed({ conversation: this });
  }
}

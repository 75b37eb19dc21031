// All rooms of the person, those that were written to last first: what the server says they are in (docs/sync.md),
// and the rooms without members that were opened on this device.

import { Conversation } from './conversation.js';

/** Those that were written to last are joined, so that they tell of what is new. The others are when somebody looks. */
const MOST_JOINED = 200;
/** So many are begun at once of those that the list does not have. */
const AT_ONCE = 50;

export class Rooms {
  // Set at construction.
  #client;
  #settings;
  #changed;
  #listed;

  /** Room name to conversation. */
  #conversations = new Map();
  #syncing = false;
  #stale = false;
  /** Rooms that the list does not have are being begun. */
  #beginning = false;

  /**
   * @param {object} client
   * @param {object} settings  see settings.js
   * @param {(change: object) => void} changed  a conversation has changed, see conversation.js
   * @param {(ended: Conversation|null) => void} listed  the list has changed; ended is not in it any more
   */
  constructor(client, settings, changed, listed) {
    this.#client = client;
    this.#settings = settings;
    this.#changed = changed;
    this.#listed = listed;
    for (const name of settings.rooms) this.#make(name);
    client.on('state', ({ state }) => state === 'connected' && this.sync());
    client.on('room', (room) => this.#heard(room));
    client.on('removed', (removal) => this.#removed(removal.room, removal));
  }

  /** The conversations in the order of the list. */
  get all() {
    return [...this.#conversations.values()].sort((a, b) => b.lastAt - a.lastAt);
  }

  get size() {
    return this.#conversations.size;
  }

  /** The conversation of that room, new if there is none. */
  open(name) {
    const known = this.#conversations.get(name);
    if (known !== undefined) return known;
    const made = this.#make(name);
    this.#settings.putAway = this.#settings.putAway.filter((other) => other !== name);
    this.#save();
    return made;
  }

  /** Takes a room off the list of this device. The membership of one that has members stays. */
  leave(name) {
    const conversation = this.#conversations.get(name);
    if (conversation === undefined) return;
    conversation.end();
    this.#conversations.delete(name);
    if (conversation.membership === null) this.#settings.putAway = [...this.#settings.putAway, name];
    this.#save();
  }

  /** Asks for all rooms, page after page. One question at a time: a connection meanwhile makes another one. */
  async sync() {
    if (this.#syncing) {
      this.#stale = true;
      return;
    }
    this.#syncing = true;
    try {
      do {
        this.#stale = false;
        await this.#readAll();
      } while (this.#stale);
    } catch (error) {
      if (error.code === 'closed') return;
      // The client repeats what can be repeated. Without an answer the rooms of this device are there; the next connection asks again.
    }
    this.#syncing = false;
    this.#listed(null);
    this.#beginOthers();
  }

  /** The rooms that the list does not have are asked for one by one, in turns: the client takes a hundred questions at once. */
  async #beginOthers() {
    if (this.#beginning) return;
    this.#beginning = true;
    const left = () => [...this.#conversations.values()].filter(({ begun, known }) => !begun && !known);
    for (let some = left(); some.length > 0; some = left()) {
      await Promise.all(some.slice(0, AT_ONCE).map((conversation) => conversation.begin(1)));
    }
    this.#beginning = false;
  }

  async #readAll() {
    const before = this.all.filter(({ membership }) => membership?.role);
    const names = new Set();
    let page = {};
    do {
      page = await this.#client.sync({ next: page.next, messages: 1 });
      const putAway = new Set(this.#settings.putAway);
      for (const synced of page.rooms) {
        if (!synced.membership && putAway.has(synced.room) && !this.#conversations.has(synced.room)) continue;
        const conversation = this.#conversations.get(synced.room) ?? this.#make(synced.room);
        conversation.introduce(synced, { epoch: page.epoch, join: names.size < MOST_JOINED });
        names.add(synced.room);
      }
      this.#listed(null);
    } while (page.next);
    // What ended while there was no connection.
    for (const { name } of before) {
      if (!names.has(name)) this.#removed(name);
    }
    this.#save();
  }

  /** The person has come into a room, or is something else there. */
  #heard(room) {
    if (!room.role) return; // about the room alone: it tells itself
    const known = this.#conversations.get(room.room);
    if (known !== undefined && known.status !== 'removed') return;
    const conversation = known ?? this.#make(room.room);
    conversation.membership = room;
    conversation.lastAt = Date.now();
    conversation.begin(1);
    this.#listed(null);
  }

  #removed(name, removal) {
    const conversation = this.#conversations.get(name);
    if (conversation === undefined) return;
    conversation.lost(removal);
    this.#listed(conversation);
  }

  #make(name) {
    const conversation = new Conversation(this.#client, name, this.#settings, (change) => this.#changed(change));
    this.#conversations.set(name, conversation);
    return conversation;
  }

  /** Rooms with members are known to the server, on all devices. */
  #save() {
    this.#settings.rooms = this.all.filter(({ membership }) => membership === null).map(({ name }) => name);
  }
}

// Everything below a conversation: the client, and the server behind it.

import { Shown, folded } from '../../client/js/shown.js';
import { Conversation } from '../page/app/conversation.js';
import { Settings } from '../page/app/settings.js';
import { FakeStorage } from './fake-storage.js';

export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A server with one room and the client that speaks to it, at the level of promises. */
export class FakeClient {
  user = 'alice';
  epoch = 'e1';
  stored = [];
  joins = [];
  publishes = [];
  histories = [];
  held = null;
  keepsReceipts = false;
  ephemeral = false;
  /** Pages that sync answers, in order; the last one stays. */
  pages = [{ epoch: 'e1', rooms: [] }];
  syncs = [];
  state = 'idle';
  /** Rooms with members: not_joined before they are. */
  closed = new Set();
  memberships = new Map();
  #listeners = new Map();
  #keys = 0;

  store(count, from = 'bob') {
    for (let i = 0; i < count; i++) {
      const seq = this.stored.length + 1;
      this.stored.push({ room: 'lobby', seq, at: seq, from, text: `m${seq}` });
    }
  }

  nextKey() {
    return `k${++this.#keys}`;
  }

  async history(room, range) {
    const { before, after, limit } = range;
    this.histories.push(range);
    if (this.failure) throw this.failure;
    const inside = this.joins.some((joined) => joined.name === room && joined.state === 'joined');
    if (this.closed.has(room) && !inside) throw Object.assign(new Error('join it first'), { code: 'not_joined' });
    let found = this.stored.filter((m) => !m.change).map((message) => this.stored
      .filter((m) => m.change?.target === message.seq)
      .reduce((so, change) => folded(so, change, this.user), message));
    if (before !== undefined) found = found.filter((m) => m.seq < before);
    if (after !== undefined) found = found.filter((m) => m.seq > after);
    const messages = after !== undefined ? found.slice(0, limit) : found.slice(-limit);
    const page = { room, epoch: this.epoch, messages: [...messages], more: messages.length < found.length, ephemeral: this.ephemeral };
    if (this.held) await this.held;
    return page;
  }

  on(name, listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }

  emit(name, event) {
    for (const listener of this.#listeners.get(name) ?? []) listener(event);
  }

  async sync(query) {
    this.syncs.push(query);
    const page = this.pages.length > 1 ? this.pages.shift() : this.pages[0];
    if (page instanceof Error) throw page;
    return page;
  }

  join(name, options) {
    const room = {
      name,
      options,
      ready: this.refusal ? Promise.reject(this.refusal) : Promise.resolve(),
      state: 'joined',
      marks: [],
      leave: () => (room.state = 'left'),
      mark: (standing) => room.marks.push(standing),
      said: [], // of presence and typing
      watchPresence: () => room.said.push('watch'),
      unwatchPresence: () => room.said.push('unwatch'),
      typing: () => room.said.push('typing'),
      stopTyping: () => room.said.push('stopped'),
      receipts: () => new Promise((resolve, reject) => (room.answer = { resolve, reject })),
    };
    this.joins.push(room);
    const { keepsReceipts: receipts, ephemeral } = this;
    const membership = this.memberships.get(name);
    queueMicrotask(() => options?.onJoined({ receipts, ephemeral, membership }, room));
    return room;
  }

  publish(room, text, { key, ...more }) {
    return new Promise((resolve, reject) => this.publishes.push({ text, key, more, resolve, reject }));
  }

  shown() {
    return new Shown(() => this.user);
  }

  /** Something is said and delivered. */
  say(from = 'bob', text) {
    const seq = this.stored.length + 1;
    const message = { room: 'lobby', seq, at: seq, from, text: text ?? `m${seq}` };
    this.stored.push(message);
    this.deliver(message);
  }

  /** Something is changed and delivered. */
  alter(change, text, from = 'bob') {
    const seq = this.stored.length + 1;
    const message = { room: 'lobby', seq, at: seq, from, change, ...(text === undefined ? {} : { text }) };
    this.stored.push(message);
    this.deliver(message);
  }

  deliver(message) {
    const room = this.joins.at(-1);
    if (room.state === 'joined') room.options.onMessage(message);
  }
}

export async function open({ stored = 0, limit, storages = [new FakeStorage(), new FakeStorage()], ...more } = {}) {
  const client = Object.assign(new FakeClient(), more);
  client.store(stored);
  const changes = [];
  const settings = new Settings(...storages);
  const conversation = new Conversation(client, 'lobby', settings, (change) => changes.push(change));
  await conversation.begin(limit);
  return { client, conversation, changes, settings, storages };
}

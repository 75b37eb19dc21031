// A joined room: its position, and the rules by which a message is delivered. docs/client.md,
// "Rooms".

import { RookeryError } from './errors.js';
import { Presence } from './presence.js';
import { Receipts } from './receipts.js';

/** States after which nothing comes any more. */
const final = new Set(['refused', 'left', 'removed']);

export class Room {
  // Set at construction.
  #link;
  #callbacks;
  #settled;
  #receipts;
  #presence;

  #state = 'joining';
  #epoch;
  /** Last sequence number given to the application; undefined: none known, live only. */
  #seq;
  /** What the last joined said; undefined before. */
  #ephemeral;
  /** Of a room with members, what was told last; else undefined. */
  #membership;
  /** Counts joins sent, so that a late reply to an older one is known as such. */
  #joins = 0;
  #refusals = 0;
  /** The room was joined again because of a hole, and no message has come since. */
  #mending = false;
  #retryTimer;

  /**
   * Applications get rooms from Rookery.join.
   *
   * @param {object} link  see rookery.js
   * @param {string} name
   * @param {{after?: number, epoch?: string, onMessage?: Function, onJoined?: Function, onReset?: Function,
   *   onGap?: Function, onReceipt?: Function, onReceiptCounts?: Function, onMembership?: Function,
   *   onPresence?: Function, onTyping?: Function, onState?: Function}} options
   */
  constructor(link, name, { after, epoch, ...callbacks } = {}) {
    this.#link = link;
    this.name = name;
    this.#callbacks = callbacks;
    this.#receipts = new Receipts(link, name);
    this.#presence = new Presence(link, name, (seen) => this.#call('onPresence', seen), (typists) => this.#call('onTyping', typists));
    this.#seq = after;
    this.#epoch = epoch;
    /** Settled by the first answer: joined, or the reason why not. */
    this.ready = new Promise((resolve, reject) => (this.#settled = { resolve, reject }));
    this.ready.catch(() => {}); // not everybody looks: the state says it too
  }

  get state() {
    return this.#state;
  }

  get epoch() {
    return this.#epoch;
  }

  get seq() {
    return this.#seq;
  }

  /** Nothing in this room is stored; undefined before the first joined. */
  get ephemeral() {
    return this.#ephemeral;
  }

  /** The room keeps receipts; undefined before the first joined. */
  get keepsReceipts() {
    return this.#receipts.kept;
  }

  /** What the room is and what the user is in it, if it has members. */
  get membership() {
    return this.#membership;
  }

  /** Publishes to this room; see Rookery.publish. */
  publish(content, options) {
    return this.#link.publish(this.name, content, options);
  }

  /** Changes of messages of this room; see Rookery. */
  edit(seq, content, options) {
    return this.#link.edit(this.name, seq, content, options);
  }

  delete(seq, options) {
    return this.#link.delete(this.name, seq, options);
  }

  react(seq, reaction, options) {
    return this.#link.react(this.name, seq, reaction, options);
  }

  pin(seq, options) {
    return this.#link.pin(this.name, seq, options);
  }

  /** Sends to who is in this room now; see Rookery.sendEphemeral. */
  sendEphemeral(content, options) {
    return this.#link.sendEphemeral(this.name, content, options);
  }

  /** Reads a page of this room; see Rookery.history. */
  history(page) {
    return this.#link.history(this.name, page);
  }

  /**
   * The user has received everything up to delivered, and read everything up to read. It is sent when it moves
   * the user forward, at most once a second, and waits for a connection. A room that keeps no receipts is not told.
   */
  mark(standing) {
    if (!final.has(this.#state)) this.#receipts.mark(standing);
  }

  /** Asks how far everybody has come. */
  async receipts() {
    const answer = await this.#link.read('receipts', { room: this.name });
    for (const standing of answer.receipts) this.#receipts.heard(standing);
    if (answer.own) this.#receipts.heard(answer.own);
    return answer;
  }

  /** Who is in the room, as far as it is watched and known: { count, users }, users a map to 'online' or 'away'. */
  get presence() {
    return this.#presence.seen;
  }

  /** Has onPresence called with who is in the room, now and whenever that changes, over lost connections too. */
  watchPresence() {
    if (!final.has(this.#state)) this.#presence.watch(this.#state === 'joined');
  }

  unwatchPresence() {
    this.#presence.unwatch(this.#state === 'joined');
  }

  /** Says that the user is typing here; call it with every key. It is sent now and then, and nobody answers it. */
  typing() {
    if (this.#state === 'joined') this.#presence.type();
  }

  /** Says that the user is typing no more, as when a text is thrown away. */
  stopTyping() {
    if (this.#state === 'joined') this.#presence.stopTyping();
  }

  /** Ends the subscription. Nothing is delivered from now on. */
  leave() {
    if (final.has(this.#state)) return;
    if (this.#link.ready && this.#joins > 0) this.#link.request('leave', { room: this.name }, () => {});
    this.#link.forget(this);
    this.#end('left', new RookeryError('left', `The room ${this.name} was left before it was joined.`));
  }

  // Events, from the owner of the connection.

  connected() {
    this.#sendJoin();
  }

  disconnected() {
    this.#link.clock.clearTimeout(this.#retryTimer);
    this.#joins = 0;
    this.#mending = false;
    this.#receipts.disconnected();
    this.#presence.disconnected();
    this.#setState('joining');
  }

  ended(error) {
    if (!final.has(this.#state)) this.#end('left', error);
  }

  message(message) {
    if (message.ephemeral) {
      if (this.#state !== 'joined') return;
      if (this.#ephemeral) this.#presence.wrote(message.from);
      this.#call('onMessage', message); // the position knows nothing of it
      return;
    }
    if (this.#state !== 'joined' || message.seq <= this.#seq) return;
    if (message.seq !== this.#seq + 1) {
      this.#mend(message.seq);
      return;
    }
    this.#mending = false;
    this.#seq = message.seq;
    if (!message.change) this.#presence.wrote(message.from);
    this.#call('onMessage', message);
  }

  /** Messages first to last will not come: retention took them, or they are damaged. */
  gap({ first, last, reason }) {
    if (this.#state !== 'joined' || last <= this.#seq) return;
    if (first > this.#seq + 1) {
      this.#mend(first);
      return;
    }
    const missing = { first: this.#seq + 1, last, reason };
    this.#mending = false;
    this.#seq = last;
    this.#call('onGap', missing);
  }

  /** A user has come further. */
  receipt(receipt) {
    if (this.#state !== 'joined') return;
    const further = this.#receipts.heard(receipt);
    if (further) this.#call('onReceipt', further);
  }

  /** The room has other settings or, with a role, the user another standing in it. */
  changed({ role, ...settings }) {
    if (!this.#membership) return;
    if (role) {
      this.#membership = { ...settings, role };
    } else {
      const { title, speak, slowModeMs } = settings;
      this.#membership = { ...this.#membership, title, speak, slowModeMs };
    }
    this.#call('onMembership', this.#membership);
  }

  /** The user is no member any more. */
  removed({ action, reason }) {
    if (final.has(this.#state)) return;
    this.#link.forget(this);
    const words = `You are no longer a member of ${this.name} (${action})${reason ? `: ${reason}` : ''}.`;
    this.#end('removed', new RookeryError('removed', words));
  }

  /** What a large room gets instead: how many have its newest messages. */
  counted({ head, users, counts }) {
    if (this.#state === 'joined') this.#call('onReceiptCounts', { head, users, counts });
  }

  /** The user has published a message here. */
  published() {
    this.#presence.published();
  }

  presenceChange(change) {
    if (this.#state === 'joined') this.#presence.change(change);
  }

  typists(typists) {
    if (this.#state === 'joined') this.#presence.typists(typists);
  }

  // Joining.

  #sendJoin() {
    if (!this.#link.ready) return;
    const join = ++this.#joins;
    const body = { room: this.name };
    if (this.#seq !== undefined) {
      body.after = this.#seq;
      if (this.#epoch) body.epoch = this.#epoch;
    }
    this.#link.request('join', body, (error, reply) => {
      if (join !== this.#joins || final.has(this.#state)) return;
      if (error) this.#refused(error);
      else this.#joined(reply);
    });
  }

  #joined(joined) {
    const previous = { epoch: this.#epoch, seq: this.#seq };
    const reset = previous.seq !== undefined && joined.recovered !== true;
    this.#refusals = 0;
    this.#epoch = joined.epoch;
    if (joined.recovered !== true) this.#seq = joined.head;
    this.#ephemeral = joined.ephemeral === true;
    this.#membership = joined.membership;
    if (reset) this.#receipts.reset();
    this.#receipts.joined(joined);
    this.#presence.joined();
    this.#link.began(this);
    this.#setState('joined'); // after what the room sends then, since the application may leave it
    this.#link.settled(this);
    // Before the promise, whose callbacks run later than the messages that follow the reply.
    if (reset && this.#state === 'joined') this.#call('onReset', { epoch: joined.epoch, head: joined.head, previous });
    if (this.#state === 'joined') this.#call('onJoined', {
      epoch: joined.epoch,
      head: joined.head,
      begin: joined.begin,
      recovered: joined.recovered,
      ephemeral: this.#ephemeral,
      receipts: joined.receipts,
      membership: joined.membership,
    });
    this.#settled.resolve(this);
  }

  #refused(error) {
    if (error.code === 'already_joined') {
      this.#rejoin(); // the two sides disagree; after a leave they don't
    } else if (error.retry) {
      const delay = this.#link.delay(this.#refusals++, error.retryAfterMs);
      this.#retryTimer = this.#link.clock.setTimeout(() => this.#sendJoin(), delay);
    } else {
      this.#link.forget(this);
      this.#end('refused', error);
    }
  }

  /** A message came before one that is missing: never deliver over a hole. */
  #mend(seq) {
    if (this.#mending) {
      this.#link.fault(`${this.name}: message ${seq} came after ${this.#seq}, twice`);
      return;
    }
    this.#mending = true;
    this.#rejoin();
  }

  #rejoin() {
    this.#setState('joining');
    this.#link.request('leave', { room: this.name }, () => {});
    this.#sendJoin();
  }

  #end(state, error) {
    this.#link.clock.clearTimeout(this.#retryTimer);
    this.#receipts.disconnected();
    this.#presence.ended();
    this.#settled.reject(error);
    this.#setState(state, error);
  }

  #setState(state, error) {
    if (state === this.#state) return;
    this.#state = state;
    this.#call('onState', { state, error });
  }

  #call(name, argument) {
    const callback = this.#callbacks[name];
    if (callback) this.#link.guard(() => callback(argument, this));
  }
}

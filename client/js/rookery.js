// The client of a Rookery gateway, for browsers and Node.
//
//   import { Rookery } from './rookery.js';
//
//   const client = new Rookery({ url: 'wss://chat.example/ws', token: async () => fetchToken() });
//   client.on('state', ({ state, retryAt }) => …);
//   await client.connect();
//   const lobby = client.join('lobby', { onMessage: (m) => console.log(m.seq, m.from, m.text) });
//   await lobby.publish('hello');
//
// It comes back by itself, resumes every room where it was, and delivers each message once, in
// order. docs/client.md is the specification: states, timers, and what is not promised.
//
// Each file is one owner: transport.js the way to the server, connection.js one socket's life, events.js the socket that is none, room.js a room's position, receipts.js how
// far users have come in it, presence.js who is there and who is typing, shown.js messages with their later changes,
// outbox.js and reads.js what waits for an answer; this one the state machine that starts and
// ends connections. Everything runs on the one event loop; nothing here waits.

import { retryDelay } from './backoff.js';
import { CLOSE_BAD_FRAME, CLOSE_NORMAL, CLOSE_TOKEN_EXPIRED, shouldReconnect } from './codes.js';
import { Connection } from './connection.js';
import { RookeryError } from './errors.js';
import { Outbox } from './outbox.js';
import { Reads } from './reads.js';
import { Room } from './room.js';
import { Shown } from './shown.js';
import { Transport } from './transport.js';

export { RookeryError, Shown, shouldReconnect };

/** The clock of the platform: the time of day, because keys are remembered by that. */
const platformClock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

export class Rookery {
  // Set at construction.
  #settings;
  #transport;
  #clock;
  #random;
  #link;
  #outbox;
  #reads;
  #rooms = new Map();
  #listeners = new Map();
  #established;

  // The state machine.
  #state = 'idle';
  #failures = 0;
  /** Counts tries, so that a token that comes too late is known as such. */
  #tries = 0;
  #waitTimer;
  #retryAt = null;
  /** Nobody sits at this client, the application has said. */
  #away = false;
  #error = null;

  // Of the connection that is there, if one is.
  #connection = null;
  #connectTimer;
  #stableTimer;
  #goawayTimer;
  /** What goaway said; no new requests on this connection any more. */
  #leaving = null;

  // What the server said last.
  #user = null;
  #session = null;
  #maxMessageBytes = Infinity;

  /** @param {import('./rookery.d.ts').RookeryOptions} options */
  constructor(options = {}) {
    this.#settings = checked(options);
    this.#clock = options.clock ?? platformClock;
    this.#transport = new Transport(options, this.#clock);
    this.#random = options.random ?? Math.random;
    this.#link = this.#makeLink();
    this.#outbox = new Outbox(this.#link, options);
    this.#reads = new Reads(this.#link);
    this.#established = settledLater();
  }

  get state() {
    return this.#state;
  }

  /** The way to the server now, or of the last try: 'websocket', or 'events' where none gets through. */
  get transport() {
    return this.#transport.name;
  }

  /** When the next try begins, in the clock's milliseconds; null unless waiting. */
  get retryAt() {
    return this.#retryAt;
  }

  /** Why the client is waiting or closed. */
  get error() {
    return this.#error;
  }

  /** The name under which the server knows this client; null before the first connection. */
  get user() {
    return this.#user;
  }

  /** Names this connection in the server's log. */
  get session() {
    return this.#session;
  }

  /** Publishes not yet answered. */
  get queued() {
    return this.#outbox.length;
  }

  /**
   * Calls listener on every event of that name: 'state', 'goaway', 'refused', and of rooms with members 'room',
   * 'member' and 'removed'. Returns what takes the listener away again.
   */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** Starts. The promise is settled by the first connection, or by an end that forbids one. */
  connect() {
    if (this.#state === 'idle') {
      this.#wait(this.#random() * this.#settings.initialSpread);
    }
    return this.#established.promise;
  }

  /** Ends for good. What waits for an answer is rejected with the code closed. */
  close() {
    this.#end(new RookeryError('closed', 'The application closed the client.'));
  }

  /**
   * The application knows what no timer does: the network is back, the page is looked at.
   * Tries at once when waiting, checks the connection when there is one.
   */
  wake() {
    if (this.#state === 'waiting') {
      this.#try();
    } else if (this.#state === 'connected') {
      this.#connection.check();
    }
  }

  /**
   * Has the token function make a new token and tells the server on the open connection, before the old one ends. Without a
   * connection it does nothing: the next one begins with a new token. Throws what the function throws; what the server says against
   * the new token ends the connection, or is the event refused.
   */
  async renew() {
    const { token } = this.#settings;
    if (typeof token !== 'function') throw new TypeError('renew: the option token is no function, so there is no other token');
    const connection = this.#connection;
    if (this.#state !== 'connected') return;
    const fresh = await token();
    if (this.#connection !== connection || this.#state !== 'connected') return;
    connection.request('connect', { token: fresh }, (error) => {
      if (error) this.#emit('refused', error);
    });
  }

  /** Says whether somebody sits at this client; true is away. It is said again with each connection. */
  setAway(away) {
    if (this.#away === away) return;
    this.#away = away;
    if (this.#link.ready) this.#sayState();
  }

  /** Joins a room; options as in rookery.d.ts. */
  join(name, options) {
    if (this.#state === 'closed') throw this.#error;
    if (this.#rooms.has(name)) {
      throw new RookeryError('already_joined', `The room ${name} is joined already: leave it first.`);
    }
    const room = new Room(this.#link, name, options);
    this.#rooms.set(name, room);
    room.connected();
    return room;
  }

  /**
   * Publishes text or bytes to a room, joined or not. Resolves when it is durable. Options: key, replyTo, thread,
   * mentions, kind, and change for what edit and the others below make of it.
   */
  publish(room, content, { key, replyTo, thread, mentions, kind, change } = {}) {
    if (!change) this.#rooms.get(room)?.published();
    return this.#outbox.publish(room, content, { key, replyTo, thread, mentions, kind, change });
  }

  /** Gives a message of this user another content. */
  edit(room, seq, content, { mentions, key } = {}) {
    return this.#outbox.publish(room, content, { key, mentions, change: { target: seq, edit: {} } });
  }

  /** Takes away what a message said. */
  delete(room, seq, { key } = {}) {
    return this.#outbox.publish(room, undefined, { key, change: { target: seq, delete: {} } });
  }

  /** Adds a reaction, an emoji or a short text, or takes it back. */
  react(room, seq, reaction, { remove, key } = {}) {
    return this.#outbox.publish(room, undefined, { key, change: { target: seq, react: { reaction, remove } } });
  }

  /** Puts a message on the room's list of pinned ones, or takes it off. */
  pin(room, seq, { remove, key } = {}) {
    return this.#outbox.publish(room, undefined, { key, change: { target: seq, pin: { remove } } });
  }

  /**
   * Sends text or bytes to who has joined the room now; nothing is stored, queued or sent again. For who
   * is behind, the newest of a sender and key takes the place of older ones. Returns whether it was
   * sent: not without a connection, and not while the socket has much waiting. A refusal of the server is the
   * event refused.
   */
  sendEphemeral(room, content, { key = '' } = {}) {
    const body = { room, key, ephemeral: true };
    if (typeof content === 'string') body.text = content;
    else if (content instanceof Uint8Array) body.data = content;
    else throw new TypeError('sendEphemeral: the content is neither a string nor a Uint8Array');
    return this.#link.ready && this.#connection.tell('publish', body);
  }

  /** A key for a publish, for applications that keep what they publish until it is answered. */
  nextKey() {
    return this.#outbox.nextKey();
  }

  /**
   * Reads a page of a room's history, ascending: the newest, or those before or after a seq; all of it, or one of a thread, what
   * is pinned, and what mentions this user.
   */
  history(room, { before, after, limit, thread, pinned, mentions } = {}) {
    return this.#reads.read('history', { room, before, after, limit, thread, pinned, mentions });
  }

  /** Holds messages of one room with what was changed later in them; see shown.js. */
  shown() {
    return new Shown(() => this.#user);
  }

  // Rooms with members, docs/rooms.md. These requests last over lost connections like reads, so the server may see one
  // twice: a second kick is answered with no_such_member.

  /** Makes a room with members, and this user its owner. */
  createRoom({ room, title = '', slowModeMs = 0, speak = '' }) {
    return this.#reads.read('create', { room, title, slowModeMs, speak });
  }

  /** Gives the direct room of this user and another, which it makes if there is none. */
  startDirect(user) {
    return this.#reads.read('create', { user });
  }

  /** Changes settings of a room; what is left out stays as it is. */
  configureRoom(room, { title, slowModeMs, speak } = {}) {
    return this.#reads.read('configure', { room, title, slowModeMs, speak });
  }

  /** Does something to a member of a room: invite, leave, kick, ban, unban, mute, unmute or role. */
  changeMember({ room, user, action, role, forMs, reason }) {
    return this.#reads.read('member', { room, user, action, role, forMs, reason });
  }

  /** Reads a page of the members of a room, by name; with banned, of who is banned from it. */
  members(room, { after, limit, banned } = {}) {
    return this.#reads.read('members', { room, after, limit, banned });
  }

  /** Reads a page of the rooms that this user is a member of, by name. */
  rooms({ after, limit } = {}) {
    return this.#reads.read('rooms', { after, limit });
  }

  /**
   * Says of which messages of a room this user is told while away: 'all', 'mentions' or 'none'. Without a level it only asks.
   * docs/push.md.
   */
  notify(room, level = '') {
    return this.#reads.read('notify', { room, level });
  }

  /**
   * Registers where this installation is told while its user is away, or forgets it without a subscription. Without an id it only asks
   * for webPushKey, the server's key, and services, of which it takes tokens. A subscription is what PushSubscription.toJSON() gives,
   * {endpoint, p256dh, auth}, or the token of an app, {apns} or {fcm}. docs/push.md.
   */
  device(id = '', subscription) {
    const { endpoint, p256dh, auth, apns, fcm } = { ...subscription, ...subscription?.keys };
    return this.#reads.read('device', { id, webPush: endpoint === undefined ? undefined : { endpoint, p256dh, auth }, apns, fcm });
  }

  /**
   * Reads a page of all rooms of this user, those written to last first: docs/sync.md. A page has next, for the page behind it,
   * or, the last one, position, for the next time.
   */
  sync({ position, next, limit, messages } = {}) {
    return this.#reads.read('sync', { position, next, limit, messages });
  }

  // The state machine, in the order in which a connection meets it.

  #wait(delay, error = null) {
    this.#error = error;
    this.#retryAt = this.#clock.now() + delay;
    this.#clock.clearTimeout(this.#waitTimer);
    this.#waitTimer = this.#clock.setTimeout(() => this.#try(), delay);
    this.#setState('waiting');
  }

  async #try() {
    this.#clock.clearTimeout(this.#waitTimer);
    this.#retryAt = null;
    const current = ++this.#tries;
    const { connectTimeout, name, token } = this.#settings;
    this.#connectTimer = this.#clock.setTimeout(
      () => this.#lost(new RookeryError('connect_timeout', `No connection within ${connectTimeout} ms.`)),
      connectTimeout,
    );
    this.#setState('connecting');
    let credentials = { name };
    if (token !== undefined) {
      try {
        credentials = { token: typeof token === 'function' ? await token() : token };
      } catch (error) {
        if (current === this.#tries) this.#lost(new RookeryError('no_token', `The token could not be fetched: ${error?.message ?? error}`, { cause: error }));
        return;
      }
    }
    if (current === this.#tries && this.#state === 'connecting') this.#open(credentials);
  }

  #open(credentials) {
    const owner = {
      opened: () => this.#connection.request('connect', credentials, (error, reply) => {
        this.#transport.works();
        if (error) this.#turnedAway(error);
        else this.#connected(reply);
      }),
      frame: (frame) => this.#frame(frame),
      ended: (code, reason) => this.#ended(code, reason),
      dead: (why) => this.#lost(new RookeryError('connection_dead', why)),
    };
    try {
      this.#connection = new Connection({ ...this.#transport.open(), clock: this.#clock }, owner);
    } catch (error) {
      // The platform refuses the address itself (a mistake in it, plain ws from an https page).
      this.#end(new RookeryError('bad_url', `The address cannot be opened: ${error.message}`, { cause: error }));
    }
  }

  #turnedAway(error) {
    const renewable = error.code === 'token_expired' && typeof this.#settings.token === 'function';
    if (error.retry || renewable) this.#lost(error, { hintMs: error.retryAfterMs });
    else this.#end(error);
  }

  #connected(connected) {
    this.#clock.clearTimeout(this.#connectTimer);
    this.#stableTimer = this.#clock.setTimeout(() => (this.#failures = 0), this.#settings.stableAfter);
    this.#connection.established(connected);
    this.#user = connected.user;
    this.#session = connected.session;
    this.#maxMessageBytes = connected.maxMessageBytes || Infinity;
    this.#error = null;
    this.#established.resolve(connected);
    // The application hears of it last: what it asks for then is asked once, and it may close the client.
    this.#setState('connected', () => {
      if (this.#away) this.#sayState(); // a connection begins online
      // The page that is answered is of no use: this has the server tell of the user's rooms.
      if (this.#settings.watchRooms) this.#connection.request('rooms', { limit: 1, watch: true }, () => {});
      // Rooms first: what is published next comes back through them.
      for (const room of this.#rooms.values()) room.connected();
      this.#outbox.connected();
      this.#reads.connected();
    });
  }

  #sayState() {
    this.#connection.request('state', { state: this.#away ? 'away' : 'online' }, () => {});
  }

  #frame({ message, gap, receipt, receipts, presenceChange, typing, room, member, removed, goaway, error }) {
    if (message) this.#rooms.get(message.room)?.message(message);
    if (gap) this.#rooms.get(gap.room)?.gap(gap);
    if (receipt) this.#rooms.get(receipt.room)?.receipt(receipt);
    if (receipts) this.#rooms.get(receipts.room)?.counted(receipts);
    if (presenceChange) this.#rooms.get(presenceChange.room)?.presenceChange(presenceChange);
    if (typing) this.#rooms.get(typing.room)?.typists(typing);
    if (room) {
      this.#rooms.get(room.room)?.changed(room);
      this.#emit('room', room);
    }
    if (member) this.#emit('member', member);
    if (removed) {
      this.#rooms.get(removed.room)?.removed(removed);
      this.#emit('removed', removed);
    }
    if (goaway) this.#goaway(goaway);
    if (error) this.#emit('refused', RookeryError.fromReply(error)); // only of what has no id
  }

  #goaway(goaway) {
    this.#leaving = goaway;
    this.#clock.clearTimeout(this.#goawayTimer);
    this.#goawayTimer = this.#clock.setTimeout(() => this.#lost(goneAway(goaway)), goaway.afterMs);
    this.#emit('goaway', goaway);
  }

  #ended(code, reason) {
    const words = reason || (code === CLOSE_NORMAL ? 'closed by the server' : 'connection lost');
    const error = new RookeryError(reason || 'connection_lost', `The connection ended with ${code}: ${words}.`, { status: code });
    const fixedToken = this.#settings.token !== undefined && typeof this.#settings.token !== 'function';
    if (!shouldReconnect(code) || (code === CLOSE_TOKEN_EXPIRED && fixedToken)) this.#end(error);
    else this.#lost(error);
  }

  /** The connection, or the try, is over and the client comes back. */
  #lost(error, { hintMs = 0 } = {}) {
    if (this.#state === 'closed') return;
    this.#transport.lost(error);
    const leaving = this.#leaving;
    this.#detach(CLOSE_NORMAL);
    const { backoffBase: baseMs, backoffCap: capMs } = this.#settings;
    let delay;
    if (leaving) {
      this.#failures = 0;
      delay = this.#random() * Math.max(leaving.windowMs, baseMs);
    } else {
      delay = retryDelay(this.#random, this.#failures, { hintMs, baseMs, capMs });
      this.#failures++;
    }
    this.#outbox.disconnected();
    // The new state first: what the application does when it hears of it, or of its rooms,
    // must find no connection that is not there any more.
    this.#wait(delay, error);
    for (const room of [...this.#rooms.values()]) room.disconnected();
  }

  #end(error) {
    if (this.#state === 'closed') return;
    this.#detach(CLOSE_NORMAL);
    this.#transport.rest();
    this.#clock.clearTimeout(this.#waitTimer);
    this.#retryAt = null;
    this.#error = error;
    this.#established.reject(error);
    const rooms = [...this.#rooms.values()];
    this.#rooms.clear();
    this.#setState('closed');
    for (const room of rooms) room.ended(error);
    this.#outbox.ended(error);
    this.#reads.ended(error);
  }

  /** Lets go of the connection and of every timer that is about it. */
  #detach(code, reason) {
    this.#tries++; // a token that is still being fetched is of no use any more
    for (const timer of [this.#connectTimer, this.#stableTimer, this.#goawayTimer]) this.#clock.clearTimeout(timer);
    this.#leaving = null;
    const connection = this.#connection;
    this.#connection = null;
    connection?.drop(code, reason);
  }

  /** begin: what the state begins with, before anybody hears of it. */
  #setState(state, begin = () => {}) {
    const previous = this.#state;
    this.#state = state;
    begin();
    this.#emit('state', { state, previous, retryAt: this.#retryAt, error: this.#error, failures: this.#failures, transport: this.transport });
  }

  #emit(name, event) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) guard(() => listener(event));
  }

  /** What rooms, outbox and reads may know and do. */
  #makeLink() {
    const client = this;
    return {
      clock: this.#clock,
      /** Requests may be sent now. */
      get ready() {
        return client.#state === 'connected' && client.#leaving === null;
      },
      get maxMessageBytes() {
        return client.#maxMessageBytes;
      },
      /** As the server knows this client. */
      get user() {
        return client.#user;
      },
      request: (op, body, done) => client.#connection.request(op, body, done),
      tell: (op, body) => client.#connection.tell(op, body),
      read: (op, body) => client.#reads.read(op, body),
      delay: (failures, hintMs) => retryDelay(this.#random, failures, {
        hintMs,
        baseMs: this.#settings.backoffBase,
        capMs: this.#settings.backoffCap,
      }),
      /** The server broke a promise: nothing on this connection can be relied on. */
      fault: (why) => {
        client.#connection?.drop(CLOSE_BAD_FRAME, why);
        client.#lost(new RookeryError('protocol_fault', why));
      },
      room: (name) => client.#rooms.get(name),
      began: (room) => client.#outbox.began(room),
      settled: (room) => client.#outbox.settled(room),
      forget(room) {
        client.#rooms.delete(room.name);
        client.#outbox.settled(room);
      },
      publish: (room, content, options) => client.publish(room, content, options),
      edit: (room, seq, content, options) => client.edit(room, seq, content, options),
      delete: (room, seq, options) => client.delete(room, seq, options),
      react: (room, seq, reaction, options) => client.react(room, seq, reaction, options),
      pin: (room, seq, options) => client.pin(room, seq, options),
      sendEphemeral: (room, content, options) => client.sendEphemeral(room, content, options),
      history: (room, page) => client.history(room, page),
      randomBytes: this.#settings.randomBytes,
      guard,
    };
  }
}

/** Runs the application's code; what it throws is its own and ends up where uncaught errors do. */
function guard(callback) {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function goneAway({ reason }) {
  return new RookeryError('going_away', `The server asked to come back later: ${reason}.`);
}

function settledLater() {
  const later = {};
  later.promise = new Promise((resolve, reject) => Object.assign(later, { resolve, reject }));
  later.promise.catch(() => {}); // the state event says it too
  return later;
}

/** The options with their defaults; throws on what can't work, so that it shows at once. */
function checked(options) {
  const { token, name } = options;
  if ((token === undefined) === (name === undefined)) {
    throw new TypeError('Rookery: give either token (text, or a function that fetches one) or name (development mode)');
  }
  return {
    token,
    name,
    watchRooms: options.watchRooms ?? false,
    initialSpread: options.initialSpread ?? 0,
    backoffBase: options.backoffBase ?? 500,
    backoffCap: options.backoffCap ?? 30_000,
    connectTimeout: options.connectTimeout ?? 10_000,
    stableAfter: options.stableAfter ?? 10_000,
    randomBytes: options.randomBytes ?? ((length) => crypto.getRandomValues(new Uint8Array(length))),
  };
}

// Types of the public part of the client. docs/client.md says how it behaves.

export interface RookeryOptions {
  /** Address of the gateway, ws: or wss:. Default: /ws of the page's own host. */
  url?: string | URL;
  /** A signed token, or what fetches one; a function is asked before every try. */
  token?: string | (() => string | Promise<string>);
  /** Development mode: the bare user name, instead of a token. */
  name?: string;
  /** Default: binary. */
  codec?: 'binary' | 'json';
  /** Default: the platform's. In older versions of Node, the one of the package ws. */
  WebSocket?: unknown;
  /**
   * Where WebSocket is blocked, go over to Server-Sent Events and POST by itself. Default true; false: never; an address: where
   * events are, if that is not /events beside url.
   */
  fallback?: boolean | string | URL;
  /** Default: the platform's. */
  fetch?: typeof fetch;

  /** Have the server tell of all rooms that the user comes into or is removed from: the events room and removed. */
  watchRooms?: boolean;

  /** The first connection waits a random part of this. Milliseconds, default 0. */
  initialSpread?: number;
  /** Ceiling of the first wait after a loss; doubled by each failure. Milliseconds, default 500. */
  backoffBase?: number;
  /** Largest ceiling. Milliseconds, default 30000. */
  backoffCap?: number;
  /** For token, socket and the reply to connect together. Milliseconds, default 10000. */
  connectTimeout?: number;
  /** A connection that was up for so long forgives earlier failures. Milliseconds, default 10000. */
  stableAfter?: number;
  /** Publishes in flight per room. Default 1, which keeps their order whatever is answered. */
  publishWindow?: number;
  /** Publishes not yet answered, beyond which publish is rejected. Default 1000. */
  maxQueued?: number;
  /** The same in bytes of content. Default 1 MiB. */
  maxQueuedBytes?: number;

  /** Replaced by tests. */
  clock?: Clock;
  /** Replaced by tests: a number from 0 up to 1. */
  random?: () => number;
  /** Replaced by tests: so many random bytes. */
  randomBytes?: (length: number) => Uint8Array;
}

export interface Clock {
  now(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The way to the server: events are Server-Sent Events and POST, where WebSocket is blocked. */
export type Transport = 'websocket' | 'events';

export type State = 'idle' | 'waiting' | 'connecting' | 'connected' | 'closed';

export interface StateEvent {
  state: State;
  previous: State;
  /** When the next try begins, in the clock's milliseconds; null unless waiting. */
  retryAt: number | null;
  /** Why the client is waiting or closed. */
  error: RookeryError | null;
  /** Losses since a connection was last stable. */
  failures: number;
  /** Of the connection that is there, or was last tried. */
  transport: Transport;
}

export interface GoAwayEvent {
  reason: string;
  afterMs: number;
  windowMs: number;
}

export interface Connected {
  user: string;
  session: string;
  heartbeatMs: number;
  maxMessageBytes: number;
}

export interface Message {
  room: string;
  /** 1, 2, 3 and so on in each room, without gaps; 0 of an ephemeral message. */
  seq: number;
  /** The server's clock, Unix milliseconds. */
  at: number;
  from: string;
  text?: string;
  data?: Uint8Array;
  /** It is not stored, and in no history. */
  ephemeral?: boolean;
  /** Of an ephemeral message: the key of its publish, if it had one. */
  key?: string;
  /** The message that this one answers. */
  replyTo?: number;
  /** The message that begins the thread which it belongs to. */
  thread?: number;
  mentions?: string[];
  /** What an application takes the content for. */
  kind?: string;
  /** It is not a message but a change to an earlier one: see Shown. */
  change?: Change;
  /** Sequence number of the newest change that is in it. */
  revision?: number;
  edits?: number;
  /** A tombstone: it has no content any more. */
  deleted?: boolean;
  reactions?: Reaction[];
  pinned?: boolean;
  /** Of the thread that it begins. */
  replies?: { count: number; last: number };
}

/** What is done to the message target; one of the others is there. */
export interface Change {
  target: number;
  edit?: object;
  delete?: object;
  react?: { reaction: string; remove?: boolean };
  pin?: { remove?: boolean };
}

export interface Reaction {
  reaction: string;
  count: number;
  /** Some of them. */
  users: string[];
  /** This user is one of them. */
  own?: boolean;
}

/**
 * What names messages (replyTo, thread, a change) is rejected with epoch_changed if the room, where it is joined, has begun anew before it was sent:
 * the numbers are those of other messages then.
 */
export interface PublishOptions {
  key?: string;
  replyTo?: number;
  thread?: number;
  mentions?: string[];
  kind?: string;
}

/** Messages of one room with what was changed later in them: give it all that is delivered and all pages. */
export class Shown {
  constructor(user: () => string | null);
  /** The message that is new or changed now; null if there is none. */
  take(message: Message): Message | null;
  get(seq: number): Message | undefined;
  /** The message as it will be once a change that this user has asked for is made; nothing of it is held. */
  foresee(message: Message, change: Pick<Message, 'change' | 'text' | 'data' | 'mentions'>): Message;
  forget(seq: number): void;
  clear(): void;
}

export interface Published {
  seq: number;
  at: number;
  key: string;
}

export interface HistoryPage {
  /** The messages before this sequence number. Not together with after. */
  before?: number;
  /** The messages after this sequence number. */
  after?: number;
  /** 1 to 200; default 50. */
  limit?: number;
  /** At most one of these: a thread by the message that begins it, what is pinned, what mentions this user. */
  thread?: number;
  pinned?: boolean;
  mentions?: boolean;
}

export interface History {
  room: string;
  epoch: string;
  /** Ascending by seq, with their later changes in them; one that is a change is there for its seq only. */
  messages: Message[];
  /** There is more in the direction that was asked for. */
  more: boolean;
  /** Oldest sequence number of the room that is still there. */
  begin: number;
  /** Messages of this page that can't be read, ascending. */
  gaps: { room: string; first: number; last: number; reason: string }[];
  /** The room has no history and never will: everything in it is ephemeral. */
  ephemeral?: boolean;
}

/** How far a user has come in a room, in sequence numbers. */
export interface Standing {
  /** Everything up to here has arrived at one of the user's devices. */
  delivered: number;
  /** Everything up to here has been read, and so has arrived. */
  read: number;
}

export interface Receipt extends Standing {
  user: string;
}

/** How many users have a message, and how many have read it. */
export interface ReceiptCount {
  seq: number;
  delivered: number;
  read: number;
}

export interface Receipts {
  room: string;
  /** Newest sequence number: what is unread are the messages after own.read up to it. */
  head: number;
  /** Of the user who asks. */
  own: Receipt;
  /** How many users have marked anything. */
  users: number;
  /** Each of them, by name; empty in a large room (more than 100 users). */
  receipts: Receipt[];
  /** Of a large room: its newest messages (at most 32) that anybody has marked, ascending. */
  counts: ReceiptCount[];
}

export type Role = 'guest' | 'member' | 'moderator' | 'owner';

/** A room with members, and what the user is in it. */
export interface RoomInfo {
  room: string;
  kind: 'open' | 'group' | 'direct';
  title?: string;
  /** Empty or absent: not a member, or what is told is about the room alone. */
  role?: Role | '';
  /** The least role that may publish. */
  speak: Role;
  /** Unix milliseconds; 2^53-1 is for ever. */
  mutedUntil?: number;
  /** One message of a user in this time. */
  slowModeMs: number;
  /** Of a direct room: the other user. */
  peer?: string;
}

export interface MemberAction {
  /** Left out: the whole server, for ban and unban. */
  room?: string;
  /** Left out: the user of this client. */
  user?: string;
  action: 'invite' | 'leave' | 'kick' | 'ban' | 'unban' | 'mute' | 'unmute' | 'role';
  /** Of invite and role. */
  role?: Role;
  /** Of ban and mute; 0 is for ever. */
  forMs?: number;
  reason?: string;
}

/** What has happened to a user in a room. */
export interface MemberChange {
  room?: string;
  user: string;
  action: MemberAction['action'] | 'join';
  /** What the user is now; empty or absent: not a member. */
  role?: Role | '';
  until?: number;
  reason?: string;
  by?: string;
}

/** The end of the user's membership in a room. */
export interface Removal {
  room: string;
  action: 'leave' | 'kick' | 'ban';
  until?: number;
  reason?: string;
  by?: string;
}

export interface Member {
  user: string;
  role?: Role | '';
  since?: number;
  mutedUntil?: number;
  bannedUntil?: number;
  reason?: string;
  /** When the last session of theirs that has ended did, in milliseconds; absent if that is not known. */
  lastSeen?: number;
}

export interface MemberPage {
  room: string;
  members: Member[];
  more: boolean;
  total: number;
}

export interface RoomPage {
  rooms: RoomInfo[];
  more: boolean;
}

/** A room as a user finds it who comes back. */
export interface SyncedRoom {
  room: string;
  membership?: RoomInfo;
  head: number;
  begin: number;
  delivered: number;
  read: number;
  /** Messages behind read that are still there; changes are none. */
  unread: number;
  /** How many of them mention the user, at most 100. */
  mentions: number;
  /** Something was said behind the position that was asked with. */
  changed: boolean;
  /** The newest messages, ascending; only where changed. */
  messages: Message[];
}

/** What PushSubscription.toJSON() gives, the same without keys around the two, or the token of an app. */
export type DeviceSubscription =
  | { endpoint?: string; keys?: Record<string, string> }
  | { endpoint: string; p256dh: string; auth: string }
  | { apns: string }
  | { fcm: string };

export interface SyncPage {
  epoch: string;
  rooms: SyncedRoom[];
  /** There is a page behind this one. */
  next?: string;
  /** Of the last page: where to go on from at the next sync. */
  position?: string;
}

export interface UserPresence {
  user: string;
  state: 'online' | 'away' | 'offline';
  /** Of offline: Unix milliseconds at which the last connection ended. */
  since: number;
}

export interface PresenceSeen {
  /** How many users are in the room. */
  count: number;
  /** Those who were named: all of them, unless the room is a large one. */
  users: Map<string, 'online' | 'away'>;
}

export interface JoinOptions {
  /** Last sequence number that the application has, 0 for none. Absent: only what is new. */
  after?: number;
  /** The epoch under which after was seen. */
  epoch?: string;
  /** Each message once, in the order of seq, and ephemeral ones as they come. */
  onMessage?: (message: Message, room: Room) => void;
  /** On every joined reply, so again after every reconnect. */
  onJoined?: (
    event: {
      epoch: string;
      head: number;
      begin: number;
      recovered?: boolean;
      ephemeral: boolean;
      receipts: boolean;
      membership?: RoomInfo;
    },
    room: Room,
  ) => void;
  /** The history is not the one that the position belonged to: read it anew. */
  onReset?: (
    event: { epoch: string; head: number; previous: { epoch?: string; seq?: number } },
    room: Room,
  ) => void;
  /** Messages first to last will not come: the server does not have them any more. */
  onGap?: (event: { first: number; last: number; reason: 'expired' | 'damaged' }, room: Room) => void;
  /** A user, perhaps this one on another device, has come further. Never goes back. */
  onReceipt?: (receipt: Receipt, room: Room) => void;
  /** With watchPresence: who is there now. `changes` are those who are new, or not as before. */
  onPresence?: (seen: PresenceSeen & { changes: UserPresence[] }, room: Room) => void;
  /** Who else is typing, all of them: the first by name, and how many more. */
  onTyping?: (typists: { users: string[]; more: number }, room: Room) => void;
  /** Of a large room, instead: how many have its newest messages. */
  onReceiptCounts?: (event: { head: number; users: number; counts: ReceiptCount[] }, room: Room) => void;
  /** Of a room with members: what the room is, or what the user is in it, has changed. */
  onMembership?: (membership: RoomInfo, room: Room) => void;
  onState?: (event: { state: RoomState; error?: RookeryError }, room: Room) => void;
}

export type RoomState = 'joining' | 'joined' | 'refused' | 'left' | 'removed';

export interface Room {
  readonly name: string;
  readonly state: RoomState;
  /** With seq the position: what the application was last given. */
  readonly epoch: string | undefined;
  readonly seq: number | undefined;
  /** Settled by the first answer of the server. */
  readonly ready: Promise<Room>;
  publish(content: string | Uint8Array, options?: PublishOptions): Promise<Published>;
  edit(seq: number, content: string | Uint8Array, options?: { mentions?: string[]; key?: string }): Promise<Published>;
  delete(seq: number, options?: { key?: string }): Promise<Published>;
  react(seq: number, reaction: string, options?: { remove?: boolean; key?: string }): Promise<Published>;
  pin(seq: number, options?: { remove?: boolean; key?: string }): Promise<Published>;
  sendEphemeral(content: string | Uint8Array, options?: { key?: string }): boolean;
  history(page?: HistoryPage): Promise<History>;
  /** Nothing here is stored. undefined before the first answer of the server. */
  readonly ephemeral: boolean | undefined;
  /** What the room is and what the user is in it, if it has members. */
  readonly membership: RoomInfo | undefined;
  /** The room keeps receipts. undefined before the first answer of the server. */
  readonly keepsReceipts: boolean | undefined;
  /**
   * Says how far the user has come. Only ever moves forward; sent at most once a second, and when there is a
   * connection. Nothing is sent in a room that keeps no receipts.
   */
  mark(standing: Partial<Standing>): void;
  /** How far everybody has come; rejected in a room that keeps no receipts. */
  receipts(): Promise<Receipts>;
  /** Who is there, as far as it is watched and known. */
  readonly presence: PresenceSeen;
  /** Has onPresence called, now and whenever it changes, until unwatchPresence; over lost connections too. */
  watchPresence(): void;
  unwatchPresence(): void;
  /** The user is typing: to be called with every key, and sent every few seconds. Ends with publish or stopTyping. */
  typing(): void;
  stopTyping(): void;
  leave(): void;
}

export class Rookery {
  constructor(options: RookeryOptions);
  readonly state: State;
  readonly transport: Transport;
  readonly retryAt: number | null;
  readonly error: RookeryError | null;
  readonly user: string | null;
  readonly session: string | null;
  /** Publishes not yet answered. */
  readonly queued: number;
  on(name: 'state', listener: (event: StateEvent) => void): () => void;
  on(name: 'goaway', listener: (event: GoAwayEvent) => void): () => void;
  /** The server has refused an ephemeral message, a mark, typing, or a renewed token. */
  on(name: 'refused', listener: (error: RookeryError) => void): () => void;
  on(name: 'room', listener: (room: RoomInfo) => void): () => void;
  on(name: 'member', listener: (change: MemberChange) => void): () => void;
  on(name: 'removed', listener: (removal: Removal) => void): () => void;
  /** Settled by the first connection, or by an end that forbids one. */
  connect(): Promise<Connected>;
  /** Final; what waits for an answer is rejected with the code closed. What was sent is on its way: by events for up to five seconds. */
  close(): void;
  /** The network is back, the page is looked at: try at once, or check the connection. */
  wake(): void;
  /** Renews the token on the open connection with one of the token function; without a connection it does nothing. */
  renew(): Promise<void>;
  /** Nobody sits at this client, or somebody does again. */
  setAway(away: boolean): void;
  join(name: string, options?: JoinOptions): Room;
  publish(room: string, content: string | Uint8Array, options?: PublishOptions): Promise<Published>;
  /** Changes to a message, by its sequence number. They are published like messages: kept, sent again, and durable. */
  edit(room: string, seq: number, content: string | Uint8Array, options?: { mentions?: string[]; key?: string }): Promise<Published>;
  delete(room: string, seq: number, options?: { key?: string }): Promise<Published>;
  react(room: string, seq: number, reaction: string, options?: { remove?: boolean; key?: string }): Promise<Published>;
  pin(room: string, seq: number, options?: { remove?: boolean; key?: string }): Promise<Published>;
  /** To who has joined the room now; false: it was not sent, and never will be. */
  sendEphemeral(room: string, content: string | Uint8Array, options?: { key?: string }): boolean;
  nextKey(): string;
  history(room: string, page?: HistoryPage): Promise<History>;
  /** A holder for the messages of one room, which folds changes into them. */
  shown(): Shown;
  createRoom(options: { room: string; title?: string; slowModeMs?: number; speak?: Role }): Promise<RoomInfo>;
  startDirect(user: string): Promise<RoomInfo>;
  configureRoom(room: string, settings: { title?: string; slowModeMs?: number; speak?: Role }): Promise<RoomInfo>;
  changeMember(action: MemberAction): Promise<MemberChange>;
  members(room: string, page?: { after?: string; limit?: number; banned?: boolean }): Promise<MemberPage>;
  rooms(page?: { after?: string; limit?: number }): Promise<RoomPage>;
  /** Of which messages of a room this user is told while away. Without a level it only asks. */
  notify(room: string, level?: 'all' | 'mentions' | 'none'): Promise<{ room: string; level: 'all' | 'mentions' | 'none' }>;
  /** Registers where this installation is told while its user is away, or forgets it; without an id it only asks for the key. */
  device(id?: string, subscription?: DeviceSubscription): Promise<{ id?: string; registered: boolean; webPushKey?: string; services: string[] }>;
  sync(query?: { position?: string; next?: string; limit?: number; messages?: number }): Promise<SyncPage>;
}

export class RookeryError extends Error {
  /** Stable name: what a program branches on. */
  readonly code: string;
  /** Class of a server's error in the manner of HTTP, or a close code; 0 for the client's own. */
  readonly status: number;
  readonly retry: boolean;
  readonly retryAfterMs: number;
  /** Of a publish: give it to the next publish of the same content, so that it is stored once. */
  readonly key?: string;
}

/** Whether a connection that ended with this code should be opened again. */
export function shouldReconnect(code: number): boolean;

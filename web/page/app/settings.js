// What the page remembers. In localStorage, shared by all windows: the name, the rooms, how
// far each was read. In sessionStorage, of this window only: a token, what is being written, and what
// was not yet sent, since two windows must not send it both. Both say whose it is, where a provider does.

const NAME = 'rookery.name';
const ROOMS = 'rookery.rooms';
const READ = 'rookery.read';
const TOKEN = 'rookery.token';
const OUTGOING = 'rookery.outgoing';
const CHANGES = 'rookery.changes';
const DRAFTS = 'rookery.drafts';
const AWAY = 'rookery.put-away';
const MUTED = 'rookery.muted';
const DEVICE = 'rookery.device';
const PERSON = 'rookery.person';
const SIGNED_IN = 'rookery.signed-in';
const WANTED = 'rookery.wanted';

/** What is a person's own, in either storage. */
const LASTING = [NAME, READ, AWAY, MUTED, DEVICE, PERSON];
const PASSING = [TOKEN, OUTGOING, CHANGES, DRAFTS, PERSON];

const DEFAULT_ROOM = 'lobby';

export class Settings {
  #lasting;
  #passing;

  /** @param {Storage|null} lasting @param {Storage|null} passing  null: refused */
  constructor(lasting, passing) {
    this.#lasting = lasting;
    this.#passing = passing;
  }

  /** Of a window. One that refuses storage may do so where it is asked for. */
  static of(window) {
    return new Settings(refusable(() => window.localStorage), refusable(() => window.sessionStorage));
  }

  get name() {
    return read(this.#lasting, NAME, '');
  }

  set name(name) {
    write(this.#lasting, NAME, name);
  }

  get token() {
    return read(this.#passing, TOKEN, '');
  }

  set token(token) {
    write(this.#passing, TOKEN, token);
  }

  get rooms() {
    const rooms = read(this.#lasting, ROOMS, [DEFAULT_ROOM]);
    return Array.isArray(rooms) && rooms.length > 0 ? rooms : [DEFAULT_ROOM];
  }

  set rooms(rooms) {
    write(this.#lasting, ROOMS, rooms);
  }

  /** Rooms that the person has taken off the list; the server still knows that they were there. */
  get putAway() {
    return names(this.#lasting, AWAY);
  }

  set putAway(rooms) {
    write(this.#lasting, AWAY, rooms);
  }

  /** Rooms of which this device does not notify. */
  get muted() {
    return names(this.#lasting, MUTED);
  }

  set muted(rooms) {
    write(this.#lasting, MUTED, rooms);
  }

  /** Under which id, and for whom, the server tells this device while no page is open: {id, user}, or null. */
  get device() {
    const device = read(this.#lasting, DEVICE, null);
    return typeof device?.id === 'string' && typeof device.user === 'string' ? device : null;
  }

  set device(device) {
    if (device === null) remove(this.#lasting, DEVICE);
    else write(this.#lasting, DEVICE, device);
  }

  /** How far a room was read: {epoch, seq}, or undefined. */
  loadRead(room) {
    return own(read(this.#lasting, READ, {}), room);
  }

  saveRead(room, position) {
    // Read again before writing: another window may have written since.
    write(this.#lasting, READ, { ...read(this.#lasting, READ, {}), [room]: position });
  }

  /** What was written in this window and not acknowledged: see outgoing.js. */
  loadOutgoing(room) {
    return own(read(this.#passing, OUTGOING, {}), room) ?? [];
  }

  saveOutgoing(room, entries) {
    this.#savePassing(OUTGOING, room, entries);
  }

  /** What was asked for about messages in this window and not answered: see changes.js. */
  loadChanges(room) {
    return own(read(this.#passing, CHANGES, {}), room) ?? [];
  }

  saveChanges(room, asked) {
    this.#savePassing(CHANGES, room, asked);
  }

  /** What is being written in this window, '' for nothing. */
  loadDraft(room) {
    return own(read(this.#passing, DRAFTS, {}), room) ?? '';
  }

  saveDraft(room, text) {
    this.#savePassing(DRAFTS, room, text);
  }

  #savePassing(key, room, value) {
    const all = { ...read(this.#passing, key, {}), [room]: value };
    if (value.length === 0) delete all[room];
    write(this.#passing, key, all);
  }

  /** This browser has, as far as the page knows, a session with the provider. */
  get signedIn() {
    return read(this.#lasting, SIGNED_IN, false) === true;
  }

  set signedIn(signedIn) {
    write(this.#lasting, SIGNED_IN, signedIn);
  }

  /** The room to show when this window is back from the provider, or ''. */
  get wanted() {
    return read(this.#passing, WANTED, '');
  }

  set wanted(room) {
    write(this.#passing, WANTED, room);
  }

  /** Whose all windows' memory is, '' for who came without a session. */
  get person() {
    return read(this.#lasting, PERSON, '');
  }

  /**
   * Keeps what is remembered to one person. A session may have ended and another one begun: what somebody else has read, and above
   * all has not sent yet, is forgotten, for this window and for all of them. Who came without a session is ''.
   */
  claim(person) {
    for (const [storage, keys] of [[this.#lasting, LASTING], [this.#passing, PASSING]]) {
      if (read(storage, PERSON, '') !== person) for (const key of keys) remove(storage, key);
      write(storage, PERSON, person);
    }
  }

  /** The person is gone: nothing of theirs stays but the list of rooms. */
  forgetPerson() {
    for (const key of [...LASTING, SIGNED_IN]) remove(this.#lasting, key);
    for (const key of [...PASSING, WANTED]) remove(this.#passing, key);
  }
}

// A browser may refuse storage (private windows, policies, full). The page then works without
// a memory, which is better than not at all.

function refusable(storage) {
  try {
    return storage();
  } catch {
    return null; // using that fails, too
  }
}

function read(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function names(storage, key) {
  const rooms = read(storage, key, []);
  return Array.isArray(rooms) ? rooms : [];
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // See above.
  }
}

function remove(storage, key) {
  try {
    storage.removeItem(key);
  } catch {
    // See above.
  }
}

/** A room may be called like something that every object inherits. */
function own(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

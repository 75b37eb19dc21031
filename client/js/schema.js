// The frames of proto/rookery/v1/rookery.proto as tables, in its order: the one in which
// the server writes them. Both codecs walk these tables, so a new field of the protocol is one line here.
//
// A frame in this client is a plain object of the same shape as the JSON form, but bytes are
// a Uint8Array: { id: 3, publish: { room: 'lobby', key: 'k', data: Uint8Array } }.

/**
 * @typedef {object} Field
 * @property {number} number  of the schema
 * @property {string} name    in lowerCamelCase, as in JSON
 * @property {'uint'|'bool'|'string'|'bytes'|'message'} type
 * @property {Field[]} [fields]  of a message
 * @property {boolean} [present]  absent and zero are two things: `optional`, or one of a oneof
 * @property {boolean} [repeated]  a list; with present it is absent when it is empty
 */

/** @returns {Field} */
const field = (number, name, type, more) => ({ number, name, type, ...more });
const uint = (number, name, more) => field(number, name, 'uint', more);
const bool = (number, name, more) => field(number, name, 'bool', more);
const string = (number, name, more) => field(number, name, 'string', more);
const bytes = (number, name, more) => field(number, name, 'bytes', more);
const message = (number, name, fields, more) => field(number, name, 'message', { fields, ...more });

/** A member of the oneof `op`: at most one is there. */
const operation = (number, name, fields) => message(number, name, fields, { present: true });

const present = { present: true };

const many = { repeated: true, present: true };

const change = [
  uint(1, 'target'),
  operation(2, 'edit', []),
  operation(3, 'delete', []),
  operation(4, 'react', [string(1, 'reaction'), bool(2, 'remove', present)]),
  operation(5, 'pin', [bool(1, 'remove', present)]),
];

const reaction = [
  string(1, 'reaction'),
  uint(2, 'count'),
  string(3, 'users', { repeated: true }),
  bool(4, 'own', present),
];

const chatMessage = [
  string(1, 'room'),
  uint(2, 'seq'),
  uint(3, 'at'),
  string(4, 'from'),
  bool(7, 'ephemeral', present),
  string(8, 'key', present),
  uint(9, 'replyTo', present),
  uint(10, 'thread', present),
  string(11, 'mentions', many),
  string(12, 'kind', present),
  message(13, 'change', change, present),
  uint(14, 'revision', present),
  uint(15, 'edits', present),
  bool(16, 'deleted', present),
  message(17, 'reactions', reaction, many),
  bool(18, 'pinned', present),
  message(19, 'replies', [uint(1, 'count'), uint(2, 'last')], present),
  string(5, 'text', present),
  bytes(6, 'data', present),
];

const standing = [string(2, 'user'), uint(3, 'delivered'), uint(4, 'read')];

const receiptCount = [uint(1, 'seq'), uint(2, 'delivered'), uint(3, 'read')];

const roomInfo = [
  string(1, 'room'),
  string(2, 'kind'),
  string(3, 'title', present),
  string(4, 'role', present),
  string(5, 'speak'),
  uint(6, 'mutedUntil', present),
  uint(7, 'slowModeMs'),
  string(8, 'peer', present),
];

const member = [
  string(1, 'user'),
  string(2, 'role', present),
  uint(3, 'since', present),
  uint(4, 'mutedUntil', present),
  uint(5, 'bannedUntil', present),
  string(6, 'reason', present),
  uint(7, 'lastSeen', present),
];

const userPresence = [string(1, 'user'), string(2, 'state'), uint(3, 'since')];

const gap = [string(1, 'room'), uint(2, 'first'), uint(3, 'last'), string(4, 'reason')];

/** @type {Field[]} */
export const clientFrame = [
  uint(1, 'id'),
  operation(2, 'connect', [string(1, 'token'), string(2, 'name')]),
  operation(3, 'join', [string(1, 'room'), string(2, 'epoch'), uint(3, 'after', present)]),
  operation(4, 'leave', [string(1, 'room')]),
  operation(5, 'publish', [
    string(1, 'room'),
    string(2, 'key'),
    bool(5, 'ephemeral', present),
    uint(6, 'replyTo', present),
    uint(7, 'thread', present),
    string(8, 'mentions', many),
    string(9, 'kind', present),
    message(10, 'change', change, present),
    string(3, 'text', present),
    bytes(4, 'data', present),
  ]),
  operation(6, 'history', [
    string(1, 'room'),
    uint(2, 'before', present),
    uint(3, 'after', present),
    uint(4, 'limit'),
    uint(5, 'thread', present),
    bool(6, 'pinned', present),
    bool(7, 'mentions', present),
  ]),
  operation(7, 'ping', []),
  operation(8, 'mark', [string(1, 'room'), uint(2, 'delivered'), uint(3, 'read'), string(4, 'epoch')]),
  operation(9, 'receipts', [string(1, 'room')]),
  operation(10, 'create', [
    string(1, 'room'),
    string(2, 'user'),
    string(3, 'title'),
    uint(4, 'slowModeMs'),
    string(5, 'speak'),
  ]),
  operation(11, 'configure', [
    string(1, 'room'),
    string(2, 'title', present),
    uint(3, 'slowModeMs', present),
    string(4, 'speak'),
  ]),
  operation(12, 'member', [
    string(1, 'room'),
    string(2, 'user'),
    string(3, 'action'),
    string(4, 'role'),
    uint(5, 'forMs'),
    string(6, 'reason'),
  ]),
  operation(13, 'members', [string(1, 'room'), string(2, 'after'), uint(3, 'limit'), bool(4, 'banned')]),
  operation(14, 'rooms', [string(1, 'after'), uint(2, 'limit'), bool(3, 'watch')]),
  operation(20, 'sync', [string(1, 'position'), string(2, 'next'), uint(3, 'limit'), uint(4, 'messages')]),
  operation(21, 'notify', [string(1, 'room'), string(2, 'level')]),
  operation(22, 'device', [
    string(1, 'id'),
    message(2, 'webPush', [string(1, 'endpoint'), string(2, 'p256dh'), string(3, 'auth')], present),
    string(3, 'apns'),
    string(4, 'fcm'),
  ]),
  operation(24, 'presence', [string(1, 'room'), bool(2, 'watch')]),
  operation(25, 'state', [string(1, 'state')]),
  operation(26, 'typing', [string(1, 'room'), bool(2, 'stopped')]),
];

const roomState = [
  string(1, 'room'),
  message(2, 'membership', roomInfo, present),
  uint(3, 'head'),
  uint(4, 'begin'),
  uint(5, 'delivered'),
  uint(6, 'read'),
  uint(7, 'unread'),
  uint(8, 'mentions'),
  bool(9, 'changed'),
  message(10, 'messages', chatMessage, { repeated: true }),
];

/** @type {Field[]} */
export const serverFrame = [
  uint(1, 'id'),
  operation(2, 'connected', [
    string(1, 'user'),
    string(2, 'session'),
    uint(3, 'heartbeatMs'),
    uint(4, 'maxMessageBytes'),
  ]),
  operation(3, 'joined', [
    string(1, 'room'),
    string(2, 'epoch'),
    uint(3, 'head'),
    bool(4, 'recovered', present),
    uint(5, 'begin'),
    bool(6, 'ephemeral', present),
    bool(7, 'receipts'),
    message(8, 'membership', roomInfo, present),
  ]),
  operation(4, 'left', [string(1, 'room')]),
  operation(5, 'published', [string(1, 'room'), uint(2, 'seq'), uint(3, 'at')]),
  operation(6, 'history', [
    string(1, 'room'),
    string(2, 'epoch'),
    message(3, 'messages', chatMessage, { repeated: true }),
    bool(4, 'more'),
    uint(5, 'begin'),
    message(6, 'gaps', gap, { repeated: true }),
    bool(7, 'ephemeral', present),
  ]),
  operation(7, 'pong', []),
  operation(8, 'error', [
    uint(1, 'code'),
    string(2, 'name'),
    string(3, 'message'),
    bool(4, 'retry'),
    uint(5, 'retryAfterMs', present),
  ]),
  operation(9, 'message', chatMessage),
  operation(10, 'goaway', [string(1, 'reason'), uint(2, 'afterMs'), uint(3, 'windowMs')]),
  operation(11, 'ping', []),
  operation(12, 'close', [uint(1, 'code'), string(2, 'reason')]),
  operation(13, 'gap', gap),
  operation(14, 'marked', [string(1, 'room'), uint(2, 'delivered'), uint(3, 'read')]),
  operation(15, 'receipts', [
    string(1, 'room'),
    uint(2, 'head'),
    message(3, 'own', standing, present),
    uint(4, 'users'),
    message(5, 'receipts', standing, { repeated: true }),
    message(6, 'counts', receiptCount, { repeated: true }),
  ]),
  operation(16, 'receipt', [string(1, 'room'), ...standing]),
  operation(17, 'room', roomInfo),
  operation(18, 'member', [
    string(1, 'room', present),
    string(2, 'user'),
    string(3, 'action'),
    string(4, 'role', present),
    uint(5, 'until', present),
    string(6, 'reason', present),
    string(7, 'by', present),
  ]),
  operation(19, 'members', [
    string(1, 'room'),
    message(2, 'members', member, { repeated: true }),
    bool(3, 'more'),
    uint(4, 'total'),
  ]),
  operation(20, 'rooms', [message(1, 'rooms', roomInfo, { repeated: true }), bool(2, 'more')]),
  operation(27, 'synced', [
    string(1, 'epoch'),
    message(2, 'rooms', roomState, { repeated: true }),
    string(3, 'next', present),
    string(4, 'position', present),
  ]),
  operation(28, 'notify', [string(1, 'room'), string(2, 'level')]),
  operation(29, 'device', [string(1, 'id', present), bool(2, 'registered'), string(3, 'webPushKey', present), string(4, 'services', { repeated: true })]),
  operation(21, 'removed', [
    string(1, 'room'),
    string(2, 'action'),
    uint(3, 'until', present),
    string(4, 'reason', present),
    string(5, 'by', present),
  ]),
  operation(31, 'presence', [
    string(1, 'room'),
    uint(2, 'version'),
    uint(3, 'count'),
    message(4, 'users', userPresence, { repeated: true }),
  ]),
  operation(32, 'presenceChange', [
    string(1, 'room'),
    uint(2, 'version'),
    uint(3, 'count'),
    message(4, 'users', userPresence, { repeated: true }),
  ]),
  operation(33, 'state', [string(1, 'state')]),
  operation(34, 'typing', [string(1, 'room'), string(2, 'users', { repeated: true }), uint(3, 'more'), uint(4, 'lifetimeMs')]),
];

const zero = { uint: 0, bool: false, string: '' };

/** What a frame holds before a reader has found anything: the zero of every field that has one. */
export function emptyFrame(fields) {
  const frame = {};
  for (const f of fields) {
    if (f.present) continue;
    if (f.repeated) frame[f.name] = [];
    else frame[f.name] = zero[f.type];
  }
  return frame;
}

import test from 'node:test';
import assert from 'node:assert/strict';

import { comeBack, connected, kept, makeClient, outcome, reconnect } from './fakes.js';

async function joinedLobby({ receipts = true, head = 9 } = {}) {
  const made = await connected();
  const heard = [];
  const room = made.client.join('lobby', {
    onReceipt: ({ user, delivered, read }) => heard.push(`${user} ${delivered} ${read}`),
    onReceiptCounts: (event) => heard.push(event),
    onReset: () => heard.push('reset'),
  });
  made.socket().joined('lobby', head, { receipts });
  const marks = () => made.socket().requests('mark').map(({ id, mark }) => [id, mark.room, mark.delivered, mark.read]);
  return { ...made, room, heard, marks };
}

const receipt = (user, delivered, read, room = 'lobby') => ({ receipt: { room, user, delivered, read } });

test('joined says whether the room keeps receipts, and what is ephemeral', async () => {
  const { client, socket } = await connected();
  const events = [];
  const rooms = ['lobby', 'game'].map((name) => client.join(name, { onJoined: (event) => events.push([event.receipts, event.ephemeral]) }));
  assert.deepEqual(rooms.map((r) => [r.keepsReceipts, r.ephemeral]), [[undefined, undefined], [undefined, undefined]]);
  socket().joined('lobby', 9, { receipts: true });
  socket().joined('game', 0, { receipts: false, ephemeral: true });
  assert.deepEqual(rooms.map((r) => [r.keepsReceipts, r.ephemeral]), [[true, false], [false, true]]);
  assert.deepEqual(events, [[true, false], [false, true]]);
});

test('the first mark goes at once and without an id; those of a second are one', async () => {
  const { room, marks, clock } = await joinedLobby();
  room.mark({ delivered: 5 });
  assert.deepEqual(marks(), [[undefined, 'lobby', 5, 0]]);
  room.mark({ delivered: 6 });
  room.mark({ read: 4 });
  room.mark({ delivered: 8 });
  room.mark({ delivered: 7, read: 3 });
  await clock.pass(999);
  assert.equal(marks().length, 1);
  await clock.pass(1);
  assert.deepEqual(marks().slice(1), [[undefined, 'lobby', 8, 4]]);
  await clock.pass(5_000);
  assert.equal(marks().length, 2, 'nothing new, nothing sent');
  room.mark({ read: 9 });
  assert.deepEqual(marks().at(-1), [undefined, 'lobby', 9, 9], 'what was read has arrived');
});

test('a mark that moves nobody forward is not sent', async () => {
  const { room, marks, clock, socket } = await joinedLobby();
  room.mark({ delivered: 5, read: 5 });
  await clock.pass(1_000);
  room.mark({ delivered: 4, read: 5 });
  room.mark({});
  socket().say(receipt('alice', 8, 8)); // another device of this user
  room.mark({ read: 7 });
  assert.equal(marks().length, 1);
  room.mark({ read: 9 });
  assert.equal(marks().length, 2);
});

test('each room has its own second', async () => {
  const { client, room, marks, socket } = await joinedLobby();
  const attic = client.join('attic');
  socket().joined('attic', 3, { receipts: true });
  room.mark({ read: 1 });
  attic.mark({ read: 2 });
  assert.deepEqual(marks().map(([, name]) => name), ['lobby', 'attic']);
});

test('a room that keeps no receipts is told nothing', async () => {
  const { room, marks, clock } = await joinedLobby({ receipts: false });
  room.mark({ delivered: 5 });
  await clock.pass(5_000);
  assert.deepEqual(marks(), []);
});

test('marks wait for the connection, and for joined', async () => {
  const made = makeClient();
  const room = made.client.join('lobby', { after: 7, epoch: 'e1' });
  room.mark({ delivered: 7 });
  made.client.connect();
  await made.clock.pass(0);
  made.socket().accept();
  assert.deepEqual(made.socket().requests('mark'), []);
  made.socket().joined('lobby', 9, { recovered: true, receipts: true });
  room.mark({ delivered: 8 });
  assert.deepEqual(made.socket().requests('mark').map((f) => f.mark), [{ room: 'lobby', delivered: 7, read: 0, epoch: room.epoch }]);
});

test('after a loss it marks again where it stands, unless that is known to be stored', async () => {
  const made = await joinedLobby();
  const { room, marks, socket, clock } = made;
  room.mark({ delivered: 9, read: 8 });
  await reconnect(made);
  assert.deepEqual(marks(), []);
  socket().joined('lobby', 9, { recovered: true, receipts: true });
  assert.deepEqual(marks(), [[undefined, 'lobby', 9, 8]]);

  socket().say(receipt('alice', 9, 8)); // stored before it is told
  await reconnect(made);
  socket().joined('lobby', 9, { recovered: true, receipts: true });
  await clock.pass(2_000);
  assert.deepEqual(marks(), []);
});

test('an answer says as well what is stored', async () => {
  const made = await joinedLobby();
  const { room, marks, socket } = made;
  room.mark({ read: 8 });
  const asked = room.receipts();
  assert.deepEqual(socket().last('receipts').receipts, { room: 'lobby' });
  const answer = {
    room: 'lobby', head: 9, own: { user: 'alice', delivered: 8, read: 8 }, users: 2,
    receipts: [{ user: 'alice', delivered: 8, read: 8 }, { user: 'bob', delivered: 9, read: 2 }], counts: [],
  };
  socket().reply('receipts', { receipts: answer });
  assert.deepEqual((await outcome(asked)).value, answer);
  socket().say(receipt('bob', 9, 2), receipt('bob', 9, 3));
  assert.deepEqual(made.heard, ['bob 9 3'], 'what the answer said is not told again');
  await reconnect(made);
  socket().joined('lobby', 9, { recovered: true, receipts: true });
  assert.deepEqual(marks(), []);
});

test('in a large room only an answer says what is stored', async () => {
  const made = await joinedLobby();
  const { room, marks, socket } = made;
  room.mark({ read: 8 });
  const asked = room.receipts();
  const own = { user: 'alice', delivered: 8, read: 8 };
  socket().reply('receipts', { receipts: { room: 'lobby', head: 9, own, users: 312, receipts: [], counts: [] } });
  assert.deepEqual((await outcome(asked)).value.own, own);
  await reconnect(made);
  socket().joined('lobby', 9, { recovered: true, receipts: true });
  assert.deepEqual(marks(), []);
});

test('what is on its way when the server goes away is marked on the next connection', async () => {
  const made = await joinedLobby();
  made.socket().say({ goaway: { reason: 'draining', afterMs: 1_000, windowMs: 1_000 } });
  made.room.mark({ read: 3 });
  assert.deepEqual(made.marks(), []);
  made.socket().end();
  await comeBack(made);
  made.socket().joined('lobby', 9, { recovered: true, receipts: true });
  assert.deepEqual(made.marks(), [[undefined, 'lobby', 3, 3]]);
});

test('a mark behind much else is tried again', async () => {
  const { room, marks, socket, clock } = await joinedLobby();
  socket().bufferedAmount = 1 << 20;
  room.mark({ read: 3 });
  assert.deepEqual(marks(), []);
  socket().bufferedAmount = 0;
  await clock.pass(1_000);
  assert.deepEqual(marks(), [[undefined, 'lobby', 3, 3]]);
});

test('a history of another epoch has marks of its own', async () => {
  const made = await joinedLobby();
  const { room, marks, socket, heard } = made;
  room.mark({ read: 9 });
  socket().say(receipt('bob', 9, 9));
  await reconnect(made);
  room.mark({}); // which history this is is not known yet
  assert.deepEqual(marks(), []);
  const { id } = socket().last('join');
  socket().say({ id, joined: { room: 'lobby', epoch: 'e2', head: 2, recovered: false, receipts: true } });
  assert.deepEqual(marks(), []);
  socket().say(receipt('bob', 1, 0));
  assert.deepEqual(heard, ['bob 9 9', 'reset', 'bob 1 0']);
  room.mark({ read: 2 });
  assert.deepEqual(marks(), [[undefined, 'lobby', 2, 2]]);
});

test('receipts of others never go back', async () => {
  const { heard, socket, room } = await joinedLobby();
  socket().say(receipt('bob', 5, 3), receipt('bob', 4, 3), receipt('bob', 5, 3), receipt('bob', 4, 4), receipt('carol', 1, 0));
  socket().say(receipt('bob', 9, 9, 'attic'));
  assert.deepEqual(heard, ['bob 5 3', 'bob 5 4', 'carol 1 0']);
  room.leave();
  socket().say(receipt('bob', 9, 9));
  assert.equal(heard.length, 3);
});

test('a large room is told counts, once it is joined', async () => {
  const made = await joinedLobby();
  const { heard, socket } = made;
  const counts = [{ seq: 8, delivered: 310, read: 208 }, { seq: 9, delivered: 299, read: 7 }];
  socket().say({ receipts: { room: 'lobby', head: 9, users: 312, receipts: [], counts } });
  assert.deepEqual(heard, [{ head: 9, users: 312, counts }]);
  await reconnect(made);
  socket().say({ receipts: { room: 'lobby', head: 9, users: 313, receipts: [], counts } });
  assert.equal(heard.length, 1);
});

test('a room that is left, and a client that is closed, mark no more', async () => {
  const { client, room, marks, clock } = await joinedLobby();
  room.mark({ read: 1 });
  room.mark({ read: 2 });
  room.leave();
  room.mark({ read: 3 });
  await clock.pass(5_000);
  assert.equal(marks().length, 1);
  const attic = client.join('attic');
  client.close();
  attic.mark({ read: 1 });
  assert.equal(clock.waiting, 0);
});

test('a room that is left as it is joined marks nothing, and leaves no timer', async () => {
  const made = await connected();
  const room = made.client.join('lobby', { after: 0, onState: ({ state }, room) => state === 'joined' && room.leave() });
  room.mark({ read: 3 });
  const { waiting } = made.clock;
  made.socket().joined('lobby', 3, { recovered: true, receipts: true });
  assert.equal(room.state, 'left');
  assert.equal(made.clock.waiting, waiting);
  assert.ok(made.socket().sent.findLastIndex((frame) => frame.mark) < made.socket().sent.findLastIndex((frame) => frame.leave), 'nothing about a room that was left');
});

test('asking fails where the room keeps none, and with the client', async () => {
  const { client, room, socket } = await joinedLobby({ receipts: false });
  const refused = kept(room.receipts());
  socket().refuse('receipts', 'bad_request');
  assert.equal((await outcome(refused)).error.code, 'bad_request');
  const open = kept(room.receipts());
  client.close();
  assert.equal((await outcome(open)).error.code, 'closed');
});

test('what is no sequence number is a mistake of the caller', async () => {
  const { room, marks } = await joinedLobby();
  for (const bad of [{ read: -1 }, { delivered: 1.5 }, { read: '3' }, { read: null }]) {
    assert.throws(() => room.mark(bad), TypeError);
  }
  assert.deepEqual(marks(), []);
});

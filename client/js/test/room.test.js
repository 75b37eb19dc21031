import test from 'node:test';
import assert from 'node:assert/strict';

import { comeBack, connected, makeClient, outcome, reconnect } from './fakes.js';

/** Joins the lobby and writes down everything that the application hears of it. */
function listen(client, options = {}) {
  const heard = { seqs: [], joined: [], resets: [], gaps: [], states: [] };
  const room = client.join('lobby', {
    onMessage: (message) => heard.seqs.push(message.seq),
    onJoined: (event) => heard.joined.push(event),
    onReset: (event) => heard.resets.push(event),
    onGap: (event) => heard.gaps.push(event),
    onState: ({ state }) => heard.states.push(state),
    ...options,
  });
  return { room, heard };
}

test('a join without a position is live only, and knows its position from the reply', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client);
  assert.deepEqual(socket().last('join').join, { room: 'lobby' });
  socket().message('lobby', 57);
  socket().joined('lobby', 57);
  socket().message('lobby', 58);
  assert.deepEqual(heard.seqs, [58], 'nothing before joined');
  assert.deepEqual([room.state, room.epoch, room.seq], ['joined', 'e1', 58]);
  assert.equal((await outcome(room.ready)).value, room);
  assert.deepEqual(heard.resets, []);
});

test('a join with a position asks for what came after it', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client, { after: 41, epoch: 'e1' });
  assert.deepEqual(socket().last('join').join, { room: 'lobby', epoch: 'e1', after: 41 });
  socket().joined('lobby', 43, { recovered: true });
  assert.equal(room.seq, 41, 'the head is not yet delivered');
  socket().message('lobby', 42);
  socket().message('lobby', 43);
  socket().message('lobby', 44);
  assert.deepEqual(heard.seqs, [42, 43, 44]);
  assert.equal(room.seq, 44);
});

test('position 0 asks for everything', async () => {
  const { client, socket } = await connected();
  listen(client, { after: 0 });
  assert.deepEqual(socket().last('join').join, { room: 'lobby', after: 0 });
});

test('rooms joined before there is a connection are joined when there is', async () => {
  const { client, clock, socket } = makeClient();
  listen(client);
  client.join('attic', { after: 3, epoch: 'e1' });
  client.connect();
  await clock.pass(0);
  socket().accept();
  assert.deepEqual(socket().requests('join').map((f) => f.join), [
    { room: 'lobby' },
    { room: 'attic', epoch: 'e1', after: 3 },
  ]);
});

test('after a loss every room resumes with its epoch and position', async () => {
  const made = await connected();
  const { room, heard } = listen(made.client);
  made.socket().joined('lobby', 10);
  made.socket().message('lobby', 11);
  made.socket().message('lobby', 12);
  made.socket().end();
  assert.equal(room.state, 'joining');
  await comeBack(made);
  assert.deepEqual(made.socket().last('join').join, { room: 'lobby', epoch: 'e1', after: 12 });
  made.socket().joined('lobby', 14, { recovered: true });
  for (const seq of [13, 14, 15]) made.socket().message('lobby', seq);
  assert.deepEqual(heard.seqs, [11, 12, 13, 14, 15]);
  assert.deepEqual(heard.resets, []);
  assert.deepEqual(heard.states, ['joined', 'joining', 'joined']);
});

test('a room that was joined while empty resumes from nothing seen', async () => {
  const made = await connected();
  const { heard } = listen(made.client);
  made.socket().joined('lobby', 0);
  await reconnect(made);
  assert.deepEqual(made.socket().last('join').join, { room: 'lobby', epoch: 'e1', after: 0 });
  made.socket().joined('lobby', 2, { recovered: true });
  made.socket().message('lobby', 1);
  made.socket().message('lobby', 2);
  assert.deepEqual(heard.seqs, [1, 2]);
});

test('duplicates are dropped', async () => {
  const { client, socket } = await connected();
  const { heard } = listen(client, { after: 0 });
  socket().joined('lobby', 0, { recovered: true });
  for (const seq of [1, 2, 2, 1, 3, 3, 2, 4]) socket().message('lobby', seq);
  assert.deepEqual(heard.seqs, [1, 2, 3, 4]);
});

test('another epoch: the application is told, and goes on from the head', async () => {
  const made = await connected();
  const { room, heard } = listen(made.client, { after: 5, epoch: 'e1' });
  made.socket().joined('lobby', 5, { recovered: true });
  await reconnect(made);
  made.socket().joined('lobby', 3, { recovered: false, epoch: 'e2' });
  assert.deepEqual(heard.resets, [{ epoch: 'e2', head: 3, previous: { epoch: 'e1', seq: 5 } }]);
  assert.deepEqual([room.epoch, room.seq], ['e2', 3]);
  made.socket().message('lobby', 4);
  assert.deepEqual(heard.seqs, [4], 'smaller than before, but of another history');
});

test('a hole is never delivered over: the room is joined again from the last seen', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client, { after: 1, epoch: 'e1' });
  socket().joined('lobby', 1, { recovered: true });
  socket().message('lobby', 2);
  socket().message('lobby', 4);
  assert.deepEqual(socket().sent.slice(-2).map(({ id, ...op }) => op), [
    { leave: { room: 'lobby' } },
    { join: { room: 'lobby', epoch: 'e1', after: 2 } },
  ]);
  socket().message('lobby', 5); // of the old subscription
  assert.equal(room.state, 'joining');
  socket().joined('lobby', 5, { recovered: true });
  for (const seq of [3, 4, 5]) socket().message('lobby', seq);
  assert.deepEqual(heard.seqs, [2, 3, 4, 5]);
  assert.equal(client.state, 'connected');
});

test('a gap is told, and what follows it goes on', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client, { after: 1, epoch: 'e1' });
  socket().joined('lobby', 20, { recovered: true });
  socket().gap('lobby', 1, 5, 'expired'); // reaches under the position
  socket().gap('lobby', 2, 5, 'expired'); // told already
  for (const seq of [6, 7]) socket().message('lobby', seq);
  socket().gap('lobby', 8, 9, 'damaged');
  socket().message('lobby', 10);
  assert.deepEqual(heard.seqs, [6, 7, 10]);
  assert.deepEqual(heard.gaps, [
    { first: 2, last: 5, reason: 'expired' },
    { first: 8, last: 9, reason: 'damaged' },
  ]);
  assert.equal(room.seq, 10);
  socket().gap('lobby', 12, 13, 'damaged'); // 11 is missing: a hole, as for a message
  assert.equal(room.state, 'joining');
  assert.equal(heard.gaps.length, 2);
});

test('a second hole in a row ends the connection', async () => {
  const { client, socket } = await connected();
  const { heard } = listen(client, { after: 1, epoch: 'e1' });
  socket().joined('lobby', 1, { recovered: true });
  socket().message('lobby', 3);
  socket().joined('lobby', 3, { recovered: true });
  socket().message('lobby', 3);
  assert.equal(socket().closedWith.code, 4500);
  assert.equal(client.state, 'waiting');
  assert.equal(client.error.code, 'protocol_fault');
  assert.deepEqual(heard.seqs, []);
});

test('a reason that is longer than a Close frame does not keep the socket open', async () => {
  const { client, socket } = await connected();
  const name = 'ü'.repeat(64);
  client.join(name, { after: 1, epoch: 'e1' });
  for (let i = 0; i < 2; i++) {
    socket().joined(name, 1, { recovered: true });
    socket().message(name, 3);
  }
  const { code, reason } = socket().closedWith;
  assert.equal(code, 4500);
  assert.equal(reason, 'ü'.repeat(61), 'whole characters in 123 bytes');
});

test('a refused join ends that room only', async () => {
  const made = await connected();
  const { room, heard } = listen(made.client);
  const attic = made.client.join('attic');
  const [lobbyJoin] = made.socket().requests('join');
  made.socket().say({ id: lobbyJoin.id, error: { code: 403, name: 'room_forbidden', message: 'no', retry: false } });
  made.socket().joined('attic', 0);
  assert.equal(room.state, 'refused');
  assert.equal((await outcome(room.ready)).error.code, 'room_forbidden');
  assert.deepEqual(heard.states, ['refused']);
  assert.equal(attic.state, 'joined');
  await reconnect(made);
  assert.deepEqual(made.socket().requests('join').map((f) => f.join.room), ['attic']);
});

test('a join that may be repeated is, with growing waits', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs: 0 });
  const { room } = listen(client);
  socket().refuse('join', 'overloaded', { code: 503, retry: true });
  await clock.pass(249);
  assert.equal(socket().requests('join').length, 1);
  await clock.pass(1);
  assert.equal(socket().requests('join').length, 2);
  socket().refuse('join', 'rate_limited', { code: 429, retry: true, retryAfterMs: 1_000 });
  await clock.pass(1_499);
  assert.equal(socket().requests('join').length, 2);
  await clock.pass(1);
  socket().joined('lobby', 4);
  assert.equal(room.state, 'joined');
});

test('a server that believes the room joined is brought in step', async () => {
  const { client, socket } = await connected();
  const { room } = listen(client, { after: 7 });
  socket().refuse('join', 'already_joined', { code: 409 });
  assert.deepEqual(socket().sent.slice(-2).map(({ id, ...op }) => op), [
    { leave: { room: 'lobby' } },
    { join: { room: 'lobby', after: 7 } },
  ]);
  socket().joined('lobby', 7, { recovered: true });
  assert.equal(room.state, 'joined');
});

test('a room that was left delivers nothing and is not joined again', async () => {
  const made = await connected();
  const { room, heard } = listen(made.client);
  made.socket().joined('lobby', 1);
  room.leave();
  assert.deepEqual(made.socket().last('leave').leave, { room: 'lobby' });
  made.socket().message('lobby', 2);
  assert.deepEqual(heard.seqs, []);
  await reconnect(made);
  assert.equal(made.socket().requests('join').length, 0);
});

test('leave and join in one breath: a new room, in which the old one has no say', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client);
  const oldJoin = socket().last('join');
  room.leave();
  const second = listen(client, { after: 0 });
  socket().say({ id: oldJoin.id, joined: { room: 'lobby', epoch: 'e1', head: 9 } });
  socket().message('lobby', 10);
  assert.deepEqual([room.state, heard.joined], ['left', []]);
  assert.equal(second.room.state, 'joining');
  socket().joined('lobby', 10, { recovered: true });
  socket().message('lobby', 1);
  assert.deepEqual(heard.seqs, []);
  assert.deepEqual(second.heard.seqs, [1]);
});

test('a room left in its own callback hears no more', async () => {
  const { client, socket } = await connected();
  const { room, heard } = listen(client, { after: 0, onReset: () => room.leave() });
  socket().joined('lobby', 5, { recovered: false });
  socket().message('lobby', 6);
  assert.deepEqual(heard.joined, []);
  assert.deepEqual(heard.seqs, []);
});

test('the same room twice is a mistake of the caller', async () => {
  const { client } = await connected();
  client.join('lobby');
  assert.throws(() => client.join('lobby'), { code: 'already_joined' });
});

test('what the application throws stops nothing and is not swallowed', async (t) => {
  const { client, socket } = await connected();
  const thrown = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error.message));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  });
  const seqs = [];
  client.join('lobby', {
    after: 0,
    onMessage: ({ seq }) => {
      seqs.push(seq);
      if (seq === 1) throw new Error('of the application');
    },
  });
  socket().joined('lobby', 0, { recovered: true });
  socket().message('lobby', 1);
  socket().message('lobby', 2);
  await outcome(Promise.resolve());
  assert.deepEqual(seqs, [1, 2]);
  assert.deepEqual(thrown, ['of the application']);
});

test('history: asked again after a loss and after an error that allows it', async () => {
  const made = await connected({}, { heartbeatMs: 0 });
  const room = made.client.join('lobby');
  const page = room.history({ before: 42, limit: 10 });
  assert.deepEqual(made.socket().last('history').history, { room: 'lobby', before: 42, limit: 10 });
  await reconnect(made, { heartbeatMs: 0 });
  made.socket().refuse('history', 'log_unavailable', { code: 503, retry: true, retryAfterMs: 100 });
  await made.clock.pass(350);
  assert.equal(made.socket().requests('history').length, 2);
  made.socket().reply('history', { history: { room: 'lobby', epoch: 'e1', messages: [], more: false, begin: 1, gaps: [] } });
  assert.deepEqual((await outcome(page)).value, { room: 'lobby', epoch: 'e1', messages: [], more: false, begin: 1, gaps: [] });

  const refused = made.client.history('lobby', { before: 1, after: 1 });
  made.socket().refuse('history', 'bad_request');
  assert.equal((await outcome(refused)).error.code, 'bad_request');
});

test('history: a wait that a loss has overtaken sends nothing twice', async () => {
  const made = await connected({}, { heartbeatMs: 0 });
  made.client.history('lobby');
  made.socket().refuse('history', 'overloaded', { code: 503, retry: true, retryAfterMs: 5_000 });
  await reconnect(made, { heartbeatMs: 0 });
  assert.equal(made.socket().requests('history').length, 1);
  await made.clock.pass(60_000);
  assert.equal(made.socket().requests('history').length, 1);
});

test('history: no more than a hundred wait', async () => {
  const { client } = makeClient();
  for (let i = 0; i < 100; i++) client.history('lobby').catch(() => {});
  assert.equal((await outcome(client.history('lobby'))).error.code, 'queue_full');
});

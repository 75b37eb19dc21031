import test from 'node:test';
import assert from 'node:assert/strict';

import { comeBack, connected, makeClient } from './fakes.js';

const ephemeral = (room, text, more = {}) => ({ message: { room, seq: 0, at: 1, from: 'bob', ephemeral: true, text, ...more } });

async function joinedLobby() {
  const made = await connected();
  const heard = [];
  const room = made.client.join('lobby', { onMessage: (m) => heard.push(m.ephemeral ? `${m.key} ${m.text}` : m.seq) });
  made.socket().joined('lobby', 7);
  return { ...made, heard, room };
}

test('an ephemeral message is delivered and leaves the position alone', async () => {
  const { heard, room, socket, states } = await joinedLobby();
  socket().say(ephemeral('lobby', 'a', { key: 'cursor' }), ephemeral('lobby', 'a', { key: 'cursor' }));
  socket().message('lobby', 8);
  socket().say(ephemeral('lobby', 'b', { key: 'cursor' }), ephemeral('attic', 'c'));
  assert.deepEqual(heard, ['cursor a', 'cursor a', 8, 'cursor b']);
  assert.equal(room.seq, 8);
  assert.equal(states.at(-1).state, 'connected');
  assert.equal(socket().requests('leave').length, 0);
});

test('nothing ephemeral comes before joined, or after leave', async () => {
  const made = await joinedLobby();
  made.socket().end();
  await comeBack(made);
  made.socket().say(ephemeral('lobby', 'early'));
  made.socket().joined('lobby', 7, { recovered: true });
  made.room.leave();
  made.socket().say(ephemeral('lobby', 'late'));
  assert.deepEqual(made.heard, []);
});

test('an ephemeral publish has no id and is not answered', async () => {
  const { client, room, socket } = await joinedLobby();
  assert.equal(client.sendEphemeral('attic', 'x', { key: 'typing' }), true);
  assert.equal(room.sendEphemeral(Uint8Array.of(1, 2)), true);
  assert.deepEqual(socket().sent.slice(-2), [
    { publish: { room: 'attic', key: 'typing', ephemeral: true, text: 'x' } },
    { publish: { room: 'lobby', ephemeral: true, data: 'AQI=' } },
  ]);
  assert.equal(client.queued, 0);
  assert.throws(() => client.sendEphemeral('attic', 7), TypeError);
});

test('without a connection, while going away, or behind much else, it is not sent and not kept', async () => {
  const offline = makeClient();
  assert.equal(offline.client.sendEphemeral('lobby', 'x'), false);

  const made = await joinedLobby();
  const before = made.socket().sent.length;
  made.socket().bufferedAmount = 1 << 20;
  assert.equal(made.client.sendEphemeral('lobby', 'x'), false);
  made.socket().bufferedAmount = 0;
  assert.equal(made.client.sendEphemeral('lobby', 'x'.repeat(70_000)), false, 'larger than the server takes');
  made.socket().say({ goaway: { reason: 'draining', afterMs: 1000, windowMs: 1000 } });
  assert.equal(made.client.sendEphemeral('lobby', 'x'), false);
  assert.equal(made.socket().sent.length, before);
  made.socket().end();
  await comeBack(made);
  assert.deepEqual(made.socket().requests('publish'), []);
});

test('a refusal is an event', async () => {
  const { client, socket } = await joinedLobby();
  const refusals = [];
  client.on('refused', (error) => refusals.push(error));
  client.sendEphemeral('lobby', 'x');
  socket().say({ error: { code: 429, name: 'rate_limited', message: 'Slower.', retry: true, retryAfterMs: 20 } });
  assert.equal(refusals.length, 1);
  assert.deepEqual([refusals[0].code, refusals[0].retryAfterMs], ['rate_limited', 20]);
  assert.equal(client.state, 'connected');
});

test('a client of before sees number 0, which is no hole', async () => {
  const { heard, socket } = await joinedLobby();
  socket().say({ message: { room: 'lobby', seq: 0, at: 1, from: 'bob', text: 'the mark is not known' } });
  socket().message('lobby', 8);
  assert.deepEqual(heard, [8]);
  assert.equal(socket().requests('leave').length, 0);
});

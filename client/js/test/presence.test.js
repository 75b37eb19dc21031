import test from 'node:test';
import assert from 'node:assert/strict';

import { connected, reconnect } from './fakes.js';

const person = (user, state, since = 0) => ({ user, state, since });

async function watchedLobby() {
  const made = await connected();
  const seen = [];
  const typing = [];
  const room = made.client.join('lobby', {
    onPresence: ({ count, users, changes }) => seen.push([count, Object.fromEntries(users), changes.length]),
    onTyping: ({ users, more }) => typing.push([...users, more]),
  });
  made.socket().joined('lobby', 0);
  room.watchPresence();
  const answer = (version, users, count = users.length) =>
    made.socket().reply('presence', { presence: { room: 'lobby', version, count, users } });
  const change = (version, users, count) => made.socket().say({ presenceChange: { room: 'lobby', version, count, users } });
  const tell = (users, more = 0) => made.socket().say({ typing: { room: 'lobby', users, more, lifetimeMs: 4_000 } });
  return { ...made, room, seen, typing, answer, change, tell };
}

test('changes are folded into what the answer said', async () => {
  const { room, seen, answer, change, socket } = await watchedLobby();
  assert.equal(socket().last('presence').presence.watch, true);
  change(8, [person('early', 'online')], 9); // before the answer: it is in it, or comes again
  answer(3, [person('alice', 'online'), person('bob', 'away')]);
  change(4, [person('bob', 'offline', 7), person('carol', 'online')], 2);
  assert.deepEqual(seen, [[2, { alice: 'online', bob: 'away' }, 2], [2, { alice: 'online', carol: 'online' }, 2]]);
  assert.deepEqual(room.presence, { count: 2, users: new Map([['alice', 'online'], ['carol', 'online']]) });
});

test('a room that is not joined yet is asked for when it is, and once', async () => {
  const { client, socket } = await connected();
  const room = client.join('lobby');
  room.watchPresence();
  assert.equal(socket().requests('presence').length, 0);
  socket().joined('lobby', 0);
  assert.equal(socket().requests('presence').length, 1);
  socket().reply('presence', { presence: { room: 'lobby', version: 1, count: 0, users: [] } });
});

test('a missed version is asked for again', async () => {
  const { seen, answer, change, socket } = await watchedLobby();
  answer(3, [person('alice', 'online')]);
  change(5, [person('bob', 'online')], 3);
  assert.equal(socket().requests('presence').length, 2);
  change(6, [person('carol', 'online')], 4);
  answer(6, [person('carol', 'online')], 4);
  assert.deepEqual(seen.at(-1), [4, { carol: 'online' }, 1]);
  change(7, [], 5); // a large room
  assert.deepEqual(seen.at(-1), [5, { carol: 'online' }, 0]);
});

test('it is watched over a lost connection, and away is said again', async () => {
  const made = await watchedLobby();
  made.client.setAway(true);
  made.client.setAway(true);
  assert.deepEqual(made.socket().requests('state').map(({ state }) => state.state), ['away']);
  made.answer(3, [person('alice', 'online')]);
  const first = made.socket();
  await reconnect(made);
  assert.notEqual(made.socket(), first);
  assert.deepEqual(made.socket().requests('state').map(({ state }) => state.state), ['away']);
  made.socket().joined('lobby', 0);
  assert.equal(made.socket().requests('presence').length, 1);
  made.answer(1, [person('bob', 'online')]);
  assert.deepEqual(made.seen.at(-1), [1, { bob: 'online' }, 1]);
  made.client.setAway(false);
  assert.equal(made.socket().last('state').state.state, 'online');
});

test('who watches no more is told nothing, and the server knows', async () => {
  const { room, seen, answer, change, socket } = await watchedLobby();
  answer(3, []);
  room.unwatchPresence();
  assert.equal(socket().last('presence').presence.watch, undefined);
  change(4, [person('bob', 'online')], 1);
  assert.equal(seen.length, 1);
});

test('a refusal that may pass is tried again', async () => {
  const { socket, clock } = await watchedLobby();
  socket().reply('presence', { error: { code: 503, name: 'overloaded', message: 'Later.', retry: true } });
  await clock.pass(2_000);
  assert.equal(socket().requests('presence').length, 2);
});

test('a try that waits ends with the watching, the room and the client', async () => {
  const ends = { unwatch: ({ room }) => room.unwatchPresence(), leave: ({ room }) => room.leave(), close: ({ client }) => client.close() };
  for (const [name, end] of Object.entries(ends)) {
    const made = await watchedLobby();
    const ofConnection = made.clock.waiting;
    made.socket().reply('presence', { error: { code: 503, name: 'overloaded', message: 'Later.', retry: true } });
    assert.equal(made.clock.waiting, ofConnection + 1);
    end(made);
    assert.equal(made.clock.waiting, name === 'close' ? 0 : ofConnection, name);
  }
});

test('typing is sent now and then, until the text is sent or thrown away', async () => {
  const { client, room, socket, clock } = await watchedLobby();
  const said = () => socket().requests('typing').map(({ id, typing }) => [id, typing.stopped === true]);
  for (let i = 0; i < 9; i++) room.typing();
  assert.deepEqual(said(), [[undefined, false]]);
  await clock.pass(2_500);
  room.typing();
  assert.equal(said().length, 2);
  room.stopTyping();
  room.stopTyping();
  assert.deepEqual(said().slice(2), [[undefined, true]]);
  room.typing();
  client.react('lobby', 1, '👍').catch(() => {});
  room.typing();
  assert.equal(said().length, 4, 'a reaction is not what was typed');
  client.publish('lobby', 'hello').catch(() => {});
  room.stopTyping();
  assert.equal(said().length, 4, 'the message says that it is over');
  room.typing();
  assert.equal(said().length, 5, 'and the next one has begun');
});

test('typists end with their time, with their message, and are not this user', async () => {
  const { client, typing, tell, clock, socket } = await watchedLobby();
  tell(['bob', client.user, 'carol'], 2);
  tell(['bob', 'carol'], 2);
  assert.deepEqual(typing, [['bob', 'carol', 2]], 'the same is no news');
  socket().say({ message: { room: 'lobby', seq: 1, at: 1, from: 'bob', text: 'there' } });
  assert.deepEqual(typing.at(-1), ['carol', 2]);
  await clock.pass(4_000);
  assert.deepEqual(typing.at(-1), [0]);
});

test('a lost connection has nobody typing, a room that was left tells nothing', async () => {
  const made = await watchedLobby();
  made.tell(['bob']);
  const first = made.socket();
  await reconnect(made);
  assert.notEqual(made.socket(), first);
  assert.deepEqual(made.typing, [['bob', 0], [0]]);
  made.socket().joined('lobby', 0);
  made.tell(['bob']);
  made.room.leave();
  await made.clock.pass(10_000);
  assert.deepEqual(made.typing.slice(2), [['bob', 0]]);
});

test('an ephemeral message in a room that stores its messages, and a change of one, are not what was typed', async () => {
  const { typing, tell, socket } = await watchedLobby();
  tell(['bob']);
  socket().say({ message: { room: 'lobby', ephemeral: true, key: 'cursor', at: 1, from: 'bob', text: '7,8' } });
  socket().say({ message: { room: 'lobby', seq: 1, at: 1, from: 'bob', change: { target: 1, react: { reaction: '👍' } } } });
  assert.deepEqual(typing, [['bob', 0]]);
});

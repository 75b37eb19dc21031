import test from 'node:test';
import assert from 'node:assert/strict';

import { connected } from './fakes.js';

const heartbeatMs = 25_000;
const pings = (socket) => socket.requests('ping').length;

test('silence for one heartbeat brings a ping, for another the end', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs });
  const first = socket();
  await clock.pass(heartbeatMs - 1);
  assert.equal(pings(first), 0);
  await clock.pass(1);
  assert.equal(pings(first), 1);
  await clock.pass(heartbeatMs - 1);
  assert.equal(client.state, 'connected');
  await clock.pass(1);
  assert.equal(client.state, 'waiting');
  assert.notEqual(first.closedWith, null);
  assert.equal(client.error.code, 'connection_dead');
});

test('whatever is heard puts the ping off', async () => {
  const { clock, socket } = await connected({}, { heartbeatMs });
  await clock.pass(20_000);
  socket().message('elsewhere', 1);
  await clock.pass(24_999);
  assert.equal(pings(socket()), 0);
  await clock.pass(1);
  assert.equal(pings(socket()), 1);
});

test('an answered ping keeps the connection, for as long as it is answered', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs });
  for (let i = 1; i <= 5; i++) {
    await clock.pass(heartbeatMs);
    assert.equal(pings(socket()), i);
    socket().reply('ping', { pong: {} });
  }
  assert.equal(client.state, 'connected');
});

test('a page whose timers were stopped asks before it gives up', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs });
  clock.time += 3_600_000; // the machine slept; no timer fired
  await clock.pass(0);
  assert.equal(client.state, 'connected');
  assert.equal(pings(socket()), 1);
  socket().reply('ping', { pong: {} });
  await clock.pass(heartbeatMs - 1);
  assert.equal(client.state, 'connected');
});

test('a clock that is set back does not stop the heartbeat', async () => {
  const { clock, socket } = await connected({}, { heartbeatMs });
  socket().message('elsewhere', 1);
  await clock.pass(heartbeatMs - 1);
  // The wall clock jumps back by a day; timers are not the wall clock's.
  const { now } = clock;
  clock.now = () => now.call(clock) - 86_400_000;
  await clock.pass(1);
  assert.equal(pings(socket()), 1);
});

test('a probe of the server is answered with a ping', async () => {
  const { clock, socket } = await connected({}, { heartbeatMs });
  socket().say({ ping: {} });
  assert.equal(pings(socket()), 1);
  socket().reply('ping', { pong: {} });
  await clock.pass(heartbeatMs - 1);
  assert.equal(pings(socket()), 1);
});

test('wake checks a connection that is there, and gives it up after five seconds', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs });
  client.wake();
  assert.equal(pings(socket()), 1);
  socket().reply('ping', { pong: {} });
  await clock.pass(6_000);
  assert.equal(client.state, 'connected');
  client.wake();
  await clock.pass(5_000);
  assert.equal(client.state, 'waiting');
});

test('a server without a heartbeat is not pinged', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs: 0 });
  await clock.pass(3_600_000);
  assert.equal(pings(socket()), 0);
  assert.equal(client.state, 'connected');
});

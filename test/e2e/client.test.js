// The JavaScript client against the real server, in Node, while the server is killed again
// and again: every acknowledged message is there once, in its place, and every reader sees
// 1..n once.

import test from 'node:test';
import assert from 'node:assert/strict';

import WebSocket from 'ws';

import { Rookery } from '../../client/js/rookery.js';
import { becomes } from './becomes.js';
import { Server } from './server.js';

const KILLS = 3;
const PER_LIFE = 40;

function client(t, server, options) {
  // Short waits: the time between a kill and the restart is known to be short here.
  const made = new Rookery({ url: server.socketAddress, WebSocket, backoffCap: 400, ...options });
  t.after(() => made.close());
  return made;
}

for (const codec of ['binary', 'json']) {
  test(`${codec}: nothing acknowledged is lost or doubled over ${KILLS} kills`, { timeout: 120_000 }, async (t) => {
    const server = await Server.start(t);
    const writer = client(t, server, { name: 'writer', codec, publishWindow: 8 });
    const reader = client(t, server, { name: 'reader', codec });
    const seen = [];
    const faults = [];
    const room = reader.join('lobby', {
      after: 0,
      onMessage: ({ seq, text }) => seen.push({ seq, text }),
      onReset: (event) => faults.push(event),
    });
    await Promise.all([writer.connect(), reader.connect(), room.ready]);

    const acknowledged = [];
    let number = 0;
    const publish = async () => {
      const text = `message ${++number}`;
      acknowledged.push({ seq: (await writer.publish('lobby', text)).seq, text });
    };
    for (let life = 0; life < KILLS; life++) {
      const sending = Array.from({ length: PER_LIFE }, publish);
      await sending[PER_LIFE / 2]; // in the middle of it
      await server.kill();
      const offline = Array.from({ length: 5 }, publish);
      await server.start();
      await Promise.all([...sending, ...offline]);
    }
    const total = KILLS * (PER_LIFE + 5);

    assert.equal(acknowledged.length, total);
    const bySeq = acknowledged.sort((a, b) => a.seq - b.seq);
    assert.deepEqual(bySeq.map((m) => m.seq), Array.from({ length: total }, (_, i) => i + 1));
    await becomes(() => seen, bySeq, 'the reader saw each once, in order, as acknowledged');
    assert.deepEqual(faults, []);
  });
}

test('a client without the right identity is told so and stays away', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const stranger = client(t, server, { token: 'no token at all' });
  await assert.rejects(stranger.connect(), { code: 'unauthorized' });
  assert.equal(stranger.state, 'closed');
});

test('a draining server is left, and its successor found', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--drain.window=1s');
  const visitor = client(t, server, { name: 'visitor' });
  const gone = new Promise((resolve) => visitor.on('goaway', resolve));
  await visitor.connect();
  const room = visitor.join('lobby', { after: 0 });
  await room.ready;
  const stopped = server.stop();
  assert.equal(typeof (await gone).reason, 'string');
  const held = room.publish('written while it drained');
  assert.equal(await stopped, 0);
  await server.start();
  assert.equal((await held).seq, 1);
});

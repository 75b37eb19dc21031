// Clients that are not ours, speaking JSON by hand: Node's ws, and Python's websockets.

import test from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import WebSocket from 'ws';

import { Server } from './server.js';

/** Debian's interpreter, for which apt installs the package python3-websockets. */
const python = process.env.PYTHON ?? '/usr/bin/python3';

/** A connection whose frames are read one after the other. */
class Peer {
  #frames = [];
  #waiting = null;

  static async open(address, protocols) {
    const peer = new Peer();
    peer.socket = new WebSocket(address, protocols);
    peer.closed = new Promise((resolve) => peer.socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })));
    peer.socket.on('message', (data, isBinary) => {
      assert.equal(isBinary, false, 'JSON comes in text messages');
      for (const line of String(data).split('\n')) {
        if (line !== '') peer.#frames.push(JSON.parse(line));
      }
      peer.#waiting?.();
    });
    await once(peer.socket, 'open');
    return peer;
  }

  send(...frames) {
    this.socket.send(frames.map((frame) => JSON.stringify(frame)).join('\n'));
  }

  /** The next frame that the test asks for; others stay for later. */
  async next(wanted) {
    for (;;) {
      const index = this.#frames.findIndex(wanted);
      if (index >= 0) return this.#frames.splice(index, 1)[0];
      await new Promise((resolve) => (this.#waiting = resolve));
    }
  }

  async request(frame) {
    this.send(frame);
    return this.next((answer) => answer.id === frame.id);
  }

  message() {
    return this.next((frame) => frame.message !== undefined).then((frame) => frame.message);
  }
}

for (const [name, protocols] of [['with the subprotocol', ['rookery.v1.json']], ['without one', []]]) {
  test(`ws, ${name}: connect, join, publish, resume, close`, { timeout: 120_000 }, async (t) => {
    const server = await Server.start(t);
    const alice = await Peer.open(server.socketAddress, protocols);
    assert.equal(alice.socket.protocol, protocols[0] ?? '');

    const { connected } = await alice.request({ id: 1, connect: { name: 'alice' } });
    assert.equal(connected.user, 'alice');
    assert.ok(connected.heartbeatMs > 0);

    const { joined } = await alice.request({ id: 2, join: { room: 'lobby' } });
    assert.equal(joined.head, 0);
    assert.equal('recovered' in joined, false);

    // Two requests in one WebSocket message; each has its reply.
    alice.send({ id: 3, publish: { room: 'lobby', key: 'k1', text: 'one' } }, { id: 4, publish: { room: 'lobby', key: 'k2', text: 'two é 🐦' } });
    assert.equal((await alice.next((f) => f.id === 3)).published.seq, 1);
    const second = (await alice.next((f) => f.id === 4)).published;
    assert.equal(second.seq, 2);
    assert.deepEqual([(await alice.message()).text, (await alice.message()).text], ['one', 'two é 🐦']);

    const again = await alice.request({ id: 5, publish: { room: 'lobby', key: 'k2', text: 'two é 🐦' } });
    assert.deepEqual(again.published, second, 'the same key gets the same answer');

    const unknown = await alice.request({ id: 6, levitate: {} });
    assert.equal(unknown.error.name, 'unknown_operation');
    const wrong = await alice.request({ id: 7, join: { room: 'lobby' } });
    assert.deepEqual([wrong.error.name, wrong.error.retry], ['already_joined', false]);

    alice.socket.close(1000, 'done');
    assert.equal((await alice.closed).code, 1000);

    const back = await Peer.open(server.socketAddress, protocols);
    await back.request({ id: 1, connect: { name: 'alice' } });
    const resumed = (await back.request({ id: 2, join: { room: 'lobby', epoch: joined.epoch, after: 1 } })).joined;
    assert.deepEqual([resumed.recovered, resumed.head, resumed.epoch], [true, 2, joined.epoch]);
    const missed = await back.message();
    assert.deepEqual([missed.seq, missed.text, missed.from], [2, 'two é 🐦', 'alice']);
    await back.request({ id: 3, publish: { room: 'lobby', key: 'k3', text: 'three' } });
    assert.equal((await back.message()).seq, 3, 'live follows without a gap');

    const { history } = await back.request({ id: 4, history: { room: 'lobby', limit: 2 } });
    assert.deepEqual([history.messages.map((m) => m.seq), history.more], [[2, 3], true]);
    const stranger = (await back.request({ id: 5, join: { room: 'attic', epoch: 'another', after: 7 } })).joined;
    assert.equal(stranger.recovered, false);

    back.socket.ping('still there?');
    const [payload] = await once(back.socket, 'pong');
    assert.equal(String(payload), 'still there?');
    back.socket.close(1000);
    assert.equal((await back.closed).code, 1000);
  });
}

test('ws: two people chat by hand: a group, changes, receipts, presence, typing, sync', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const open = async (name) => {
    const peer = await Peer.open(server.socketAddress, ['rookery.v1.json']);
    await peer.request({ id: 1, connect: { name } });
    return peer;
  };
  const alice = await open('alice');
  const bob = await open('bob');
  const room = 'group:birds';
  assert.equal((await alice.request({ id: 2, create: { room, title: 'Birds' } })).room.role, 'owner');
  assert.equal((await bob.request({ id: 2, join: { room } })).error.name, 'not_member');
  assert.equal((await alice.request({ id: 3, member: { room, user: 'bob', action: 'invite' } })).member.role, 'member');
  await alice.request({ id: 4, join: { room } });
  const seen = (await alice.request({ id: 5, presence: { room, watch: true } })).presence;
  assert.deepEqual(seen.users.map((u) => [u.user, u.state]), [['alice', 'online']]);
  assert.equal((await bob.request({ id: 3, join: { room } })).joined.membership.title, 'Birds');
  const { presenceChange } = await alice.next((f) => f.presenceChange);
  assert.deepEqual([presenceChange.version, presenceChange.count, presenceChange.users[0].user], [seen.version + 1, 2, 'bob']);

  alice.send({ typing: { room } });
  assert.deepEqual((await bob.next((f) => f.typing?.users.length)).typing.users, ['alice']);
  await alice.request({ id: 6, publish: { room, key: 'a', text: 'a heron, @bob', mentions: ['bob'] } });
  assert.deepEqual((await bob.message()).mentions, ['bob']);
  assert.deepEqual((await bob.next((f) => f.typing)).typing.users, [], 'who publishes types no more');
  await alice.request({ id: 7, publish: { room, key: 'b', text: 'two herons, @bob', mentions: ['bob'], change: { target: 1, edit: {} } } });
  assert.deepEqual((await bob.message()).change, { target: 1, edit: {} });
  await bob.request({ id: 4, publish: { room, key: 'c', change: { target: 1, react: { reaction: '👍' } } } });
  const away = (await bob.request({ id: 5, sync: { messages: 1 } })).synced;
  assert.deepEqual(away.rooms.map((r) => [r.room, r.head, r.unread, r.mentions, r.messages[0].from, r.messages[0].text]), [[room, 3, 1, 1, 'alice', 'two herons, @bob']]);
  assert.equal(away.rooms[0].messages[0].reactions[0].own, true);

  assert.equal((await bob.request({ id: 6, mark: { room, delivered: 3, read: 3 } })).marked.read, 3);
  const { receipt } = await alice.next((f) => f.receipt?.user === 'bob');
  assert.deepEqual([receipt.delivered, receipt.read], [3, 3]);
  const read = (await bob.request({ id: 7, sync: { position: away.position } })).synced;
  assert.deepEqual(read.rooms.map((r) => [r.unread, r.mentions ?? 0, r.changed ?? false]), [[0, 0, false]]);
  await alice.request({ id: 8, member: { room, user: 'bob', action: 'kick', reason: 'asleep' } });
  assert.equal((await bob.next((f) => f.removed)).removed.reason, 'asleep');
  assert.equal((await bob.request({ id: 8, publish: { room, key: 'd', text: 'x' } })).error.name, 'not_joined');
  for (const peer of [alice, bob]) {
    peer.socket.close(1000);
    assert.equal((await peer.closed).code, 1000);
  }
});

test('ws: what is no frame ends the connection with its code', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  for (const text of ['no json', '{"id":1,', '[]']) {
    const peer = await Peer.open(server.socketAddress, ['rookery.v1.json']);
    peer.socket.send(text);
    assert.equal((await peer.closed).code, 4500, text);
  }
});

test('ws: the server that is told to end says when to come back, then closes', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--drain.window=1s');
  const peer = await Peer.open(server.socketAddress, ['rookery.v1.json']);
  await peer.request({ id: 1, connect: { name: 'alice' } });
  const stopped = server.stop();
  const { goaway } = await peer.next((frame) => frame.goaway !== undefined);
  assert.ok(goaway.windowMs >= 0 && goaway.afterMs >= 0);
  const { code } = await peer.closed;
  assert.ok(code === 1000 || code === 1001 || (code >= 4000 && code <= 4499), `close code ${code}`);
  assert.equal(await stopped, 0);
});

test("Python's websockets: the same by somebody else", { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const script = fileURLToPath(new URL('foreign_websockets.py', import.meta.url));
  const child = spawn(python, [script, server.socketAddress], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  const [code] = await once(child, 'close');
  assert.equal(code, 0, output);
  assert.match(output, /^with the subprotocol: ok$/m);
  assert.match(output, /^without one: ok$/m);
  assert.match(output, /^a chat of two: ok$/m);
});

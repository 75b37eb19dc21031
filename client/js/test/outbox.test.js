import test from 'node:test';
import assert from 'node:assert/strict';

import { comeBack, connected, kept, makeClient, outcome, reconnect } from './fakes.js';

const texts = (socket) => socket.requests('publish').map((f) => f.publish.text);
const keys = (socket) => socket.requests('publish').map((f) => f.publish.key);

/** Answers the oldest unanswered publish of a room. */
function published(socket, room, seq) {
  const request = socket.requests('publish').find((f) => f.publish.room === room && !f.answered);
  request.answered = true;
  socket.say({ id: request.id, published: { room, seq, at: 1_000 + seq } });
}

test('a publish always has a key and resolves with its place', async () => {
  const { client, socket } = await connected();
  const promise = client.publish('lobby', 'hello');
  assert.deepEqual(socket().last('publish').publish, { room: 'lobby', key: 'abababababababab-1', text: 'hello' });
  assert.equal(client.queued, 1);
  published(socket(), 'lobby', 58);
  assert.deepEqual((await outcome(promise)).value, { seq: 58, at: 1_058, key: 'abababababababab-1' });
  assert.equal(client.queued, 0);
});

test('bytes are sent as data, as they were when publish was called', async () => {
  const { client, clock, socket } = makeClient();
  const bytes = Uint8Array.from([0, 255]);
  client.publish('lobby', bytes);
  bytes[0] = 7;
  client.connect();
  await clock.pass(0);
  socket().accept();
  assert.equal(socket().last('publish').publish.data, 'AP8=');
  assert.equal((await outcome(client.publish('lobby', 7))).error.name, 'TypeError');
});

test('one in flight per room, so that a room keeps the order of the calls', async () => {
  const { client, socket } = await connected();
  for (const text of ['a', 'b', 'c']) client.publish('lobby', text);
  client.publish('attic', 'x');
  assert.deepEqual(texts(socket()), ['a', 'x'], 'rooms do not wait for each other');
  published(socket(), 'lobby', 1);
  assert.deepEqual(texts(socket()), ['a', 'x', 'b']);
});

test('a larger window sends ahead', async () => {
  const { client, socket } = await connected({ publishWindow: 2 });
  for (const text of ['a', 'b', 'c']) client.publish('lobby', text);
  assert.deepEqual(texts(socket()), ['a', 'b']);
  published(socket(), 'lobby', 1);
  assert.deepEqual(texts(socket()), ['a', 'b', 'c']);
});

test('what is published offline goes out in order, with the keys it got then', async () => {
  const made = makeClient();
  const promises = ['a', 'b', 'c'].map((text) => made.client.publish('lobby', text));
  made.client.connect();
  await made.clock.pass(0);
  made.socket().accept();
  for (let seq = 1; seq <= 3; seq++) published(made.socket(), 'lobby', seq);
  assert.deepEqual(texts(made.socket()), ['a', 'b', 'c']);
  assert.deepEqual(keys(made.socket()), [1, 2, 3].map((n) => `abababababababab-${n}`));
  assert.deepEqual((await Promise.all(promises)).map((p) => p.seq), [1, 2, 3]);
});

test('what was in flight is sent again with its key, before what came after', async () => {
  const made = await connected({ publishWindow: 2 });
  for (const text of ['a', 'b', 'c']) made.client.publish('lobby', text);
  const sent = keys(made.socket());
  made.socket().end();
  made.client.publish('lobby', 'd');
  await comeBack(made);
  assert.deepEqual(keys(made.socket()), sent);
  published(made.socket(), 'lobby', 1);
  published(made.socket(), 'lobby', 2);
  assert.deepEqual(texts(made.socket()), ['a', 'b', 'c', 'd']);
});

test('a key of the caller is used as it is', async () => {
  const { client, socket } = await connected();
  client.publish('lobby', 'again', { key: 'saved-1' });
  assert.equal(socket().last('publish').publish.key, 'saved-1');
  assert.notEqual(client.nextKey(), client.nextKey());
});

test('an error that allows it: the same again after the wait, and the room waits too', async () => {
  const { client, clock, socket } = await connected({}, { heartbeatMs: 0 });
  const first = client.publish('lobby', 'a');
  client.publish('lobby', 'b');
  socket().refuse('publish', 'rate_limited', { code: 429, retry: true, retryAfterMs: 250 });
  await clock.pass(499);
  assert.deepEqual(texts(socket()), ['a']);
  await clock.pass(1);
  assert.deepEqual(texts(socket()), ['a', 'a']);
  socket().refuse('publish', 'overloaded', { code: 503, retry: true });
  await clock.pass(499);
  assert.deepEqual(texts(socket()), ['a', 'a']);
  await clock.pass(1);
  assert.equal(new Set(keys(socket())).size, 1, 'always the same key');
  socket().reply('publish', { published: { room: 'lobby', seq: 1, at: 1 } });
  assert.equal((await outcome(first)).value.seq, 1);
  assert.deepEqual(texts(socket()), ['a', 'a', 'a', 'b']);
});

test('an error that does not allow it rejects that one only', async () => {
  const { client, socket } = await connected();
  const first = client.publish('lobby', 'a');
  const second = client.publish('lobby', 'b');
  socket().refuse('publish', 'publish_forbidden', { code: 403 });
  const { error } = await outcome(first);
  assert.deepEqual([error.code, error.status, error.retry, error.key], ['publish_forbidden', 403, false, 'abababababababab-1']);
  socket().reply('publish', { published: { room: 'lobby', seq: 1, at: 1 } });
  assert.equal((await outcome(second)).value.seq, 1);
});

test('a wait asked for by the server outlives the connection', async () => {
  const made = await connected({}, { heartbeatMs: 0 });
  made.client.publish('lobby', 'a');
  made.socket().refuse('publish', 'rate_limited', { code: 429, retry: true, retryAfterMs: 60_000 });
  made.socket().end();
  await comeBack(made, { heartbeatMs: 0 }); // 250 ms later
  assert.deepEqual(texts(made.socket()), []);
  await made.clock.pass(59_999);
  assert.deepEqual(texts(made.socket()), []);
  await made.clock.pass(1);
  assert.deepEqual(texts(made.socket()), ['a']);
});

test('the queue is bounded in number and in bytes', async () => {
  const few = makeClient({ maxQueued: 2 });
  const first = few.client.publish('lobby', 'a');
  few.client.publish('lobby', 'b');
  const { error } = await outcome(few.client.publish('lobby', 'c'));
  assert.equal(error.code, 'queue_full');
  assert.equal(error.key, 'abababababababab-3');
  assert.equal(await outcome(first), 'waiting');

  const small = makeClient({ maxQueuedBytes: 10 });
  small.client.publish('lobby', 'ééééé');
  assert.equal((await outcome(small.client.publish('lobby', 'x'))).error.code, 'queue_full');
});

test('the queue has room again when something was answered', async () => {
  for (const bound of [{ maxQueued: 1 }, { maxQueuedBytes: 1 }]) {
    const { client, socket } = await connected(bound);
    client.publish('lobby', 'a');
    published(socket(), 'lobby', 1);
    assert.equal(await outcome(client.publish('lobby', 'b')), 'waiting');
  }
});

test('what the server would not take is not sent to it', async () => {
  const { client, clock, socket, sockets } = makeClient();
  const early = client.publish('lobby', 'x'.repeat(2_000));
  const fits = client.publish('lobby', 'fits');
  client.connect();
  await clock.pass(0);
  socket().accept({ maxMessageBytes: 1_000 });
  assert.equal((await outcome(early)).error.code, 'too_large', 'found out when the limit was known');
  assert.deepEqual(texts(socket()), ['fits'], 'and the next one went');
  published(socket(), 'lobby', 1);
  assert.equal((await outcome(fits)).value.seq, 1);
  const late = await outcome(client.publish('lobby', 'y'.repeat(1_001)));
  assert.equal(late.error.code, 'too_large');
  const barely = await outcome(client.publish('lobby', 'z'.repeat(990)));
  assert.equal(barely.error.code, 'too_large', 'the frame counts, not the text');
  assert.equal(client.queued, 0);
  assert.equal(sockets.length, 1);
});

test('what was sent long ago without an answer is not sent again by itself', async () => {
  const made = await connected();
  const sent = made.client.publish('lobby', 'sent once');
  const never = made.client.publish('lobby', 'never sent');
  made.socket().end();
  made.clock.time += 9 * 60_000;
  await made.clock.pass(0);
  made.socket().accept();
  const { error } = await outcome(sent);
  assert.equal(error.code, 'outcome_unknown');
  assert.equal(error.key, 'abababababababab-1');
  assert.deepEqual(texts(made.socket()), ['never sent']);
  assert.equal(await outcome(never), 'waiting');
});

test('it is the first sending that counts, not the last', async () => {
  const made = await connected();
  const promise = kept(made.client.publish('lobby', 'a'));
  for (let i = 0; i < 2; i++) {
    made.socket().end();
    made.clock.time += 4.5 * 60_000;
    await made.clock.pass(0);
    made.socket().accept();
  }
  assert.equal((await outcome(promise)).error.code, 'outcome_unknown');
});

test('a refusal says that it is not stored; a broken log does not', async () => {
  for (const [name, expected] of [['rate_limited', 'waiting'], ['draining', 'waiting'], ['internal', 'outcome_unknown'], ['log_unavailable', 'outcome_unknown']]) {
    const made = await connected();
    const promise = kept(made.client.publish('lobby', 'a'));
    made.socket().refuse('publish', name, { code: 503, retry: true });
    made.socket().end();
    made.clock.time += 9 * 60_000;
    await made.clock.pass(0);
    made.socket().accept();
    const result = await outcome(promise);
    assert.equal(result === 'waiting' ? result : result.error.code, expected, name);
  }
});

test('an old sending stays open whatever the new one is answered', async () => {
  const made = await connected({}, { heartbeatMs: 0 });
  const promise = kept(made.client.publish('lobby', 'a'));
  await reconnect(made, { heartbeatMs: 0 });
  made.socket().refuse('publish', 'rate_limited', { code: 429, retry: true, retryAfterMs: 9 * 60_000 });
  await made.clock.pass(9 * 60_000 + 500);
  assert.equal((await outcome(promise)).error.code, 'outcome_unknown');
});

test('what names a message waits for its room, and is not sent in one that has begun anew', async () => {
  const made = await connected();
  const { client, socket } = made;
  client.join('lobby');
  socket().joined('lobby', 5);
  const inFlight = kept(client.edit('lobby', 3, 'in flight'));
  assert.deepEqual(texts(socket()), ['in flight']);
  socket().end();
  const named = [
    client.delete('lobby', 3), client.react('lobby', 3, '+'), client.pin('lobby', 3),
    client.publish('lobby', 'an answer', { replyTo: 3 }), client.publish('lobby', 'an aside', { thread: 3 }),
  ].map(kept);
  const plain = client.publish('lobby', 'plain');
  await comeBack(made);
  assert.deepEqual(texts(socket()), []);
  socket().joined('lobby', 4, { epoch: 'e2' });
  for (const promise of [inFlight, ...named]) assert.equal((await outcome(promise)).error.code, 'epoch_changed');
  assert.equal((await outcome(inFlight)).error.key, 'abababababababab-1');
  assert.deepEqual(texts(socket()), ['plain']);
  published(socket(), 'lobby', 5);
  assert.equal((await outcome(plain)).value.seq, 5);
  assert.equal(client.queued, 0);
});

test('in the same epoch it is sent once the room is joined, in order', async () => {
  const made = await connected({ publishWindow: 2 });
  const { client, socket } = made;
  client.join('lobby');
  socket().joined('lobby', 5);
  socket().end();
  for (const text of ['a', 'b']) client.publish('lobby', text);
  client.edit('lobby', 3, 'c');
  client.publish('lobby', 'd');
  await comeBack(made);
  assert.deepEqual(texts(socket()), ['a', 'b']);
  published(socket(), 'lobby', 6);
  assert.deepEqual(texts(socket()), ['a', 'b']);
  socket().joined('lobby', 5, { recovered: true });
  assert.deepEqual(texts(socket()), ['a', 'b', 'c']);
  published(socket(), 'lobby', 7);
  assert.deepEqual(texts(socket()), ['a', 'b', 'c', 'd']);
});

test('it waits for no room that is left, refused or joined by nobody', async () => {
  for (const end of [(made, room) => room.leave(), (made) => made.socket().refuse('join', 'room_forbidden', { code: 403 })]) {
    const made = await connected();
    const room = made.client.join('lobby');
    made.socket().joined('lobby', 5);
    made.socket().end();
    made.client.edit('lobby', 3, 'mended');
    await comeBack(made);
    assert.deepEqual(texts(made.socket()), []);
    end(made, room);
    assert.deepEqual(texts(made.socket()), ['mended']);
  }
  const { client, socket } = await connected();
  client.edit('lobby', 3, 'mended');
  assert.deepEqual(texts(socket()), ['mended']);
});

test('a room that is left by whoever hears that it is joined still rejects what names others', async () => {
  const made = await connected();
  const room = made.client.join('lobby', { onState: ({ state }) => state === 'joined' && room.epoch === 'e2' && room.leave() });
  made.socket().joined('lobby', 5);
  made.socket().end();
  const edit = kept(made.client.edit('lobby', 3, 'mended'));
  await comeBack(made);
  made.socket().joined('lobby', 4, { epoch: 'e2' });
  assert.equal((await outcome(edit)).error.code, 'epoch_changed');
  assert.deepEqual(texts(made.socket()), []);
});

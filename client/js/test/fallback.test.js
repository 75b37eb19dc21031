// Where WebSocket is blocked: when the client goes over to events and POST, and that all is as ever then.

import test from 'node:test';
import assert from 'node:assert/strict';

import { makeClient, outcome, settle } from './fakes.js';

/** A gateway by HTTP: streams that the test speaks on, and what was posted to each. */
class FakeHTTP {
  streams = [];
  /** Statuses of the next POSTs; 204 when there is none. */
  statuses = [];
  retryAfter = '2';
  maxMessageBytes = 65_536;
  reachable = true;
  /** What a POST waits for. */
  hold = null;

  fetch = async (url, { method = 'GET', body, signal } = {}) => {
    if (!this.reachable) throw new TypeError('nothing answers by HTTP');
    if (method === 'HEAD') return new Response(null, { status: 204 });
    if (method === 'GET') return this.#open(url, signal);
    const stream = this.streams.find((s) => url === s.url.replace(/(?=[?]|$)/, `/${s.name}`));
    assert.ok(stream, `a POST to ${url}`);
    if (this.hold) await this.hold(signal);
    const status = this.statuses.shift() ?? 204;
    assert.ok(body.length <= this.maxMessageBytes, `a POST of ${body.length} characters`);
    if (status === 204) stream.posts.push(body.split('\n').map((line) => JSON.parse(line)));
    return new Response(null, { status, headers: status === 204 ? {} : { 'Retry-After': this.retryAfter } });
  };

  #open(url, signal) {
    const stream = { url, name: `stream-${this.streams.length}`, posts: [], aborted: false };
    const body = new ReadableStream({
      start: (controller) => {
        stream.raw = (text) => controller.enqueue(new TextEncoder().encode(text));
        stream.end = () => controller.close();
        signal.addEventListener('abort', () => {
          stream.aborted = true;
          try {
            controller.error(new DOMException('aborted', 'AbortError'));
          } catch {
            // It has ended already.
          }
        });
      },
    });
    stream.say = (...frames) => stream.raw(frames.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join(''));
    stream.last = (op) => stream.posts.flat().findLast((frame) => op in frame);
    stream.accept = async () => {
      stream.raw(`retry: 2000\nevent: session\ndata: ${stream.name}\n\n`);
      await quiet();
      stream.say({ id: stream.last('connect').id, connected: { user: 'alice', session: 's', heartbeatMs: 0, maxMessageBytes: this.maxMessageBytes } });
      await quiet();
    };
    this.streams.push(stream);
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream; charset=utf-8' } });
  }

  get stream() {
    return this.streams.at(-1);
  }
}

/** Streams take several turns from end to end. */
async function quiet() {
  for (let i = 0; i < 5; i++) await settle();
}

function makeBlocked(options = {}) {
  const http = new FakeHTTP();
  return { http, ...makeClient({ url: 'wss://chat.example/ws', codec: 'binary', fetch: http.fetch, ...options }) };
}

/** Ends the try of a WebSocket before it is open, and lets the next try begin. */
async function refuse({ client, clock, socket }) {
  socket().end();
  await quiet();
  await clock.pass(client.retryAt - clock.now());
  await quiet();
}

async function fallenBack(options) {
  const made = makeBlocked(options);
  made.client.connect();
  await made.clock.pass(0);
  await refuse(made);
  await refuse(made);
  await made.http.stream.accept();
  assert.equal(made.client.state, 'connected');
  return made;
}

test('two WebSockets that do not open while HTTP works have the client go over, and it says so', async () => {
  const { client, http, sockets, states } = await fallenBack();
  assert.equal(sockets.length, 2);
  assert.equal(http.stream.url, 'https://chat.example/events');
  assert.equal(client.transport, 'events');
  assert.deepEqual(states.filter((s) => s.state === 'connecting').map((s) => s.transport), ['websocket', 'websocket', 'websocket']);
  assert.equal(states.at(-1).transport, 'events');
});

test('a WebSocket that nothing answers is enough', async () => {
  const made = makeBlocked({ connectTimeout: 10_000 });
  made.client.connect();
  await made.clock.pass(0);
  await made.clock.pass(10_000);
  await quiet();
  await made.clock.pass(made.client.retryAt - made.clock.now());
  await quiet();
  await made.http.stream.accept();
  assert.equal(made.client.transport, 'events');
  assert.equal(made.sockets.length, 1);
});

test('a server that is away blocks nothing', async () => {
  const made = makeBlocked();
  made.http.reachable = false;
  made.client.connect();
  await made.clock.pass(0);
  for (let i = 0; i < 6; i++) await refuse(made);
  assert.equal(made.sockets.length, 7);
  assert.equal(made.http.streams.length, 0);
});

test('without fallback there is none', async () => {
  const made = makeBlocked({ fallback: false });
  made.client.connect();
  await made.clock.pass(0);
  for (let i = 0; i < 4; i++) await refuse(made);
  assert.equal(made.sockets.length, 5);
  assert.equal(made.http.streams.length, 0);
});

test('an address says where events are', async () => {
  const { http } = await fallenBack({ fallback: 'https://other.example/chat/events' });
  assert.equal(http.stream.url, 'https://other.example/chat/events');
  const asking = await fallenBack({ fallback: 'https://other.example/events?region=2' });
  assert.ok(asking.http.stream.last('connect'));
});

test('rooms, publishes and reads are as ever', async () => {
  const { client, http } = await fallenBack();
  const { stream } = http;
  const seen = [];
  const room = client.join('lobby', { onMessage: ({ text }) => seen.push(text) });
  await quiet();
  stream.say({ id: stream.last('join').id, joined: { room: 'lobby', epoch: 'e1', head: 4 } });
  await room.ready;
  const published = room.publish(new Uint8Array([1, 2]));
  await quiet();
  assert.equal(stream.last('publish').publish.data, 'AQI=', 'JSON, whatever the codec of the WebSocket');
  stream.say(
    { id: stream.last('publish').id, published: { room: 'lobby', seq: 5, at: 1 } },
    { message: { room: 'lobby', seq: 5, at: 1, from: 'alice', text: 'five' } },
  );
  assert.equal((await published).seq, 5);
  const page = client.history('lobby', { limit: 1 });
  await quiet();
  stream.say({ id: stream.last('history').id, history: { room: 'lobby', messages: [], more: false } });
  assert.deepEqual((await page).messages, []);
  // In pieces, a character in two, behind a comment.
  const bytes = ':\n\ndata: {"message":{"room":"lobby","seq":6,"at":1,"from":"bob","text":"sëchs"}}\n\n';
  for (const half of [bytes.slice(0, 20), bytes.slice(20)]) stream.raw(half);
  await quiet();
  assert.deepEqual(seen, ['five', 'sëchs']);
});

test('what is said meanwhile goes together, and one POST after the other', async () => {
  const { client, http } = await fallenBack();
  const before = http.stream.posts.length;
  for (const room of ['a', 'b', 'c', 'd']) client.join(room);
  await quiet();
  const posts = http.stream.posts.slice(before);
  assert.deepEqual(posts.map((frames) => frames.map((frame) => frame.join.room)), [['a'], ['b', 'c', 'd']]);
});

test('a POST that there is no room for is sent again when the server says', async () => {
  const { client, http, clock } = await fallenBack();
  http.statuses.push(503, 429);
  const before = http.stream.posts.length;
  client.join('a');
  await quiet();
  assert.equal(http.stream.posts.length, before);
  await clock.pass(2_000);
  await quiet();
  assert.equal(http.stream.posts.length, before);
  await clock.pass(2_000);
  await quiet();
  assert.equal(http.stream.posts.length, before + 1);
  assert.equal(client.state, 'connected');
});

test('what goes together is no more than the server takes', async () => {
  const made = await fallenBack();
  const { client, http, clock } = made;
  http.maxMessageBytes = 1024; // as another server has it
  http.stream.end();
  await quiet();
  for (let i = 0; i < 40; i++) client.join(`a room with a long name ${i}`);
  await clock.pass(client.retryAt - clock.now());
  await quiet();
  await http.stream.accept();
  for (let i = 0; i < 40; i++) await settle();
  assert.equal(http.stream.posts.flat().filter((frame) => frame.join).length, 40);
});

test('a wait that a proxy asks for is half a minute at most', async () => {
  const { client, http, clock } = await fallenBack();
  http.statuses.push(503);
  http.retryAfter = '3600';
  client.join('a');
  await quiet();
  await clock.pass(30_000);
  await quiet();
  assert.ok(http.stream.last('join'));
});

test('close() ends when what was said before has gone, one POST after the other', async () => {
  const { client, http, clock } = await fallenBack();
  const before = http.stream.posts.length;
  for (const room of ['a', 'b', 'c']) client.join(room).ready.catch(() => {});
  client.close();
  assert.equal(client.state, 'closed');
  assert.equal(http.stream.aborted, false, 'its session would be over');
  await quiet();
  const posts = http.stream.posts.slice(before);
  assert.deepEqual(posts.map((frames) => frames.map((frame) => frame.join.room)), [['a'], ['b', 'c']]);
  assert.ok(http.stream.aborted);
  assert.equal(clock.waiting, 0);
});

test('close() with nothing left to say ends at once', async () => {
  const { client, http, clock } = await fallenBack();
  client.close();
  assert.ok(http.stream.aborted);
  assert.equal(clock.waiting, 0);
});

test('close() has a POST sent again that was refused, but waits for five seconds only, and leaves no timer', async () => {
  for (const [statuses, sent] of [[[503], true], [[503, 503, 503], false]]) {
    const { client, http, clock } = await fallenBack();
    http.statuses.push(...statuses);
    client.join('a').ready.catch(() => {});
    await quiet();
    client.close();
    await clock.pass(4_999);
    await quiet();
    assert.equal(http.stream.last('join') !== undefined, sent);
    assert.equal(http.stream.aborted, sent);
    await clock.pass(1);
    await quiet();
    assert.ok(http.stream.aborted);
    assert.equal(clock.waiting, 0);
    await clock.pass(60_000);
    await quiet();
    assert.equal(http.stream.last('join') !== undefined, sent);
  }
});

test('close() does not wait for a POST that nobody answers', async () => {
  const { client, http, clock } = await fallenBack();
  const signals = [];
  http.hold = (signal) => new Promise(() => signals.push(signal));
  client.join('a').ready.catch(() => {});
  await quiet();
  client.close();
  await clock.pass(4_999);
  assert.equal(signals[0].aborted, false);
  await clock.pass(1);
  assert.ok(signals[0].aborted && http.stream.aborted);
  assert.equal(clock.waiting, 0);
});

test('who is told to go says first what waits', async () => {
  const { client, http, clock } = await fallenBack();
  http.statuses.push(503);
  const published = client.publish('lobby', 'x');
  await quiet();
  const { stream } = http;
  stream.say({ goaway: { reason: 'draining', afterMs: 1_000, windowMs: 0 } });
  await quiet();
  await clock.pass(1_000);
  assert.equal(client.state, 'waiting');
  await clock.pass(1_000);
  await quiet();
  assert.equal(stream.last('publish').publish.text, 'x');
  assert.ok(stream.aborted);
  await http.stream.accept();
  assert.equal(http.stream.last('publish').publish.key, stream.last('publish').publish.key);
  http.stream.say({ id: http.stream.last('publish').id, published: { room: 'lobby', seq: 1, at: 1 } });
  assert.equal((await published).seq, 1);
});

test('an answer that comes late, or to nobody, counts nothing', async () => {
  const asked = [];
  const made = makeBlocked({ codec: 'json', fetch: (url, { signal }) => new Promise((resolve) => asked.push({ resolve, signal })) });
  made.client.connect();
  await made.clock.pass(0);
  await refuse(made);
  made.socket().accept();
  assert.ok(asked[0].signal.aborted);
  asked[0].resolve(new Response(null, { status: 204 }));
  await quiet();
  await refuse(made); // it worked: no sign that it is blocked
  await refuse(made);
  assert.equal(asked.length, 2);
  asked[1].resolve(new Response(null, { status: 204 }));
  await quiet();
  await refuse(made);
  assert.equal(made.client.transport, 'websocket', 'after one that counts');
  made.client.close();
  assert.ok(asked[2].signal.aborted);
});

test('a stream that is no more is opened again, and rooms go on where they were', async () => {
  const made = await fallenBack();
  const { client, http, clock } = made;
  const room = client.join('lobby', { after: 7 });
  await quiet();
  http.stream.say({ id: http.stream.last('join').id, joined: { room: 'lobby', epoch: 'e1', head: 9, recovered: true } });
  await room.ready;
  http.statuses.push(404);
  const published = client.publish('lobby', 'x');
  await quiet();
  assert.equal(client.state, 'waiting');
  assert.ok(http.stream.aborted);
  await clock.pass(client.retryAt - clock.now());
  await quiet();
  assert.equal(http.streams.length, 2, 'without a WebSocket being tried first');
  await http.stream.accept();
  assert.deepEqual(http.stream.last('join').join, { room: 'lobby', after: 7, epoch: 'e1' });
  http.stream.say({ id: http.stream.last('publish').id, published: { room: 'lobby', seq: 10, at: 1 } });
  assert.equal((await published).seq, 10);
});

test('the server ends a stream with a code, as it does a WebSocket', async () => {
  const { client, http } = await fallenBack();
  const { ready } = client.join('lobby');
  await quiet();
  http.stream.say({ id: http.stream.last('join').id, error: { code: 403, name: 'room_forbidden', message: 'no' } }, { close: { code: 4510, reason: 'banned' } });
  await quiet();
  assert.equal((await outcome(ready)).error.code, 'room_forbidden', 'what came before the end is heard');
  assert.equal(client.state, 'closed');
  assert.equal(client.error.status, 4510);
});

test('a question of the server is answered', async () => {
  const { http } = await fallenBack();
  http.stream.say({ ping: {} });
  await quiet();
  assert.ok(http.stream.last('ping'));
});

test('an answer that is no stream is a failure', async () => {
  // A captive portal: everything is answered, with a page.
  const made = makeBlocked({ fetch: async () => new Response('<html>', { headers: { 'Content-Type': 'text/html' } }) });
  made.client.connect();
  await made.clock.pass(0);
  await refuse(made);
  await refuse(made);
  assert.equal(made.client.state, 'waiting');
  assert.equal(made.client.transport, 'events');
  await made.clock.pass(made.client.retryAt - made.clock.now());
  assert.equal(made.client.transport, 'websocket', 'then a WebSocket is tried again');
});

/** Lets ten minutes pass, and the stream end then. */
async function later({ client, http, clock }) {
  await clock.pass(600_000);
  http.stream.end();
  await quiet();
  await clock.pass(client.retryAt - clock.now());
  await quiet();
}

test('after ten minutes a lost connection is begun with a WebSocket, and one failure is enough', async () => {
  const made = await fallenBack();
  await later(made);
  assert.equal(made.sockets.length, 3);
  assert.equal(made.client.transport, 'websocket');
  await refuse(made);
  assert.equal(made.http.streams.length, 2);
  await made.http.stream.accept();
  assert.equal(made.client.transport, 'events');
});

test('a WebSocket that opens again is what is used from then on', async () => {
  const made = await fallenBack({ codec: 'json' });
  await later(made);
  made.socket().accept();
  assert.equal(made.client.state, 'connected');
  assert.equal(made.client.transport, 'websocket');
  await refuse(made);
  assert.equal(made.sockets.length, 4);
  assert.equal(made.http.streams.length, 1);
});

// The parts of the operator's page that know nothing of the document.

import test from 'node:test';
import assert from 'node:assert/strict';

import { Api, HOUR_MS, Refusal, plan } from '../operator/actions.js';
import { groups, limits, state, surveyNote } from '../operator/figures.js';
import { Looks } from '../operator/looks.js';
import { visible } from '../operator/names.js';
import { KEPT, Lines, TraceLog, described, follow } from '../operator/trace.js';
import { bytes, clock, count, duration, latency, rate, sparkline } from '../operator/units.js';

const look = (changes = {}) => ({
  server: { version: 'v1', uptimeSeconds: 5, state: 'serving', development: false },
  connections: { open: 1200, capacity: 20_000, sessions: 1100, protocols: [{ name: 'raw TCP', count: 100 }], subscriptions: 3000, rooms: 70 },
  rates: { opened: 1.25, requests: 10, published: 9, ephemeral: 0, deliveries: 12_345, recentDeliveries: 40, pages: 2, bytesIn: 2048, bytesOut: 1 << 20, commits: 4, publishesRefused: 0 },
  memory: { residentBytes: 50 << 20, heapBytes: 10 << 20, recentBytes: 1 << 20, perConnectionBytes: 43_690, kernelPerSocketBytes: 2500, kernel: { inUse: 1205, timeWait: 3, sockets: 1300, bufferBytes: 1 << 20, slabBytes: 3 << 20 } },
  log: { bytes: 5 << 20, segments: 1, rooms: 7, records: 20, queueBytes: 0, damagedPlaces: 0, deadBytes: 0, expiredRecords: 0, freedBytes: 0, retentionFailures: 0 },
  ship: null,
  publish: { count: 540, overSeconds: 60, p50: 0.0012, p99: 0.0091, p999: 0.02 },
  sync: { count: 0 },
  limits: { refused: [], errors: [], denied: [], closed: [] },
  loops: [{ connections: 600, mailboxBytes: 0 }],
  shards: [{ mailboxBytes: 10 }, { mailboxBytes: 20 }],
  outboundBytes: 0, subscriptionsBehind: 0, slowMode: 0,
  survey: { loops: 2, answered: 2, untallied: 0 },
  ...changes,
});

/** The row of a group. */
const row = (group, name) => group.find((r) => r.name === name);

test('numbers are short and honest', () => {
  assert.deepEqual([0, 0.25, 7, 950, 9999, 12_345, 123_456, 1_234_567, 2.5e9].map(count), ['0', '0.3', '7', '950', '9999', '12.3k', '123k', '1.2M', '2.5G']);
  assert.deepEqual([0, 1023, 1536, 150 * 1024, 5 << 20, 3 * 2 ** 40].map(bytes), ['0 B', '1023 B', '1.5 KiB', '150 KiB', '5.0 MiB', '3.0 TiB']);
  assert.deepEqual([0, 0.0004, 0.0123, 0.5, 1.25, 60].map(latency), ['0 ms', '0.40 ms', '12.3 ms', '500 ms', '1.25 s', '60.0 s']);
  assert.deepEqual([0, 119, 120, 3599, 12_000, 50 * 3600].map(duration), ['0 s', '119 s', '2 min', '59 min', '3 h 20 min', '2 d 2 h']);
  assert.equal(rate(1.24), '1.2/s');
  assert.equal(count(NaN), '–');
  assert.equal(clock(new Date(2026, 0, 1, 3, 4, 5, 67)), '03:04:05.067');
});

test('a line ends at the right and stays in its box', () => {
  assert.equal(sparkline([0, 5, 10], 240, 40, 3), '0.0,39.0 120.0,20.0 240.0,1.0');
  assert.equal(sparkline([0], 240, 40, 120), '240.0,39.0');
  assert.equal(sparkline([], 240, 40, 120), '');
});

test('a look in words', () => {
  const { connections, traffic, latency: times, memory, log } = groups(look());
  assert.equal(row(connections, 'Open').value, '1200 of 20.0k');
  assert.equal(row(connections, 'raw TCP').value, '100');
  assert.equal(row(traffic, 'Deliveries out').value, '12.3k/s');
  assert.deepEqual(times.slice(0, 4).map(({ name, value }) => `${name}: ${value}`), ['Publish, median: 1.20 ms', 'Publish, 99 %: 9.10 ms', 'Publish, 99.9 %: 20.0 ms', 'Sync: none yet']);
  assert.equal(row(times, 'Shards').hint, '30 B waiting');
  assert.equal(row(memory, 'For a connection').value, '42.7 KiB');
  assert.match(row(memory, 'Kernel: structures').hint, /of the machine/);
  assert.equal(row(log, 'Shipped copy').value, 'off');
  for (const group of Object.values(groups(look()))) assert.deepEqual(group.filter(({ tone }) => tone !== ''), []);
});

test('what is a matter of concern has a tone', () => {
  const wrong = look({
    connections: { ...look().connections, open: 20_000 },
    log: { ...look().log, fault: 'no space left on device', damagedPlaces: 1, retentionFailures: 2 },
    ship: { behindSeconds: 300, errors: 3, refused: false },
    subscriptionsBehind: 4,
  });
  const { connections, traffic, memory, log } = groups(wrong);
  assert.equal(row(connections, 'Open').tone, 'bad');
  assert.equal(row(traffic, 'Rooms behind').tone, 'wait');
  assert.match(row(traffic, 'Rooms behind').hint, /^40\/s from memory, 2\/s pages of the log$/);
  assert.equal(row(memory, 'Last messages of rooms').value, '1.0 MiB');
  assert.match(row(log, 'State').value, /no space left/);
  for (const name of ['State', 'Damaged places', 'Retention', 'Shipped copy']) assert.equal(row(log, name).tone, 'bad', name);
  assert.equal(row(groups(look({ ship: { behindSeconds: 0, errors: 0, refused: true } })).log, 'Shipped copy').tone, 'bad');
});

test('the kernel may not tell', () => {
  const { memory } = look();
  const closed = groups(look({ memory: { ...memory, kernel: { ...memory.kernel, slabBytes: 0, slabFault: 'permission denied' } } })).memory;
  assert.deepEqual([row(closed, 'Kernel: structures').value, row(closed, 'Kernel: structures').hint, row(closed, 'Kernel, for a socket').hint], ['unknown', 'permission denied', 'buffers only']);
  assert.equal(row(groups(look({ memory: { ...memory, kernel: { fault: 'no /proc' } } })).memory, 'Kernel').hint, 'no /proc');
});

test('limits that were hit stand in the order of how often they are', () => {
  const rows = limits(look({ limits: {
    refused: [{ name: 'address', count: 5 }], errors: [{ name: 'rate_limited', count: 3, perSecond: 2 }], denied: [], closed: [{ name: 'peer', count: 90 }],
  } }));
  assert.deepEqual(rows.map(({ key, perSecond }) => [key, perSecond]), [['request error rate_limited', 2], ['closed peer', 0], ['connection refused address', 0]]);
});

test('the state has a tone, and a reason where it is in trouble', () => {
  const of = (word, problem) => state(look({ server: { state: word, problem } }));
  assert.deepEqual(of('serving'), { word: 'serving', tone: 'good', reason: '' });
  assert.deepEqual(of('draining', 'draining'), { word: 'draining', tone: 'wait', reason: '' });
  assert.deepEqual(of('in trouble', 'full: 3 connections'), { word: 'in trouble', tone: 'bad', reason: 'full: 3 connections' });
});

test('a survey that is not whole says so', () => {
  assert.equal(surveyNote(look()), '');
  assert.equal(surveyNote(look({ survey: { loops: 4, answered: 3, untallied: 12 } })), '1 of 4 loops did not answer in time. 12 deliveries were in rooms beyond those that are counted.');
});

test('looks that are lost are said to be, and come again', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const sources = [];
  const told = [];
  const looks = new Looks(() => {
    sources.push({ readyState: 1, close() { this.readyState = 2; } });
    return sources.at(-1);
  }, { look: ({ n }) => told.push(n), lost: () => told.push('lost') });
  looks.start();
  sources[0].onmessage({ data: '{"n":1}' });
  t.mock.timers.tick(4999);
  assert.deepEqual(told, [1]);
  t.mock.timers.tick(1);
  assert.deepEqual(told, [1, 'lost']);
  sources[0].onerror(); // the browser tries by itself
  t.mock.timers.tick(10_000);
  assert.equal(sources.length, 1);
  sources[0].readyState = 2; // it was refused: the browser does not
  sources[0].onerror();
  t.mock.timers.tick(3000);
  assert.equal(sources.length, 2);
  sources[1].onmessage({ data: '{"n":2}' });
  assert.equal(told.at(-1), 2);
  looks.stop();
  t.mock.timers.tick(60_000);
  assert.deepEqual([told.at(-1), sources.length], [2, 2]);
});

test('a request bears the key, and a refusal is told in the server’s words', async () => {
  const asked = [];
  let answer = new Response(null, { status: 204 });
  const api = new Api(async (path, options) => {
    asked.push({ path, ...options });
    return answer;
  });
  await assert.rejects(api.ask('PUT', '/x', {}), { constructor: Refusal, message: /Enter a key/ });
  assert.equal(asked.length, 0);
  api.key = ' secret \n';
  await api.ask('PUT', '/x', { reason: 'r' });
  assert.deepEqual(asked[0].headers, { Authorization: 'Bearer secret', 'Content-Type': 'application/json' });
  assert.deepEqual([asked[0].method, asked[0].body, asked[0].redirect], ['PUT', '{"reason":"r"}', 'error']);
  answer = Response.json({ error: { message: 'The key "k" lacks the scope users.' } }, { status: 403 });
  await assert.rejects(api.ask('DELETE', '/x'), { message: 'The key "k" lacks the scope users.' });
  assert.equal(asked[1].headers['Content-Type'], undefined);
  answer = new Response('A page of another origin asks for this, which is refused.\n', { status: 403 });
  await assert.rejects(api.ask('GET', '/x'), { message: 'A page of another origin asks for this, which is refused.' });
  answer = new Response('<html>502</html>', { status: 502 });
  await assert.rejects(api.ask('GET', '/x'), { message: 'The server answered 502.' });
  answer = Promise.reject(new TypeError('failed'));
  await assert.rejects(api.ask('GET', '/x'), { constructor: Refusal, message: /did not answer/ });
});

test('what is to be done, as a request and in words', () => {
  const of = (...all) => (({ method, path, body }) => [method, path, body])(plan(...all));
  assert.deepEqual(of('kick', { user: 'a/b' }), ['POST', '/v1/users/a%2Fb/disconnect', {}]);
  assert.deepEqual(of('ban', { user: 'bob', reason: 'spam', forMs: HOUR_MS }), ['PUT', '/v1/users/bob/ban', { reason: 'spam', forMs: HOUR_MS }]);
  assert.deepEqual(of('ban', { user: 'bob' }), ['PUT', '/v1/users/bob/ban', {}]);
  assert.deepEqual(of('unban', { user: 'bob', reason: 'x' }), ['DELETE', '/v1/users/bob/ban', undefined]);
  assert.deepEqual(of('kick', { user: 'bob', room: 'group:x y', forMs: HOUR_MS }), ['POST', '/v1/rooms/group%3Ax%20y/members', { user: 'bob', action: 'kick' }]);
  assert.deepEqual(of('ban', { user: 'bob', room: 'g', forMs: HOUR_MS }), ['POST', '/v1/rooms/g/members', { user: 'bob', action: 'ban', forMs: HOUR_MS }]);
  assert.equal(plan('ban', { user: 'bob', forMs: 24 * HOUR_MS }).question, 'Ban “bob” from the server for a day?');
  assert.equal(plan('unban', { user: 'bob', room: 'g' }).question, 'Lift the ban of “bob” from the room “g”?');
});

test('what a browser would ask of another path is refused, whatever else has that name is not', () => {
  for (const name of ['.', '..']) {
    assert.equal(new URL(`/v1/users/${name.replaceAll('.', '%2E')}/ban`, 'http://h').pathname.endsWith(`${name}/ban`), false); // why
    for (const act of ['kick', 'ban', 'unban']) {
      assert.throws(() => plan(act, { user: name }), { constructor: Refusal, message: /curl --path-as-is, and (%2E)+ for the name/ });
      assert.throws(() => plan(act, { user: 'bob', room: name }), Refusal);
      assert.equal(plan(act, { user: name, room: 'g' }).body.user, name);
    }
  }
  for (const name of ['...', '.a', '%2e', '/', 'é']) {
    const { pathname } = new URL(plan('ban', { user: name }).path, 'http://h');
    assert.equal(decodeURIComponent(pathname.split('/')[3]), name);
  }
});

test('lines come in pieces', () => {
  const lines = new Lines();
  assert.deepEqual(lines.take('{"a":1}\n{"a"'), [{ a: 1 }]);
  assert.deepEqual(lines.take(':2}'), []);
  assert.deepEqual(lines.take('\n\n{"a":3}\n'), [{ a: 2 }, { a: 3 }]);
});

test('an answer is followed to its end, characters that are cut among it', async () => {
  const whole = new TextEncoder().encode('{"kind":"begin","user":"Zoë"}\n{"kind":"alive"}\n');
  const body = new ReadableStream({
    start(controller) {
      for (const byte of whole) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const told = [];
  await follow({ body }, (line) => told.push(line));
  assert.deepEqual(told, [{ kind: 'begin', user: 'Zoë' }, { kind: 'alive' }]);
});

test('a trace in words, and bounded', () => {
  const frame = { kind: 'frame', at: '2026-01-31T10:00:00Z', session: '0-1-2', direction: 'in', operation: 'publish', room: 'lobby', id: 3, bytes: 40 };
  assert.deepEqual(described(frame), { at: new Date(frame.at), direction: 'in', what: 'publish', room: 'lobby', detail: 'request 3, 40 bytes, 0-1-2', tone: '' });
  assert.deepEqual((({ what, tone }) => [what, tone])(described({ ...frame, direction: 'out', operation: 'error', error: 'rate_limited' })), ['error: rate_limited', 'bad']);
  assert.equal(described({ kind: 'frame', direction: 'ended', session: 's', error: 'peer' }).what, 'session ended: peer');
  assert.equal(described({ kind: 'alive' }), null);
  assert.equal(described({ kind: 'of a later version' }), null);
  const log = new TraceLog();
  for (let i = 0; i < KEPT + 20; i++) log.add({ ...frame, id: i });
  log.add({ kind: 'dropped', count: 7 });
  assert.deepEqual([log.rows.length, log.missed, new Set(log.rows.map(({ key }) => key)).size], [KEPT, 7, KEPT]);
  assert.match(log.rows.at(-1).what, /7 frames are missing/);
});

test('a name that turns the direction of text turns nothing that an operator reads', () => {
  const name = 'bob\u202e ton ,\u2069\u200f';
  const shown = 'bob[U+202E] ton ,[U+2069][U+200F]';
  assert.equal(visible(name), shown);
  assert.equal(visible('عمر 👩‍🚀'), 'عمر 👩‍🚀');
  for (const act of ['kick', 'ban', 'unban']) {
    for (const room of ['', name]) {
      const planned = plan(act, { user: name, room });
      for (const sentence of [planned.question, planned.done]) assert.equal(sentence.replaceAll(shown, '').includes('\u202e'), false, sentence);
      assert.match(planned.question, /bob\[U\+202E\]/);
      assert.equal(decodeURIComponent(planned.path).includes(name), true, 'what is asked for is the name itself');
    }
  }
  assert.equal(described({ kind: 'frame', at: 0, direction: 'in', operation: 'join', room: name, session: 's' }).room, shown);
});

import test from 'node:test';
import assert from 'node:assert/strict';

import { retryDelay } from '../backoff.js';
import { Rookery, shouldReconnect } from '../rookery.js';
import { connected, kept, makeClient, outcome, reconnect, settle } from './fakes.js';

test('backoff: full jitter under a doubling ceiling, on top of the hint', () => {
  const low = () => 0;
  const high = () => 1 - Number.EPSILON;
  assert.equal(retryDelay(low, 0), 0);
  assert.equal(Math.round(retryDelay(high, 0)), 500);
  assert.equal(Math.round(retryDelay(high, 1)), 1_000);
  assert.equal(Math.round(retryDelay(high, 5)), 16_000);
  assert.equal(Math.round(retryDelay(high, 6)), 30_000);
  assert.equal(Math.round(retryDelay(high, 5_000)), 30_000, 'no overflow');
  assert.equal(retryDelay(low, 3, { hintMs: 700 }), 700);
  assert.equal(retryDelay(() => 0.5, 0, { hintMs: 700 }), 950);
});

test('the first connection starts at once, or within initialSpread', async () => {
  const now = makeClient();
  now.client.connect();
  await now.clock.pass(0);
  assert.equal(now.sockets.length, 1);

  const spread = makeClient({ initialSpread: 1_000, random: () => 0.5 });
  spread.client.connect();
  await spread.clock.pass(499);
  assert.equal(spread.sockets.length, 0);
  await spread.clock.pass(1);
  assert.equal(spread.sockets.length, 1);
});

test('connects: one subprotocol offered, connect is the first request', async () => {
  const { client, clock, socket, states } = makeClient();
  const promise = client.connect();
  await clock.pass(0);
  assert.equal(socket().protocol, 'rookery.v1.json');
  assert.deepEqual(socket().sent, []);
  socket().accept();
  assert.deepEqual(socket().sent, [{ id: 1, connect: { name: 'alice' } }]);
  assert.equal((await promise).user, 'alice');
  assert.deepEqual(states.map((s) => s.state), ['waiting', 'connecting', 'connected']);
});

test('waits grow with each failure, also for a connection that does not stay up', async () => {
  const { client, clock, socket, states } = makeClient();
  client.connect();
  await clock.pass(0);
  const waits = [];
  for (let i = 0; i < 9; i++) {
    if (i % 2) socket().accept();
    socket().end();
    assert.equal(client.state, 'waiting');
    waits.push(client.retryAt - clock.now());
    assert.equal(states.at(-1).retryAt, client.retryAt);
    await clock.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

test('a connection that stayed up forgives earlier failures, one that did not does not', async () => {
  const made = makeClient();
  made.client.connect();
  await made.clock.pass(0);
  for (let i = 0; i < 4; i++) {
    made.socket().end();
    await made.clock.pass(made.client.retryAt - made.clock.now());
  }
  made.socket().accept();
  await made.clock.pass(9_999);
  made.socket().end();
  assert.equal(made.client.retryAt - made.clock.now(), 4_000);
  await made.clock.pass(4_000);
  made.socket().accept();
  await made.clock.pass(10_000);
  made.socket().end();
  assert.equal(made.client.retryAt - made.clock.now(), 250);
});

test('the end of a connection says whether to come back', async () => {
  const back = [1000, 1001, 1005, 1006, 1011, 1012, 3000, 4000, 4001, 4007, 4499, 5000];
  const stay = [1002, 1003, 1007, 1009, 4500, 4501, 4999];
  for (const code of back) assert.equal(shouldReconnect(code), true, String(code));
  for (const code of stay) assert.equal(shouldReconnect(code), false, String(code));
  for (const code of [...back, ...stay]) {
    const { client, clock, socket, sockets } = await connected();
    const waitingPublish = kept(client.publish('lobby', 'x'));
    socket().end(code, 'why');
    assert.equal(client.state, back.includes(code) ? 'waiting' : 'closed', String(code));
    assert.equal(client.error.status, code);
    await clock.pass(1_000);
    assert.equal(sockets.length, back.includes(code) ? 2 : 1, String(code));
    if (stay.includes(code)) {
      const { error } = await outcome(waitingPublish);
      assert.equal(error.code, 'closed');
      assert.equal(error.key, 'abababababababab-1');
      assert.equal(clock.waiting, 0, 'no timer outlives the client');
    }
  }
});

test('errors to connect: retry comes back after the hint, the rest is final', async () => {
  const busy = makeClient();
  busy.client.connect();
  await busy.clock.pass(0);
  busy.socket().open();
  busy.socket().refuse('connect', 'too_many_connections', { code: 429, retry: true, retryAfterMs: 3_000 });
  assert.equal(busy.client.state, 'waiting');
  assert.equal(busy.client.retryAt - busy.clock.now(), 3_250);
  assert.equal(busy.socket().closedWith.code, 1000);

  const wrong = makeClient({ token: 'bad' });
  const promise = wrong.client.connect();
  await wrong.clock.pass(0);
  wrong.socket().open();
  wrong.socket().refuse('connect', 'unauthorized', { code: 401 });
  assert.equal(wrong.client.state, 'closed');
  assert.equal((await outcome(promise)).error.code, 'unauthorized');
});

test('a token function is asked before every try; what it throws is a failed try', async () => {
  const tokens = ['first', new Error('sign-in service is down'), 'third'];
  const made = makeClient({
    token: async () => {
      const token = tokens.shift();
      if (token instanceof Error) throw token;
      return token;
    },
  });
  made.client.connect();
  await made.clock.pass(0);
  made.socket().accept();
  assert.deepEqual(made.socket().last('connect').connect, { token: 'first' });
  made.socket().end(4006, 'token_expired');
  await made.clock.pass(250);
  assert.equal(made.client.state, 'waiting');
  assert.match(made.client.error.message, /sign-in service is down/);
  await made.clock.pass(500);
  made.socket().open();
  assert.deepEqual(made.socket().last('connect').connect, { token: 'third' });
  made.socket().refuse('connect', 'token_expired', { code: 401 });
  assert.equal(made.client.state, 'waiting', 'an expired token is renewed');
});

test('a token is renewed on the open connection, with a new one of the function', async () => {
  const tokens = ['first', 'second', 'third', new Error('sign-in service is down')];
  const made = makeClient({
    token: async () => {
      const token = tokens.shift();
      if (token instanceof Error) throw token;
      return token;
    },
  });
  const refused = [];
  made.client.on('refused', (error) => refused.push(error.code));
  await made.client.renew();
  assert.equal(tokens.length, 4, 'without a connection there is nothing to renew');
  made.client.connect();
  await made.clock.pass(0);
  made.socket().accept();

  await made.client.renew();
  assert.deepEqual(made.socket().last('connect').connect, { token: 'second' });
  made.socket().refuse('connect', 'user_changed', { code: 409 });
  assert.deepEqual(refused, ['user_changed']);
  assert.equal(made.client.state, 'connected');

  const renewal = made.client.renew();
  const before = made.socket();
  before.end(1006);
  await renewal;
  assert.deepEqual(before.last('connect').connect, { token: 'second' }, 'a connection that has gone is told nothing');

  tokens.unshift('fourth');
  await made.clock.pass(250);
  made.socket().accept();
  await assert.rejects(made.client.renew(), /service is down/);
  assert.equal(made.client.state, 'connected', 'a token that can not be had yet ends nothing');
});

test('a fixed token can not be renewed', async () => {
  const { client } = await connected({ token: 'fixed' });
  await assert.rejects(client.renew(), /no function/);
});

test('an expired fixed token is final', async () => {
  const closed = await connected({ token: 'fixed' });
  closed.socket().end(4006, 'token_expired');
  assert.equal(closed.client.state, 'closed');

  const refused = makeClient({ token: 'fixed' });
  refused.client.connect();
  await refused.clock.pass(0);
  refused.socket().open();
  refused.socket().refuse('connect', 'token_expired', { code: 401 });
  assert.equal(refused.client.state, 'closed');
});

test('a token that comes after the try was given up is not used', async () => {
  const handed = [];
  const made = makeClient({ token: () => new Promise((resolve) => handed.push(resolve)) });
  made.client.connect();
  await made.clock.pass(10_000);
  assert.equal(made.client.state, 'waiting');
  handed[0]('late');
  await made.clock.pass(0);
  assert.equal(made.sockets.length, 0);
  await made.clock.pass(250);
  handed[1]('fresh');
  await made.clock.pass(0);
  assert.equal(made.sockets.length, 1);
});

test('a token function that fails after the try was given up is not a second failure', async () => {
  const handed = [];
  const made = makeClient({ token: () => new Promise((_, reject) => handed.push(reject)) });
  made.client.connect();
  await made.clock.pass(10_000);
  const { retryAt } = made.client;
  handed[0](new Error('late'));
  await made.clock.pass(0);
  assert.equal(made.client.retryAt, retryAt);
  assert.equal(made.states.at(-1).failures, 1);
});

test('a server that accepts the socket and says nothing is given up', async () => {
  const { client, clock, socket, sockets } = makeClient();
  client.connect();
  await clock.pass(0);
  socket().open();
  await clock.pass(9_999);
  assert.equal(client.state, 'connecting');
  await clock.pass(1);
  assert.equal(client.state, 'waiting');
  const first = sockets[0];
  assert.notEqual(first.closedWith, null);
  await clock.pass(250);
  first.say({ id: 1, connected: { user: 'ghost' } });
  first.raw('no frame');
  first.end(4500);
  assert.equal(client.state, 'connecting', 'late events of a dropped socket are not looked at');
});

test('goaway: nothing new is sent, then close 1000, then back within the window', async () => {
  const made = await connected();
  const { client, clock, socket } = made;
  const gone = [];
  client.on('goaway', (event) => gone.push(event.reason));
  const inFlight = client.publish('lobby', 'before');
  socket().say({ goaway: { reason: 'draining', afterMs: 1_200, windowMs: 30_000 } });
  assert.deepEqual(gone, ['draining']);
  const held = client.publish('lobby', 'held');
  const elsewhere = client.publish('attic', 'held too');
  assert.equal(socket().requests('publish').length, 1);
  socket().reply('publish', { published: { room: 'lobby', seq: 1, at: 1 } });
  assert.equal((await outcome(inFlight)).value.seq, 1, 'replies are still taken');
  assert.equal(socket().requests('publish').length, 1);
  await clock.pass(1_199);
  assert.equal(client.state, 'connected');
  const before = socket();
  await clock.pass(1);
  assert.equal(before.closedWith.code, 1000);
  assert.equal(client.state, 'waiting');
  assert.equal(client.retryAt - clock.now(), 15_000, 'half of the window');
  await clock.pass(15_000);
  socket().accept();
  assert.deepEqual(socket().requests('publish').map((f) => f.publish.text), ['held', 'held too']);
  assert.equal(await outcome(held), 'waiting');
  assert.equal(await outcome(elsewhere), 'waiting');
});

test('goaway: a server that closes early is left alone for the window too', async () => {
  const { client, clock, socket } = await connected();
  socket().say({ goaway: { reason: 'draining', afterMs: 1_200, windowMs: 30_000 } });
  socket().end(4000, 'draining');
  assert.equal(client.retryAt - clock.now(), 15_000);
});

test('after goaway the next failure counts from the start', async () => {
  const { client, clock, socket } = await connected();
  socket().say({ goaway: { reason: 'draining', afterMs: 0, windowMs: 0 } });
  await clock.pass(0);
  assert.equal(client.retryAt - clock.now(), 250, 'never less than the base');
  await clock.pass(250);
  socket().end();
  assert.equal(client.retryAt - clock.now(), 250);
});

test('wake ends a wait, and does not add a second try', async () => {
  const { client, clock, socket, sockets } = await connected();
  socket().end();
  client.wake();
  assert.equal(client.state, 'connecting');
  assert.equal(sockets.length, 2);
  await clock.pass(5_000);
  assert.equal(sockets.length, 2);
});

test('close is final, asks for nothing back and leaves no timer', async () => {
  const { client, clock, socket, sockets } = await connected();
  const room = client.join('lobby');
  const publish = kept(client.publish('lobby', 'x'));
  const history = kept(client.history('lobby'));
  client.close();
  assert.equal(socket().closedWith.code, 1000);
  assert.equal(client.state, 'closed');
  assert.equal(room.state, 'left');
  const late = [kept(client.publish('lobby', 'y')), kept(client.history('lobby'))];
  for (const promise of [publish, history, room.ready, ...late]) {
    assert.equal((await outcome(promise)).error.code, 'closed');
  }
  assert.throws(() => client.join('attic'), { code: 'closed' });
  assert.equal(clock.waiting, 0);
  await clock.pass(60_000);
  assert.equal(sockets.length, 1);
});

test('who asks for something on hearing that it is connected asks once', async () => {
  const { client, clock, socket } = makeClient();
  client.on('state', ({ state }) => {
    if (state !== 'connected') return;
    client.join('lobby');
    client.publish('lobby', 'hello').catch(() => {});
    client.history('lobby').catch(() => {});
  });
  client.connect();
  await clock.pass(0);
  socket().accept();
  assert.deepEqual(socket().sent.map((frame) => Object.keys(frame)[1]), ['connect', 'join', 'publish', 'history']);
});

test('closed by the application on hearing that it is connected: nothing more is sent', async () => {
  const { client, clock, socket } = makeClient({ watchRooms: true });
  client.setAway(true);
  client.on('state', ({ state }) => state === 'connected' && client.close());
  client.connect();
  await clock.pass(0);
  socket().accept();
  await settle(); // what a listener of the socket throws fails the test
  assert.equal(client.state, 'closed');
  assert.equal(clock.waiting, 0);
});

test('closed by the application while it hears of a loss: no try follows', async () => {
  const { client, clock, socket, sockets } = await connected();
  client.on('state', ({ state }) => state === 'waiting' && client.close());
  client.join('lobby');
  socket().end();
  assert.equal(client.state, 'closed');
  await clock.pass(60_000);
  assert.equal(sockets.length, 1);
  assert.equal(clock.waiting, 0);
});

test('bytes that are no frame end the connection, and the client comes back', async () => {
  for (const bad of ['no json', '{"message":[]}', new ArrayBuffer(3)]) {
    const { client, socket } = await connected();
    socket().raw(bad);
    assert.equal(socket().closedWith.code, 4500);
    assert.equal(client.state, 'waiting');
    assert.equal(client.error.code, 'connection_dead');
  }
});

test('a reply of another kind ends the connection; one to no request is nothing', async () => {
  const { client, socket } = await connected();
  socket().say({ id: 77, pong: {} }, { novelty: {} }, { close: { code: 4000, reason: 'draining' } });
  assert.equal(client.state, 'connected');
  client.join('lobby');
  socket().reply('join', { published: { room: 'lobby', seq: 1, at: 1 } });
  assert.equal(socket().closedWith.code, 4500);
  assert.equal(client.state, 'waiting');
});

test('what stands behind the end of a connection in one message is not looked at', async () => {
  const { client, clock, socket } = await connected();
  client.join('lobby');
  const { id } = socket().last('join');
  socket().say({ id, pong: {} }, { goaway: { reason: 'draining', afterMs: 100, windowMs: 30_000 } });
  assert.equal(client.state, 'waiting');
  assert.equal(clock.waiting, 1, 'the wait, and nothing of goaway');
});

test('requests of a lost connection get no answer from the next one', async () => {
  const made = await connected();
  const publish = made.client.publish('lobby', 'x');
  const { id } = made.socket().last('publish');
  await reconnect(made);
  const again = made.socket().last('publish');
  made.sockets[0].say({ id, published: { room: 'lobby', seq: 9, at: 9 } });
  assert.equal(await outcome(publish), 'waiting');
  made.socket().say({ id: again.id, published: { room: 'lobby', seq: 3, at: 4 } });
  assert.deepEqual((await outcome(publish)).value, { seq: 3, at: 4, key: again.publish.key });
});

test('options that cannot work are refused at once', () => {
  const WebSocket = class {};
  const cases = [
    [{ url: 'ws://h/ws', WebSocket }, /token.*or name/],
    [{ url: 'ws://h/ws', WebSocket, name: 'a', token: 'b' }, /token.*or name/],
    [{ url: 'ws://h/ws', WebSocket, name: 'a', codec: 'xml' }, /codec/],
    [{ url: 'ws://h/ws', WebSocket: 7, name: 'a' }, /WebSocket/],
    [{ WebSocket, name: 'a' }, /Invalid URL/],
  ];
  for (const [options, pattern] of cases) assert.throws(() => new Rookery(options), pattern);
});

test('an address that the platform refuses is final', async () => {
  class WebSocket {
    constructor() {
      throw new SyntaxError('mixed content');
    }
  }
  const { client, clock } = makeClient({ WebSocket });
  const promise = client.connect();
  await clock.pass(0);
  assert.equal(client.state, 'closed');
  assert.match((await outcome(promise)).error.message, /mixed content/);
});

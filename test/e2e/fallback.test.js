// The JavaScript client through a proxy that lets no WebSocket through, in Node and in the chat page: it chats over events and
// POST, and goes on over them when the server is killed.

import test from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import WebSocket from 'ws';

import { Rookery } from '../../client/js/rookery.js';
import { becomes } from './becomes.js';
import { closeBrowser, newContext, openBrowser } from './person.js';
import { Server } from './server.js';

/** A proxy in front of the server that answers every upgrade with 403, and keeps its connections to the server. */
async function blockUpgrades(t, server) {
  const agent = new http.Agent({ keepAlive: true });
  let refused = 0;
  const proxy = http.createServer((request, response) => {
    const passed = http.request(
      { host: '127.0.0.1', port: server.port, path: request.url, method: request.method, headers: request.headers, agent },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        answer.on('error', () => response.destroy());
        response.on('close', () => answer.destroy());
      },
    );
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    request.pipe(passed);
  });
  proxy.on('upgrade', (request, socket) => {
    refused++;
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => {
    proxy.closeAllConnections();
    proxy.close();
    agent.destroy();
  });
  return { address: `http://127.0.0.1:${proxy.address().port}`, refused: () => refused };
}

test('the client chats through a proxy that blocks WebSocket, and over a kill', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const proxy = await blockUpgrades(t, server);
  const behind = new Rookery({ url: `${proxy.address}/ws`, WebSocket, name: 'ann', backoffCap: 400 });
  const outside = new Rookery({ url: server.socketAddress, WebSocket, name: 'bob', backoffCap: 400 });
  t.after(() => {
    behind.close();
    outside.close();
  });
  const seen = [];
  const room = behind.join('lobby', { after: 0, onMessage: ({ seq, from, text }) => seen.push(`${seq} ${from} ${text}`) });
  await Promise.all([behind.connect(), outside.connect(), room.ready]);
  assert.equal(behind.transport, 'events');
  assert.equal(outside.transport, 'websocket');
  assert.ok(proxy.refused() >= 2, `${proxy.refused()} WebSockets were tried`);

  await room.publish('hello');
  await outside.publish('lobby', 'hi');
  room.watchPresence();
  await room.publish(new Uint8Array([1, 2, 3]));
  await becomes(() => seen, ['1 ann hello', '2 bob hi', '3 ann undefined']);
  assert.deepEqual((await behind.history('lobby', { limit: 2 })).messages.map((m) => m.seq), [2, 3]);
  assert.ok((await room.receipts()).receipts);

  await server.kill();
  const held = Promise.all([room.publish('held'), outside.publish('lobby', 'held too')]);
  await server.start();
  await held;
  const many = 200;
  await Promise.all(Array.from({ length: many }, (_, i) => (i % 2 ? room.publish(`n${i}`) : outside.publish('lobby', `n${i}`))));
  await becomes(() => seen.map((line) => Number(line.split(' ')[0])), Array.from({ length: 5 + many }, (_, i) => i + 1));
  assert.equal(behind.transport, 'events');
});

test('a browser chats through it, with the client and with nothing but an EventSource', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const proxy = await blockUpgrades(t, server);
  await openBrowser();
  t.after(closeBrowser);
  const page = await (await newContext()).newPage();
  // The page's own modules, and its content security policy.
  await page.goto(proxy.address);
  const said = await page.evaluate(async () => {
    const { Rookery } = await import('/client/rookery.js');
    const client = new Rookery({ name: 'ann' });
    const heard = new Promise((resolve) => client.join('lobby', { onMessage: resolve }));
    await client.connect();
    await client.publish('lobby', 'hello from a browser');
    const { text, from } = await heard;
    const source = new EventSource('/events?name=bob&room=lobby');
    const joined = new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => 'joined' in JSON.parse(data) && resolve(lastEventId);
    });
    const before = await joined;
    const next = new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => resolve({ text: JSON.parse(data).message.text, moved: lastEventId !== before });
    });
    await client.publish('lobby', 'and another');
    const plain = await next;
    source.close();
    const { transport } = client;
    client.close();
    return { text, from, transport, plain };
  });
  assert.deepEqual(said, { text: 'hello from a browser', from: 'ann', transport: 'events', plain: { text: 'and another', moved: true } });
});

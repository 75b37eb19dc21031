// Web Push from end to end, but for the push service of the browser's maker, which is on the internet: a stand-in takes what the server
// sends and reads it with the keys of the subscription, and the worker gets it by the browser's developer tools.

import test from 'node:test';
import assert from 'node:assert/strict';
import { createDecipheriv, createECDH, hkdfSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { becomes } from './becomes.js';
import { DESK, PHONE, Person, client, closeBrowser, newContext, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

const flags = [
  '--push.web-push-key', 'q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94', '--push.web-push-contact', 'mailto:ops@chat.example',
  '--push.after', '100ms', '--push.window', '0s', '--push.text',
];

/** A push service with one subscription, whose keys a browser would keep for itself. */
class PushService {
  #keys = createECDH('prime256v1');
  #auth = randomBytes(16);
  #arrived = [];
  #waiting = [];

  static async start(t) {
    const service = new PushService();
    service.#keys.generateKeys();
    const server = createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      response.writeHead(201).end();
      service.#arrive({ path: request.url, headers: request.headers, text: service.#read(Buffer.concat(parts)) });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    service.address = `http://127.0.0.1:${server.address().port}`;
    return service;
  }

  subscription(path) {
    const p256dh = this.#keys.getPublicKey('base64url');
    return { endpoint: this.address + path, keys: { p256dh, auth: this.#auth.toString('base64url') } };
  }

  /** What the server sent next. */
  async next() {
    if (this.#arrived.length > 0) return this.#arrived.shift();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #arrive(message) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(message);
    else this.#arrived.push(message);
  }

  /** RFC 8188 section 2 and RFC 8291 section 3.4. */
  #read(body) {
    const [salt, idLength] = [body.subarray(0, 16), body[20]];
    const sender = body.subarray(21, 21 + idLength);
    const sealed = body.subarray(21 + idLength);
    const derive = (secret, salted, info, length) => Buffer.from(hkdfSync('sha256', secret, salted, info, length));
    const info = Buffer.concat([Buffer.from('WebPush: info\0'), this.#keys.getPublicKey(), sender]);
    const input = derive(this.#keys.computeSecret(sender), this.#auth, info, 32);
    const key = derive(input, salt, 'Content-Encoding: aes128gcm\0', 16);
    const opened = createDecipheriv('aes-128-gcm', key, derive(input, salt, 'Content-Encoding: nonce\0', 12));
    opened.setAuthTag(sealed.subarray(-16));
    const padded = Buffer.concat([opened.update(sealed.subarray(0, -16)), opened.final()]);
    return padded.subarray(0, padded.lastIndexOf(2)).toString();
  }
}

/** A person whose browser has the stand-in for its push service. */
async function arrive(t, server, name, subscription, { permission = 'granted', viewport = DESK, colorScheme = 'light', script } = {}) {
  const context = await newContext({ viewport, colorScheme });
  t.after(() => context.close());
  if (permission === 'granted') await context.grantPermissions(['notifications'], { origin: server.address });
  await context.addInitScript(([made, allowed]) => {
    if (allowed !== 'granted') {
      Object.defineProperty(Notification, 'permission', { get: () => allowed });
      Notification.requestPermission = async () => allowed;
    }
    const known = () => {
      const key = localStorage.getItem('test.key');
      return key && {
        options: { applicationServerKey: Uint8Array.from(JSON.parse(key)).buffer },
        toJSON: () => made,
        unsubscribe: async () => localStorage.removeItem('test.key'),
      };
    };
    PushManager.prototype.getSubscription = async () => known();
    PushManager.prototype.subscribe = async ({ applicationServerKey }) => {
      const binary = atob(applicationServerKey.replaceAll('-', '+').replaceAll('_', '/'));
      localStorage.setItem('test.key', JSON.stringify([...binary].map((c) => c.charCodeAt(0))));
      return known();
    };
  }, [subscription, permission]);
  if (script) await context.addInitScript(script);
  const person = new Person(await context.newPage(), name);
  await person.page.goto(`${server.address}/?name=${name}`);
  await person.find('join-button').click();
  await person.state('live');
  await person.shown();
  return person;
}

const pressed = (person, value) => person.page.locator(`[data-testid=away][aria-pressed=${value}]`).waitFor();

/**
 * Gives the worker a message as the browser's push service would, and gives what is shown once the first says that. Chromium loses a
 * notification that somebody asks for at the very moment at which it is shown, so this asks seldom, and delivers again what was lost.
 */
async function deliver(page, origin, data, title) {
  const tools = await page.context().newCDPSession(page);
  const registered = new Promise((resolve) => {
    tools.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
      const own = registrations.find(({ scopeURL, isDeleted }) => scopeURL === `${origin}/` && !isDeleted);
      if (own) resolve(own.registrationId);
    });
  });
  await tools.send('ServiceWorker.enable');
  const registrationId = await registered;
  for (;;) {
    await tools.send('ServiceWorker.deliverPushMessage', { origin, registrationId, data });
    for (let looks = 0; looks < 3; looks++) {
      await pause(1_000);
      const all = await shown(page);
      if (all[0]?.title === title) {
        await tools.detach();
        return all;
      }
    }
  }
}

const shown = (page) => page.evaluate(async () => {
  const registration = await navigator.serviceWorker.getRegistration('/');
  return (await registration.getNotifications()).map(({ title, body, tag, data }) => ({ title, body, tag, data }));
});

/** Waits until nothing is shown. */
async function closed(page) {
  while ((await shown(page)).length > 0) await pause(100);
}

test('who closed the page is told by the push service, and a click opens the room', { timeout: 240_000 }, async (t) => {
  const server = await Server.start(t, ...flags);
  const service = await PushService.start(t);
  const alice = await arrive(t, server, 'alice', service.subscription('/s/1'));
  const bob = await client(t, server, 'bob');
  const direct = await bob.startDirect('alice');
  await bob.join(direct.room).ready;
  await alice.page.locator(`[data-room="${direct.room}"]`).waitFor();
  await pressed(alice, false);
  await becomes(() => alice.find('notify').isHidden(), true, 'one button is enough');
  await alice.find('away').click();
  await pressed(alice, true);
  await alice.photograph('away-on');
  await alice.page.reload();
  await pressed(alice, true);
  assert.deepEqual(alice.faults, []);

  const { page } = alice;
  const context = page.context();
  const elsewhere = await context.newPage(); // no chat, but of the same browser
  await elsewhere.goto(`${server.address}/app/icon.svg`);
  await page.close();
  await bob.publish(direct.room, 'are you there?');
  const told = await service.next();
  assert.equal(told.path, '/s/1');
  assert.equal(told.headers.ttl, '86400');
  assert.match(told.headers.authorization, /^vapid t=.+, k=BCVxsr7N_eNgVRqvHtD0zTZsEc6/);
  const summary = JSON.parse(told.text);
  assert.deepEqual([summary.user, summary.messages, summary.newest.from, summary.newest.text], ['alice', 1, 'bob', 'are you there?']);

  assert.deepEqual(await deliver(elsewhere, server.address, told.text, '1 new message'), [
    { title: '1 new message', body: 'bob: are you there?', tag: 'summary', data: { room: direct.room } },
  ]);
  await bob.publish(direct.room, 'hello?');
  await bob.publish(direct.room, 'well then');
  const summaries = [JSON.parse((await service.next()).text)];
  const latest = () => summaries.at(-1);
  while (latest().newest.text !== 'well then') summaries.push(JSON.parse((await service.next()).text));
  // Put together by hand, since whether the two come as one is a matter of time.
  const two = await deliver(elsewhere, server.address, JSON.stringify({ ...latest(), messages: 2 }), '2 new messages');
  assert.deepEqual(two.map(({ body }) => body), ['bob: well then'], 'it takes the place of the one before');
  await deliver(elsewhere, server.address, 'no JSON', 'New messages');
  await deliver(elsewhere, server.address, told.text, '1 new message');

  // The page is open again, in another room, while nobody looks; the click is for the notification.
  const back = new Person(await context.newPage(), 'alice');
  await back.page.addInitScript(() => Object.defineProperty(document, 'hidden', { configurable: true, value: true }));
  await back.page.goto(`${server.address}/#lobby`);
  await back.state('live');
  await pressed(back, true);
  await back.page.getByRole('heading', { level: 1, name: 'lobby' }).waitFor();
  await becomes(async () => (await shown(back.page)).length, 1, 'nobody has looked yet');
  await deliver(elsewhere, server.address, told.text, '1 new message'); // wakes the worker, which browsers stop
  const worker = context.serviceWorkers().at(-1);
  await worker.evaluate(async () => {
    const [notification] = await self.registration.getNotifications();
    self.dispatchEvent(new NotificationEvent('notificationclick', { notification }));
  });
  await back.page.getByRole('heading', { level: 1, name: 'bob' }).waitFor();
  await closed(back.page);

  // Whoever looks has seen it.
  await deliver(elsewhere, server.address, told.text, '1 new message');
  await back.hide(false);
  await closed(back.page);
  assert.deepEqual(back.faults, []);
});

test('who turns it off or signs out is not told any more', { timeout: 240_000 }, async (t) => {
  const server = await Server.start(t, ...flags);
  const service = await PushService.start(t);
  const phone = await client(t, server, 'alice');
  await phone.device('phone', service.subscription('/s/phone'));
  phone.close(); // it stays a device
  const bob = await client(t, server, 'bob');
  const direct = await bob.startDirect('alice');
  await bob.join(direct.room).ready;
  const ends = [
    async (alice) => {
      await alice.find('away').focus();
      await alice.page.keyboard.press('Space');
      await pressed(alice, false);
    },
    async (alice) => {
      await alice.find('sign-out').click();
      await alice.find('name-input').waitFor();
      // The page waits for its browser a second at most.
      await becomes(() => alice.page.evaluate(() => ['test.key', 'rookery.device'].map((key) => localStorage.getItem(key))), [null, null]);
    },
  ];
  for (const [i, end] of ends.entries()) {
    const alice = await arrive(t, server, 'alice', service.subscription(`/s/page-${i}`));
    await alice.find('away').click();
    await pressed(alice, true);
    await end(alice);
    assert.deepEqual(alice.faults, []);
    await alice.page.context().close();
    // A summary is made when none is on its way: with the second of the phone, one for the page would be here.
    for (let told = 0; told < 2; told++) {
      await bob.publish(direct.room, `anybody? ${i} ${told}`);
      let message;
      do {
        message = await service.next();
        assert.equal(message.path, '/s/phone');
      } while (JSON.parse(message.text).newest.text !== `anybody? ${i} ${told}`);
    }
  }
});

test('where it can’t be, the page says why, or offers nothing', { timeout: 240_000 }, async (t) => {
  const server = await Server.start(t, ...flags);
  const service = await PushService.start(t);
  const subscription = service.subscription('/s/1');
  for (const [name, options, hint] of [
    ['denied', { permission: 'denied', viewport: PHONE, colorScheme: 'dark' }, /blocked/],
    ['unsupported', { script: 'delete window.PushManager', viewport: PHONE }, /can’t notify you/],
    ['ios', { script: 'delete window.PushManager; navigator.standalone = false', colorScheme: 'dark' }, /Home Screen/],
  ]) {
    const person = await arrive(t, server, 'alice', subscription, options);
    if (options.viewport === PHONE) await person.page.getByRole('button', { name: 'Rooms' }).click();
    await person.find('away-hint').filter({ hasText: hint }).waitFor();
    assert.equal(await person.find('away').isHidden(), true, name);
    await person.photograph(`away-${name}`);
    assert.deepEqual(person.faults, []);
  }
  const phone = await arrive(t, server, 'alice', subscription, { viewport: PHONE, colorScheme: 'dark' });
  await phone.page.getByRole('button', { name: 'Rooms' }).click();
  await phone.find('away').click();
  await pressed(phone, true);
  await phone.photograph('away-phone');

  const without = await Server.start(t);
  const person = await arrive(t, without, 'alice', subscription, { permission: 'default' });
  await person.page.getByRole('button', { name: 'Notify me of mentions' }).waitFor();
  assert.equal(await person.find('away').isHidden(), true);
});

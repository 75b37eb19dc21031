import test from 'node:test';
import assert from 'node:assert/strict';

import { Away, browserOf } from '../page/app/away.js';
import { Settings } from '../page/app/settings.js';
import { FakeClient, settle } from './fake-client.js';
import { FakeStorage } from './fake-storage.js';

const KEY = 'BCVxsr7N_eNg';

const bytesOf = (key) => Uint8Array.from(atob(key.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0)).buffer;

/** A browser that has what is needed, and a push service of its own. */
class FakeBrowser {
  pushes = true;
  needsHomeScreen = false;
  granted = 'default';
  answer = 'granted';
  /** The registration, once there is one. */
  registered = null;
  subscription = null;
  made = 0;
  ended = 0;
  fails = null;
  shown = [];
  messages = new EventTarget();

  get serviceWorker() {
    return {
      addEventListener: (...args) => this.messages.addEventListener(...args),
      getRegistration: async () => this.registered ?? undefined,
    };
  }

  permission = () => this.granted;

  async requestPermission() {
    this.granted = this.answer;
  }

  randomId = () => `device ${++this.made}`;

  async register() {
    this.registered ??= {
      getNotifications: async () => this.shown.filter(({ closed }) => !closed),
      pushManager: {
        getSubscription: async () => this.subscription,
        subscribe: async ({ applicationServerKey, userVisibleOnly }) => {
          assert.equal(userVisibleOnly, true);
          if (this.fails) throw this.fails;
          const endpoint = `https://push.example/${++this.made}`;
          this.subscription = {
            options: { applicationServerKey: bytesOf(applicationServerKey) },
            toJSON: () => ({ endpoint, keys: { p256dh: 'p', auth: 'a' } }),
            unsubscribe: async () => {
              this.ended++;
              this.subscription = null;
            },
          };
          return this.subscription;
        },
      },
    };
    return this.registered;
  }
}

/** A client whose server keeps devices. */
class DeviceClient extends FakeClient {
  key = KEY;
  devices = new Map();
  refuses = null;

  async device(id, subscription) {
    if (this.refuses && subscription) throw this.refuses;
    if (id !== undefined && subscription) this.devices.set(id, subscription.endpoint);
    else this.devices.delete(id);
    return { id, registered: this.devices.has(id), ...(this.key && { webPushKey: this.key }), services: [] };
  }
}

async function begin({ browser = new FakeBrowser(), client = new DeviceClient(), settings = new Settings(new FakeStorage(), new FakeStorage()) } = {}) {
  const ending = new AbortController();
  const away = new Away(client, settings, browser, () => {}, ending.signal);
  client.state = 'connected';
  client.emit('state', { state: 'connected' });
  await settle();
  return { away, browser, client, settings, ending };
}

test('what a browser or a server can’t is said, and nothing is asked', async () => {
  for (const [change, want] of [
    [({ client }) => (client.key = ''), 'unknown'],
    [({ browser }) => (browser.pushes = false), 'unsupported'],
    [({ browser }) => Object.defineProperty(browser, 'serviceWorker', { value: undefined }), 'unsupported'],
    [({ browser }) => (browser.needsHomeScreen = true), 'home-screen'],
    [({ browser }) => (browser.granted = 'denied'), 'denied'],
    [() => {}, 'off'],
  ]) {
    const parts = { browser: new FakeBrowser(), client: new DeviceClient() };
    change(parts);
    const { away, browser } = await begin(parts);
    assert.equal(away.state, want);
    assert.equal(browser.registered, null);
  }
});

test('on and off, with what the server knows', async () => {
  const { away, browser, client, settings } = await begin();
  await away.turnOn();
  assert.equal(away.state, 'on');
  const { id, user } = settings.device;
  assert.equal(user, 'alice');
  assert.deepEqual([...client.devices], [[id, browser.subscription.toJSON().endpoint]]);
  await away.turnOff();
  assert.equal(away.state, 'off');
  assert.deepEqual([client.devices.size, browser.subscription, settings.device], [0, null, null]);
});

test('a permission that is not given leaves it off, or says that it is blocked', async () => {
  const { away, browser } = await begin();
  browser.answer = 'default';
  await away.turnOn();
  assert.deepEqual([away.state, browser.subscription], ['off', null]);
  browser.answer = 'denied';
  await away.turnOn();
  assert.deepEqual([away.state, browser.subscription], ['denied', null]);
});

test('what fails is said, and leaves nothing half done', async () => {
  const { away, browser, client, settings } = await begin();
  browser.fails = new Error('Registration failed: no push service');
  await away.turnOn();
  assert.deepEqual([away.state, away.fault], ['off', 'Registration failed: no push service']);
  browser.fails = null;
  client.refuses = new Error('A user has 10 devices at most; forget one first.');
  await away.turnOn();
  assert.deepEqual([away.state, away.fault, browser.subscription, settings.device], ['off', client.refuses.message, null, null]);
  client.refuses = null;
  await away.turnOn();
  assert.deepEqual([away.state, away.fault], ['on', '']);
});

test('each start tells the server again, under the same id; another key makes another subscription', async () => {
  const { away, browser, client, settings } = await begin();
  await away.turnOn();
  const [[id, endpoint]] = client.devices;
  const again = async (key = KEY) => {
    const next = new DeviceClient();
    next.key = key;
    return begin({ browser, settings, client: next });
  };
  let next = await again(); // whose server has forgotten the device
  assert.deepEqual([next.away.state, ...next.client.devices], ['on', [id, endpoint]]);
  next = await again('BAAA');
  assert.equal(browser.ended, 1);
  assert.notEqual(next.client.devices.get(id), endpoint);
  browser.subscription = null; // the browser has lost it
  next = await again('BAAA');
  assert.equal(next.client.devices.get(id), browser.subscription.toJSON().endpoint);
  browser.subscription = null;
  browser.granted = 'default'; // and the permission with it
  next = await again('BAAA');
  assert.deepEqual([next.away.state, settings.device], ['off', null]);
});

test('a server that comes back is not asked by every page at once', async () => {
  const { away, client } = await begin({ client: Object.assign(new DeviceClient(), { key: '' }) });
  client.device = () => assert.fail('asked again');
  client.emit('state', { state: 'connected' });
  await settle();
  assert.deepEqual([away.state, away.fault], ['unknown', '']);
});

test('the worker has another subscription: the server is told', async () => {
  const { away, browser, client, ending } = await begin();
  await away.turnOn();
  browser.subscription.toJSON = () => ({ endpoint: 'https://push.example/renewed', keys: {} });
  browser.messages.dispatchEvent(Object.assign(new Event('message'), { data: { type: 'renewed' } }));
  await settle();
  assert.deepEqual([...client.devices.values()], ['https://push.example/renewed']);
  ending.abort();
  client.devices.clear();
  browser.messages.dispatchEvent(Object.assign(new Event('message'), { data: { type: 'renewed' } }));
  await settle();
  assert.equal(client.devices.size, 0, 'a chat that is over tells nothing');
});

test('who signs out is not told here any more, with or without the server', async () => {
  const { away, browser, client, settings } = await begin();
  await away.signOut();
  assert.equal(browser.ended, 0);
  for (const state of ['connected', 'waiting']) {
    await away.turnOn();
    browser.shown = [{ tag: 'summary', close() { this.closed = true; } }];
    client.state = state;
    await away.signOut();
    assert.deepEqual([browser.subscription, settings.device, browser.shown[0].closed], [null, null, true]);
    assert.equal(client.devices.size, state === 'connected' ? 0 : 1);
    client.state = 'connected';
  }
});

test('who signs out while the server does not answer waits a second at most', async (t) => {
  const { away, browser, client } = await begin();
  await away.turnOn();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  client.device = () => new Promise(() => {});
  const out = away.signOut();
  await settle();
  assert.equal(browser.subscription, null, 'the push service is told at once');
  t.mock.timers.tick(1_000);
  await out;
});

test('somebody else on the same browser is not told what the one before was', async () => {
  const { away, browser, client, settings } = await begin();
  await away.turnOn();
  const other = new DeviceClient();
  other.user = 'bob';
  const next = await begin({ browser, client: other, settings });
  assert.deepEqual([next.away.state, browser.subscription, other.devices.size], ['off', null, 0]);
  assert.equal(client.devices.size, 1); // its push service answers 410, and the server forgets it
});

test('what was seen is not shown any longer', async () => {
  const { away, browser } = await begin();
  await away.seen();
  await away.turnOn();
  const notification = (tag) => ({ tag, close() { this.closed = true; } });
  browser.shown = [notification('summary'), notification('room:lobby')];
  await away.seen();
  assert.deepEqual(browser.shown.map(({ closed }) => closed), [true, true]);
});

test('a page’s browser: no other worker than this page’s, and one policy however often it is asked', async () => {
  const registered = [];
  const page = {
    PushManager: {},
    Notification: { permission: 'granted' },
    crypto,
    navigator: {
      standalone: false,
      serviceWorker: { ready: 'ready', async register(url, options) { registered.push([String(url), options.type, options.updateViaCache]); } },
    },
    trustedTypes: {
      made: 0,
      createPolicy(name, { createScriptURL }) {
        assert.equal(name, 'rookery-worker');
        assert.equal(++this.made, 1);
        assert.equal(createScriptURL('/evil.js'), '/sw.js');
        return { createScriptURL };
      },
    },
  };
  const browser = browserOf(page);
  assert.deepEqual([browser.pushes, browser.needsHomeScreen, browser.permission()], [true, false, 'granted']);
  for (let i = 0; i < 2; i++) assert.equal(await browser.register(), 'ready');
  assert.deepEqual(registered, Array(2).fill(['/sw.js', 'module', 'none']));
  const phone = browserOf({ navigator: { standalone: false } });
  assert.deepEqual([phone.pushes, phone.needsHomeScreen, phone.permission()], [false, true, 'denied']);
});

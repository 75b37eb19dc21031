import test from 'node:test';
import assert from 'node:assert/strict';

import { Conversation, MAX_KEPT } from '../page/app/conversation.js';
import { Settings } from '../page/app/settings.js';
import { FakeClient, open, settle } from './fake-client.js';
import { FakeStorage } from './fake-storage.js';

const span = ({ messages }) => (messages.length ? [messages[0].seq, messages.at(-1).seq] : []);

function assertNoHole({ messages }) {
  messages.forEach((m, i) => assert.equal(m.seq, messages[0].seq + i));
}

test('begins with the newest page and joins after it', async () => {
  const { client, conversation } = await open({ stored: 120 });
  assert.deepEqual(span(conversation), [71, 120]);
  assert.equal(conversation.atBeginning, false);
  assert.equal(conversation.attached, true);
  const { after, epoch } = client.joins[0].options;
  assert.deepEqual({ after, epoch }, { after: 120, epoch: 'e1' });
});

test('an empty room is at its beginning and joined from nothing', async () => {
  const { client, conversation } = await open();
  assert.equal(conversation.atBeginning, true);
  assert.equal(client.joins[0].options.after, 0);
  client.say();
  assert.deepEqual(span(conversation), [1, 1]);
});

test('what is ephemeral is not shown, not counted and moves nothing', async () => {
  const { client, conversation, changes } = await open({ stored: 3 });
  const before = changes.length;
  client.deliver({ room: 'lobby', seq: 0, at: 9, from: 'bob', ephemeral: true, key: 'typing', text: '' });
  client.say();
  assert.deepEqual(span(conversation), [1, 4]);
  assert.equal(conversation.newest, 4);
  assert.equal(changes.length, before + 1);
});

test('older pages go in front, down to the beginning', async () => {
  const { conversation } = await open({ stored: 120 });
  await conversation.loadOlder();
  assert.deepEqual(span(conversation), [21, 120]);
  await conversation.loadOlder();
  assert.deepEqual(span(conversation), [1, 120]);
  assert.equal(conversation.atBeginning, true);
  assert.equal(conversation.attached, true);
});

test('a reader far back lets go of the live edge, and comes to it again without a hole', async () => {
  const { client, conversation } = await open({ stored: 500 });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  assert.deepEqual(span(conversation), [1, MAX_KEPT]);
  assert.equal(conversation.attached, false);
  client.say();
  assert.equal(conversation.messages.length, MAX_KEPT, 'what is said now is not at the window');
  assert.equal(conversation.newest, 501);
  while (!conversation.attached) {
    await conversation.loadNewer();
    assertNoHole(conversation);
    assert.ok(conversation.messages.length <= MAX_KEPT);
  }
  assert.deepEqual(span(conversation), [202, 501]);
  conversation.following = true;
  client.say();
  assert.deepEqual(span(conversation).at(-1), 502);
});

test('jumping to the newest replaces the window', async () => {
  const { client, conversation } = await open({ stored: 500 });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  client.say();
  await conversation.jumpToNewest();
  assert.deepEqual(span(conversation), [452, 501]);
  assert.equal(conversation.attached, true);
  assert.equal(conversation.following, true);
});

test('the window goes to a message that is not in it, and from there to both ends without a hole', async () => {
  const { client, conversation } = await open({ stored: 500 });
  await conversation.goTo(100);
  assert.deepEqual(span(conversation), [75, 124]);
  assert.deepEqual([conversation.attached, conversation.following], [false, false]);
  client.say();
  assert.deepEqual(span(conversation), [75, 124]);
  await conversation.loadOlder();
  await conversation.loadNewer();
  assert.deepEqual(span(conversation), [25, 174]);
  assertNoHole(conversation);
  await conversation.goTo(490);
  assert.deepEqual([...span(conversation), conversation.attached], [452, 501, true]);
});

test('who follows keeps a bounded window; who reads is not robbed of what they read', async () => {
  const { client, conversation } = await open({ stored: 50 });
  for (let i = 0; i < 400; i++) client.say();
  assert.deepEqual(span(conversation), [151, 450]);
  assert.equal(conversation.atBeginning, false);
  conversation.following = false;
  client.say();
  assert.deepEqual(span(conversation), [151, 450]);
  assert.equal(conversation.attached, false);
});

test('a message that a page of history has brought already is not taken twice', async () => {
  const { client, conversation } = await open({ stored: 400 });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  client.stored.push({ room: 'lobby', seq: 401, at: 401, from: 'bob', text: 'm401' }); // in the log, not yet delivered
  await conversation.jumpToNewest();
  assert.deepEqual(span(conversation), [352, 401]);
  client.deliver(client.stored.at(-1));
  assertNoHole(conversation);
  client.say();
  assert.deepEqual(span(conversation), [352, 402]);
});

test('messages that come while the newest page is on its way make no hole', async () => {
  const { client, conversation } = await open({ stored: 400 });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  let release;
  client.held = new Promise((resolve) => (release = resolve));
  const jump = conversation.jumpToNewest();
  client.say();
  release();
  client.held = null;
  await jump;
  assertNoHole(conversation);
  assert.equal(conversation.attached, false, 'the page ends before the newest');
  await conversation.loadNewer();
  assert.equal(conversation.attached, true);
  assertNoHole(conversation);
});

test('an older page that no longer meets the window is not taken', async () => {
  const { client, conversation } = await open({ stored: 50 });
  conversation.following = true;
  for (let i = 0; i < MAX_KEPT; i++) client.say();
  let release;
  client.held = new Promise((resolve) => (release = resolve));
  const load = conversation.loadOlder();
  client.say(); // cuts the front off
  release();
  await load;
  assertNoHole(conversation);
});

test('a page of another history is not taken', async () => {
  const { client, conversation } = await open({ stored: 120 });
  client.epoch = 'e2';
  await conversation.loadOlder();
  assert.deepEqual(span(conversation), [71, 120]);
});

test('beginning twice is beginning once', async () => {
  const { client, conversation } = await open({ stored: 3 });
  const joined = client.joins.length;
  await Promise.all([conversation.begin(), conversation.begin(1)]);
  assert.equal(client.joins.length, joined + 1);
  assert.deepEqual(span(conversation), [3, 3]);
});

test('one page at a time', async () => {
  const { client, conversation } = await open({ stored: 300 });
  const before = client.histories.length;
  await Promise.all([conversation.loadOlder(), conversation.loadOlder()]);
  assert.equal(client.histories.length, before + 1);
  assert.equal(conversation.moving, null);
});

test('a reset begins anew and leaves the old room', async () => {
  const { client, conversation } = await open({ stored: 60 });
  const old = client.joins[0];
  client.epoch = 'e2';
  client.stored = [];
  client.store(3);
  old.options.onReset();
  await settle();
  assert.equal(old.state, 'left');
  assert.deepEqual(span(conversation), [1, 3]);
  assert.equal(conversation.epoch, 'e2');
  assert.equal(conversation.newest, 3);
  assert.equal(client.joins[1].options.epoch, 'e2');
});

test('a room that is refused says why', async () => {
  const client = new FakeClient();
  client.failure = Object.assign(new Error('not for you'), { code: 'room_forbidden' });
  const conversation = new Conversation(client, 'lobby', new Settings(new FakeStorage(), new FakeStorage()), () => {});
  await conversation.begin();
  assert.equal(conversation.status, 'failed');
  assert.equal(conversation.error.message, 'not for you');
  assert.equal(client.joins.length, 0);
  client.failure = null;
  await conversation.begin();
  assert.equal(conversation.status, 'ready');
});

test('unread counts what came since the room was read, also over a reload', async () => {
  const { client, conversation, storages } = await open({ stored: 5, limit: 1 });
  assert.equal(conversation.unread, 0, 'nobody missed what was there before them');
  client.say();
  client.say();
  assert.equal(conversation.unread, 2);
  const again = await open({ stored: 9, limit: 1, storages });
  assert.equal(again.conversation.unread, 4);
  again.conversation.markRead();
  assert.equal(again.conversation.unread, 0);
  assert.equal((await open({ stored: 9, limit: 1, storages })).conversation.unread, 0);
});

test('own messages are not unread, unless there is something unread before them', async () => {
  const { client, conversation } = await open({ stored: 5 });
  client.say('alice');
  assert.equal(conversation.unread, 0);
  client.say('bob');
  client.say('alice');
  assert.equal(conversation.unread, 2);
});

test('a sent message is shown once, whichever comes first: reply or message', async () => {
  for (const replyFirst of [true, false]) {
    const { client, conversation } = await open();
    conversation.send('hi');
    assert.deepEqual(conversation.shownOutgoing.map((e) => e.state), ['pending']);
    const shown = () => conversation.messages.length + conversation.shownOutgoing.length;
    const [publish] = client.publishes;
    if (replyFirst) {
      publish.resolve({ seq: 1 });
      await settle();
      assert.equal(shown(), 1);
      client.say('alice', 'hi');
    } else {
      client.say('alice', 'hi');
      assert.equal(shown(), 1);
      publish.resolve({ seq: 1 });
    }
    await settle();
    assert.equal(shown(), 1);
    assert.deepEqual(conversation.outgoing, []);
  }
});

test('the same words from another window are not taken for the end of this sending', async () => {
  const { client, conversation } = await open();
  conversation.send('hi');
  client.say('alice', 'hi'); // from elsewhere
  assert.equal(conversation.shownOutgoing.length, 0, 'taken for it for now');
  client.publishes[0].resolve({ seq: 2 });
  await settle();
  assert.equal(conversation.shownOutgoing.length, 1, 'the reply says otherwise');
  client.say('alice', 'hi');
  assert.deepEqual([conversation.messages.length, conversation.outgoing.length], [2, 0]);
});

test('a failed message stays, is sent again with its key, or is discarded', async () => {
  const { client, conversation } = await open();
  conversation.send('hi');
  client.publishes[0].reject(Object.assign(new Error('no right to publish'), { code: 'publish_forbidden' }));
  await settle();
  assert.deepEqual(conversation.shownOutgoing.map((e) => [e.state, e.error]), [['failed', 'no right to publish']]);
  conversation.retry('k1');
  conversation.retry('k1');
  assert.deepEqual(client.publishes.map((p) => p.key), ['k1', 'k1'], 'once for two clicks');
  client.publishes[1].reject(new Error('again'));
  await settle();
  conversation.discard('k1');
  assert.deepEqual(conversation.outgoing, []);
});

test('what is unsent is sent by the next visit with its key, what is old is asked about', async (t) => {
  const first = await open();
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  first.conversation.send('old');
  t.mock.timers.setTime(1_000_000 + 9 * 60_000 - 1_000);
  first.conversation.send('new');
  first.client.publishes[0].reject(Object.assign(new Error('page closed'), { code: 'closed' }));
  await settle();
  t.mock.timers.setTime(1_000_000 + 9 * 60_000);
  const second = await open({ storages: first.storages });
  assert.deepEqual(second.client.publishes.map((p) => [p.key, p.text]), [['k2', 'new']]);
  assert.deepEqual(second.conversation.outgoing.map((e) => e.state), ['failed', 'pending']);
  second.client.publishes[0].resolve({ seq: 1 });
  await settle();
  const third = await open({ storages: first.storages });
  assert.deepEqual(third.conversation.outgoing.map((e) => e.key), ['k1']);
});

test('a message that was refused is not sent by the next visit by itself', async () => {
  const first = await open();
  first.conversation.send('hi');
  first.client.publishes[0].reject(new Error('no right to publish'));
  await settle();
  const { client, conversation, storages } = await open({ storages: first.storages });
  assert.deepEqual(client.publishes, []);
  assert.deepEqual(conversation.shownOutgoing.map((e) => [e.state, e.error]), [['failed', 'no right to publish']]);
  conversation.retry('k1');
  assert.deepEqual(client.publishes.map((p) => p.key), ['k1']);
  assert.deepEqual((await open({ storages })).client.publishes.map((p) => p.key), ['k1'], 'whoever tries again means it');
});

test('beginning again does not send again what is on its way', async () => {
  const { client, conversation } = await open();
  conversation.send('hi');
  await conversation.begin();
  assert.equal(client.publishes.length, 1);
});

test('a room that is left forgets what was unsent', async () => {
  const { client, conversation, settings } = await open();
  conversation.send('hi');
  conversation.end();
  assert.equal(client.joins[0].state, 'left');
  assert.deepEqual(settings.loadOutgoing('lobby'), []);
});

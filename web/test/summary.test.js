import test from 'node:test';
import assert from 'node:assert/strict';

import { messageNotice, noticeOf, openRoom, renew, roomOf } from '../page/app/summary.js';

const summary = (fields = {}, newest = {}) => ({
  type: 'push.summary', user: 'ann', messages: 3, conversations: 1, mentions: 0, more: false, ...fields,
  newest: { room: 'group:birds', seq: 5, at: 1700000000000, from: 'ben', ...newest },
});
const pushed = (value) => ({ json: () => JSON.parse(JSON.stringify(value)) });

test('a summary in words', () => {
  for (const [fields, newest, title, body] of [
    [{}, {}, '3 new messages', 'From ben in group:birds'],
    [{ messages: 1 }, { room: 'direct:5f' }, '1 new message', 'From ben'],
    [{ messages: 12, conversations: 3 }, {}, '12 new messages', 'In 3 conversations, the newest from ben'],
    [{ messages: 12, conversations: 3 }, { text: 'hi <b>' }, '12 new messages', 'ben: hi <b>'],
    [{ messages: 100, more: true }, {}, 'More than 100 new messages', 'From ben in group:birds'],
    [{ messages: 1, more: true }, {}, 'More than 1 new messages', 'From ben in group:birds'],
  ]) {
    const notice = noticeOf(pushed(summary(fields, newest)));
    assert.deepEqual([notice.title, notice.options.body], [title, body]);
    assert.deepEqual([notice.options.tag, notice.options.renotify, notice.options.timestamp], ['summary', true, 1700000000000]);
    assert.equal(roomOf(notice.options), newest.room ?? 'group:birds');
  }
});

test('whatever comes is shown, since a push that is not costs the permission', () => {
  const broken = { json() { throw new SyntaxError('no JSON'); } };
  for (const data of [
    null, broken, pushed(null), pushed([]), pushed({}), pushed(summary({ type: 'other' })), pushed(summary({ messages: '3' })),
    pushed({ ...summary(), newest: null }), pushed(summary({}, { room: 5 })), pushed(summary({}, { from: null })),
  ]) {
    const notice = noticeOf(data);
    assert.equal(notice.title, 'New messages');
    assert.equal(notice.options.tag, 'summary');
    assert.equal(roomOf(notice.options), '');
  }
  assert.equal(noticeOf(pushed(summary({}, { text: { html: 'x' } }))).options.body, 'From ben in group:birds');
});

test('of each room one notification of an open page, beside the summary', () => {
  const notice = messageNotice('ben', 'hi', 'summary');
  assert.deepEqual([notice.options.tag, roomOf(notice.options)], ['room:summary', 'summary']);
});

/** The windows of a browser, as its worker sees them. */
class FakeClients {
  opened = [];
  constructor(...windows) {
    this.windows = windows;
  }

  async matchAll({ type, includeUncontrolled }) {
    assert.deepEqual([type, includeUncontrolled], ['window', true]);
    return this.windows;
  }

  async openWindow(url) {
    this.opened.push(url);
  }
}

const page = (url, focused = async () => {}) => ({
  url, heard: [], focuses: 0,
  postMessage(message) {
    this.heard.push(message);
  },
  focus() {
    this.focuses++;
    return focused();
  },
});

test('a click brings the page that is open to the room, or opens one', async () => {
  const other = page('https://chat.example/client/rookery.js');
  const [first, second] = [page('https://chat.example/?name=ann#lobby'), page('https://chat.example/')];
  const open = new FakeClients(other, first, second);
  await openRoom(open, 'group:birds');
  assert.deepEqual([first.heard, first.focuses], [[{ type: 'open', room: 'group:birds' }], 1]);
  assert.deepEqual([other.heard, second.heard, open.opened], [[], [], []]);
  const closed = new FakeClients(other);
  await openRoom(closed, 'group:birds & more');
  await openRoom(closed, '');
  assert.deepEqual(closed.opened, ['/#group%3Abirds%20%26%20more', '/']);
  const shy = page('https://chat.example/', async () => { throw new Error('not allowed'); });
  await openRoom(new FakeClients(shy), 'lobby');
  assert.equal(shy.heard.length, 1);
});

test('a subscription that the push service ended is made anew, and pages hear of it', async () => {
  const asked = [];
  const registration = { pushManager: { subscribe: async (options) => asked.push(options) } };
  const open = page('https://chat.example/');
  const options = { userVisibleOnly: true, applicationServerKey: 'k' };
  await renew(registration, new FakeClients(open), { oldSubscription: { options }, newSubscription: null });
  assert.deepEqual([asked, open.heard], [[options], [{ type: 'renewed' }]]);
  await renew(registration, new FakeClients(open), { oldSubscription: { options }, newSubscription: { options } });
  await renew(registration, new FakeClients(), {}); // the page asks for one when it is opened again
  assert.deepEqual([asked.length, open.heard.length], [1, 2]);
});

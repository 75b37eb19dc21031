import test from 'node:test';
import assert from 'node:assert/strict';

import { MAX_PASSING } from '../page/app/conversation.js';
import { Receipts } from '../page/app/receipts.js';
import { open, settle } from './fake-client.js';

const receipt = (user, delivered, read) => ({ user, delivered, read });
const answer = (own, ...others) => ({
  own: receipt('alice', ...own), users: others.length + 1, receipts: [receipt('alice', ...own), ...others], counts: [],
});
/** Where the marks of a room have led. */
const last = (marks) => marks.reduce((at, mark) => ({ delivered: Math.max(at.delivered, mark.delivered), read: Math.max(at.read, mark.read) }));

// What the ticks say.

test('one tick is stored, two are with everybody, two coloured are read by everybody', () => {
  const receipts = new Receipts('alice');
  const said = () => receipts.of(5);
  assert.deepEqual(said(), { state: 'stored', words: 'Sent' });
  receipts.take(answer([9, 9], receipt('bob', 4, 4), receipt('carol', 5, 0)));
  assert.deepEqual(said(), { state: 'stored', words: 'Delivered to 1 of 2' });
  receipts.hear(receipt('bob', 5, 4));
  assert.deepEqual(said(), { state: 'delivered', words: 'Delivered to everybody' });
  receipts.hear(receipt('bob', 9, 5));
  assert.deepEqual(said(), { state: 'delivered', words: 'Read by 1 of 2' });
  receipts.hear(receipt('carol', 9, 8));
  assert.deepEqual(said(), { state: 'read', words: 'Read by everybody' });
  assert.deepEqual(receipts.of(9), { state: 'delivered', words: 'Delivered to everybody' });
});

test('nobody goes back, and the reader does not count', () => {
  const receipts = new Receipts('alice');
  receipts.hear(receipt('bob', 9, 9));
  receipts.take(answer([0, 0], receipt('bob', 3, 2))); // asked before, answered after
  receipts.hear(receipt('alice', 1, 1));
  assert.equal(receipts.of(9).state, 'read');
});

test('a large room is counted; older messages have at least what the oldest counted one has', () => {
  const receipts = new Receipts('alice');
  receipts.take({ own: receipt('alice', 0, 0), users: 312, receipts: [], counts: [{ seq: 57, delivered: 312, read: 208 }, { seq: 58, delivered: 299, read: 0 }] });
  assert.equal(receipts.large, true);
  assert.deepEqual(receipts.of(57), { state: 'delivered', words: 'Read by 208 of 312' });
  assert.deepEqual(receipts.of(58), { state: 'stored', words: 'Delivered to 299 of 312' });
  assert.deepEqual(receipts.of(20), { state: 'delivered', words: 'Read by at least 208 of 312' });
  assert.deepEqual(receipts.of(59), { state: 'stored', words: 'Sent' });
  receipts.count({ users: 312, counts: [{ seq: 58, delivered: 312, read: 312 }] });
  assert.deepEqual(receipts.of(57), { state: 'read', words: 'Read by everybody' });
});

test('in a large room the author is one of those that are counted', () => {
  const receipts = new Receipts('alice');
  const counts = [{ seq: 8, delivered: 102, read: 2 }, { seq: 9, delivered: 101, read: 1 }];
  receipts.take({ own: receipt('alice', 9, 8), users: 102, receipts: [], counts });
  assert.deepEqual(receipts.of(8), { state: 'delivered', words: 'Read by 1 of 101' });
  assert.deepEqual(receipts.of(9), { state: 'stored', words: 'Read by 1 of 101' });
  receipts.hear(receipt('alice', 9, 9)); // read here
  assert.deepEqual(receipts.of(9), { state: 'stored', words: 'Delivered to 100 of 101' });
});

test('a small room becomes a large one', () => {
  const receipts = new Receipts('alice');
  receipts.take(answer([0, 0], receipt('bob', 9, 9)));
  receipts.count({ users: 101, counts: [{ seq: 9, delivered: 101, read: 3 }] });
  assert.deepEqual(receipts.of(9), { state: 'delivered', words: 'Read by 3 of 101' });
});

// What a conversation marks, and what it takes for read.

test('what has come is marked as delivered, what was looked at as read', async () => {
  const { client, conversation } = await open({ stored: 5, keepsReceipts: true });
  const [{ marks }] = client.joins;
  assert.deepEqual(last(marks), { delivered: 5, read: 0 });
  client.say();
  assert.deepEqual(last(marks), { delivered: 6, read: 0 });
  conversation.markRead();
  assert.deepEqual(last(marks), { delivered: 6, read: 6 });
});

test('the end of the room that is not in the window was not looked at', async () => {
  const { client, conversation } = await open({ stored: 500, keepsReceipts: true });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  assert.equal(conversation.attached, false);
  conversation.markRead();
  assert.equal(last(client.joins[0].marks).read, 0);
});

test('unread is what the server says, on a device that knows nothing', async () => {
  const { client, conversation } = await open({ stored: 9, limit: 1, keepsReceipts: true });
  assert.equal(conversation.unread, 0, 'not known yet');
  client.joins[0].answer.resolve(answer([9, 4]));
  await settle();
  assert.equal(conversation.unread, 5);
  assert.equal(last(client.joins[0].marks).read, 0, 'nothing was looked at here');
});

test('the further of what the server and this device know counts', async () => {
  const first = await open({ stored: 9, keepsReceipts: true });
  first.client.joins[0].answer.resolve(answer([9, 4]));
  await settle();
  first.client.say();
  first.conversation.markRead(); // the server may end before it is stored
  const { client, conversation } = await open({ stored: 12, keepsReceipts: true, storages: first.storages });
  assert.equal(conversation.unread, 2);
  client.joins[0].answer.resolve(answer([10, 4]));
  await settle();
  assert.equal(conversation.unread, 2);
  conversation.markRead();
  const again = await open({ stored: 12, keepsReceipts: true, storages: first.storages });
  again.conversation.markRead();
  assert.equal(last(again.client.joins[0].marks).read, 12, 'said again, whether it is known or not');
});

test('a room in which the server knows nothing of this user has no past that they missed', async () => {
  const { client, conversation } = await open({ stored: 9, limit: 1, keepsReceipts: true });
  client.joins[0].answer.resolve(answer([0, 0]));
  await settle();
  assert.equal(conversation.unread, 0);
  client.say();
  assert.equal(conversation.unread, 1);
});

test('what another device has read is read', async () => {
  const { client, conversation } = await open({ stored: 9, limit: 1, keepsReceipts: true });
  const [room] = client.joins;
  room.answer.resolve(answer([9, 4]));
  await settle();
  room.options.onReceipt(receipt('bob', 9, 9));
  assert.equal(conversation.unread, 5);
  room.options.onReceipt(receipt('alice', 9, 8));
  assert.equal(conversation.unread, 1);
  room.options.onReceipt(receipt('alice', 10, 10)); // of a message that comes a moment later
  assert.equal(conversation.unread, 0);
  client.say();
  assert.equal(conversation.unread, 0);
});

test('every joined asks again; a large room also when the page is looked at again', async () => {
  const { client, conversation } = await open({ stored: 9, keepsReceipts: true });
  const [room] = client.joins;
  room.answer.resolve(answer([9, 9], receipt('bob', 9, 9)));
  await settle();
  assert.equal(conversation.receipts.of(9).state, 'read');
  room.answer = null;
  conversation.refresh();
  assert.equal(room.answer, null, 'a small room tells');
  room.options.onJoined({ receipts: true, ephemeral: false }, room);
  assert.notEqual(room.answer, null);
  room.answer.reject(new Error('overloaded'));
  await settle();
  assert.equal(conversation.receipts.of(9).state, 'read', 'the ticks stay');
  room.options.onReceiptCounts({ users: 312, counts: [] });
  conversation.refresh();
  room.answer.resolve({ own: receipt('alice', 9, 9), users: 312, receipts: [], counts: [{ seq: 9, delivered: 9, read: 7 }] });
  await settle();
  assert.equal(conversation.receipts.of(9).words, 'Read by 6 of 311');
});

test('a room without receipts has no ticks, and asks nothing', async () => {
  const { client, conversation } = await open({ stored: 9 });
  assert.equal(conversation.receipts, null);
  assert.equal(client.joins[0].answer, undefined);
});

// Ephemeral rooms.

const passing = (from, text, key) => ({ room: 'lobby', seq: 0, at: 9, from, ephemeral: true, text, key });

test('an ephemeral room shows what passes, the newest value of a sender and key', async () => {
  const { client, conversation, changes } = await open({ ephemeral: true });
  const words = () => conversation.passing.map((m) => m.text);
  client.deliver(passing('bob', 'hi'));
  client.deliver(passing('bob', 'hi'));
  client.deliver(passing('bob', '1,1', 'cursor'));
  client.deliver(passing('carol', '2,2', 'cursor'));
  const before = conversation.passing[2];
  client.deliver(passing('bob', '3,3', 'cursor'));
  const after = conversation.passing[2];
  assert.deepEqual([after.id === before.id, after.version === before.version], [true, false], 'the same line with other words');
  assert.deepEqual(words(), ['hi', 'hi', '3,3', '2,2']);
  assert.equal(changes.filter((change) => change.arrived).length, 4, 'a renewed value is not said again');
  assert.equal(conversation.unread, 0);
  for (let i = 0; i < MAX_PASSING; i++) client.deliver(passing('bob', `${i}`));
  assert.equal(conversation.passing.length, MAX_PASSING);
  assert.equal(words().at(-1), `${MAX_PASSING - 1}`);
  assert.equal(new Set(conversation.passing.map((m) => m.id)).size, MAX_PASSING);
});

test('one\'s own words in an ephemeral room are shown once', async () => {
  for (const replyFirst of [true, false]) {
    const { client, conversation } = await open({ ephemeral: true });
    conversation.send('hi');
    const [publish] = client.publishes;
    const reply = async () => {
      publish.resolve({ seq: 0 });
      await settle();
    };
    if (replyFirst) await reply();
    client.deliver(passing('alice', 'hi', publish.key));
    assert.deepEqual([conversation.passing.length, conversation.shownOutgoing.length], [1, 0]);
    if (!replyFirst) await reply();
    assert.deepEqual([conversation.passing.length, conversation.outgoing.length], [1, 0]);
  }
});

import test from 'node:test';
import assert from 'node:assert/strict';

import { finding } from '../page/app/room-filter.js';
import { Rooms } from '../page/app/rooms.js';
import { Settings } from '../page/app/settings.js';
import { FakeClient, open, settle } from './fake-client.js';
import { FakeStorage } from './fake-storage.js';

const member = (room, more = {}) => ({ room, kind: 'group', title: 'Birds', role: 'member', speak: 'member', slowModeMs: 0, ...more });
const synced = (room, at, more = {}) => ({
  room, head: 9, begin: 1, delivered: 9, read: 9, unread: 0, mentions: 0, changed: true,
  messages: [{ room, seq: 9, at, from: 'bob', text: 'm' }], ...more,
});

async function list({ pages, rooms = ['lobby'], storages = [new FakeStorage(), new FakeStorage()], client = new FakeClient() } = {}) {
  const settings = new Settings(...storages);
  settings.rooms = rooms;
  client.pages = pages;
  for (const { room, membership } of pages.flatMap((page) => page.rooms ?? [])) client.memberships.set(room, membership);
  const ended = [];
  const made = new Rooms(client, settings, () => {}, (conversation) => conversation && ended.push(conversation.name));
  client.emit('state', { state: 'connected' });
  await settle();
  return { made, client, settings, storages, ended, names: () => made.all.map(({ name }) => name) };
}

test('all rooms of all pages, those written to last first, with what is unread and mentions', async () => {
  const { made, client, names, settings } = await list({ pages: [
    { epoch: 'e1', next: 'e1/2', rooms: [synced('group:a', 500, { membership: member('group:a'), read: 5, unread: 3, mentions: 2 })] },
    { epoch: 'e1', position: 'e1/9', rooms: [synced('direct:x', 700, { membership: member('direct:x', { kind: 'direct', title: '', peer: 'bob' }) }), synced('attic', 600)] },
  ] });
  assert.deepEqual(client.syncs.map(({ next }) => next), [undefined, 'e1/2']);
  assert.deepEqual(names(), ['direct:x', 'attic', 'group:a', 'lobby']);
  assert.deepEqual(made.all.map(({ title }) => title), ['bob', 'attic', 'Birds', 'lobby']);
  assert.deepEqual(made.all.map(({ unread, mentions }) => [unread, mentions]), [[0, 0], [0, 0], [3, 2], [0, 0]]);
  assert.deepEqual(settings.rooms, ['attic', 'lobby'], 'the server keeps the others');
  assert.equal(client.histories.length, 1, 'only the room that sync does not know was read');
  assert.deepEqual(client.joins.map(({ name, options }) => [name, options.after]), [['group:a', 9], ['direct:x', 9], ['attic', 9], ['lobby', 0]]);
});

test('what is said moves a room to the front, and mentions are counted until it is read', async () => {
  const { made, client, names } = await list({ pages: [{ epoch: 'e1', rooms: [synced('attic', 600), synced('cellar', 500)] }] });
  const cellar = made.all.find(({ name }) => name === 'cellar');
  const room = client.joins.find(({ name }) => name === 'cellar');
  room.options.onMessage({ room: 'cellar', seq: 10, at: 700, from: 'bob', text: '@alice', mentions: ['alice'] });
  room.options.onMessage({ room: 'cellar', seq: 11, at: 701, from: 'bob', text: 'hm' });
  assert.deepEqual(names(), ['cellar', 'attic', 'lobby']);
  assert.deepEqual([cellar.unread, cellar.mentions], [2, 1]);
  cellar.markRead();
  assert.deepEqual([cellar.unread, cellar.mentions], [0, 0]);
});

test('what is left to be sent is sent in every room, also one that nobody looks at', async () => {
  const storages = [new FakeStorage(), new FakeStorage()];
  const left = new Settings(...storages);
  left.saveOutgoing('room 201', [{ key: 'k1', text: 'hi', at: Date.now() }]);
  left.saveChanges('room 202', [{ key: 'k2', change: { target: 9, react: { reaction: '+' } }, epoch: 'e1', at: Date.now() }]);
  const rooms = Array.from({ length: 204 }, (_, i) => synced(`room ${i}`, 1000 - i));
  const { client } = await list({ pages: [{ epoch: 'e1', rooms }], rooms: ['room 0'], storages });
  assert.deepEqual(client.publishes.map(({ key }) => key), ['k1', 'k2']);
  assert.equal(client.joins.length, 202);
});

test('a room with so many changes behind its last message that the list has none is joined as well', async () => {
  const reacted = synced('attic', 0, { head: 300, read: 7, unread: 2, mentions: 1, messages: [] });
  const { made, client } = await list({ pages: [{ epoch: 'e1', rooms: [reacted] }], rooms: ['attic'] });
  assert.deepEqual(client.joins.map(({ name, options }) => [name, options.after]), [['attic', 300]]);
  assert.deepEqual([made.all[0].unread, made.all[0].mentions], [2, 1]);
});

test('with many rooms the last ones are joined when somebody looks, and known to be unread before', async () => {
  const rooms = Array.from({ length: 201 }, (_, i) => synced(`room ${i}`, 1000 - i, { read: 7, unread: 2 }));
  const { made, client } = await list({ pages: [{ epoch: 'e1', rooms }], rooms: ['room 0'] });
  assert.equal(client.joins.length, 200);
  const last = made.all.at(-1);
  assert.deepEqual([last.name, last.unread, last.begun], ['room 200', 2, false]);
  client.store(9);
  await last.begin();
  assert.deepEqual([last.status, last.unread], ['ready', 2]);
});

test('a further connection brings what is new, and takes what has ended', async () => {
  const { client, ended, names } = await list({ pages: [{ epoch: 'e1', rooms: [synced('group:a', 500, { membership: member('group:a') })] }] });
  client.pages = [{ epoch: 'e1', rooms: [synced('group:b', 600, { membership: member('group:b') })] }];
  client.emit('state', { state: 'waiting' });
  client.emit('state', { state: 'connected' });
  await settle();
  assert.deepEqual(ended, ['group:a']);
  assert.deepEqual(names(), ['group:b', 'group:a', 'lobby'], 'the one who shows it takes it away');
});

test('news: an invitation, and a removal', async () => {
  const { made, client, ended, names } = await list({ pages: [{ epoch: 'e1', rooms: [] }] });
  client.memberships.set('group:a', member('group:a'));
  client.emit('room', { ...member('lobby'), role: undefined });
  client.emit('room', member('group:a'));
  await settle();
  assert.deepEqual(names(), ['group:a', 'lobby']);
  client.emit('removed', { room: 'group:a', action: 'kick' });
  assert.deepEqual(ended, ['group:a']);
  assert.deepEqual([made.all[0].status, made.all[0].error.message], ['removed', 'You were removed from Birds.']);
  client.emit('removed', { room: 'group:never-here', action: 'kick' });
  client.emit('room', member('group:a')); // invited again
  await settle();
  assert.equal(made.all[0].status, 'ready');
});

test('a plain room that was put away stays away, until it is opened again', async () => {
  const pages = [{ epoch: 'e1', rooms: [synced('attic', 600)] }];
  const first = await list({ pages });
  first.made.leave('attic');
  assert.deepEqual(first.names(), ['lobby']);
  const { storages } = first;
  const second = await list({ pages, storages });
  assert.deepEqual(second.names(), ['lobby']);
  second.made.open('attic');
  const third = await list({ pages, storages });
  assert.deepEqual(third.names(), ['attic', 'lobby']);
});

test('without an answer the rooms of this device are there', async () => {
  const { names, client } = await list({ pages: [new Error('no')], rooms: ['lobby', 'attic'] });
  assert.deepEqual(names(), ['lobby', 'attic']);
  assert.equal(client.joins.length, 2);
});

test('what this device has read counts where the server keeps no receipts', async () => {
  const storages = [new FakeStorage(), new FakeStorage()];
  new Settings(...storages).saveRead('attic', { epoch: 'e1', seq: 7 });
  const { made } = await list({ pages: [{ epoch: 'e1', rooms: [synced('attic', 600, { read: 0, unread: 9, mentions: 4 })] }], storages });
  assert.deepEqual([made.all[0].unread, made.all[0].mentions], [2, 2]);
});

test('how far others have come is asked when somebody looks, and what another device has read comes with the list', async () => {
  const client = Object.assign(new FakeClient(), { keepsReceipts: true });
  const pages = [{ epoch: 'e1', rooms: [synced('attic', 600, { read: 4, unread: 5 })] }];
  const { made } = await list({ pages, client, rooms: ['attic'] });
  const [attic] = made.all;
  assert.deepEqual([attic.unread, client.joins[0].answer], [5, undefined]);
  attic.look();
  assert.notEqual(client.joins[0].answer, undefined);
  client.pages = [{ epoch: 'e1', rooms: [synced('attic', 600, { read: 7, unread: 1 })] }];
  client.emit('state', { state: 'connected' });
  await settle();
  assert.deepEqual([attic.unread, attic.lastRead], [1, 7]);
});

test('a room with members is joined before it is read, and again from what was read', async () => {
  const membership = member('lobby');
  const { client, conversation } = await open({ stored: 60, closed: new Set(['lobby']), memberships: new Map([['lobby', membership]]) });
  assert.deepEqual(client.joins.map(({ state, options }) => [state, options?.after]), [['left', undefined], ['joined', 60]]);
  assert.deepEqual([conversation.status, conversation.messages.length], ['ready', 50]);
  assert.equal(conversation.membership, membership);
  const refusal = Object.assign(new Error('not a member'), { code: 'not_member' });
  const other = await open({ closed: new Set(['lobby']), refusal });
  assert.deepEqual([other.conversation.status, other.conversation.error], ['failed', refusal]);
  assert.equal(other.client.joins.length, 1);
});

test('being removed ends the room with the reason', async () => {
  const { client, conversation } = await open({ memberships: new Map([['lobby', member('lobby')]]) });
  client.joins[0].options.onMembership(member('lobby', { role: 'moderator' }));
  assert.equal(conversation.membership.role, 'moderator');
  conversation.people.watch(true);
  client.joins[0].options.onPresence({ count: 1, users: new Map([['alice', 'online']]) });
  conversation.lost({ action: 'kick', reason: 'too loud' });
  assert.deepEqual([conversation.status, conversation.error.message], ['removed', 'You were removed from Birds: too loud.']);
  assert.deepEqual([client.joins[0].state, conversation.people.there.named], ['left', []]);
});

test('a room is found by words of its title, whatever the case and the accents', () => {
  const titles = ['Vögel im Garten', 'Straßenfest', 'ΟΔΟΣ', 'İzmir', 'Team 10', 'كِتاب'];
  const found = (wanted) => titles.filter(finding(wanted));
  for (const all of ['', ' ']) assert.deepEqual(found(all), titles);
  for (const [wanted, title] of [['vogel', 0], ['GARTEN vög', 0], ['strassen', 1], ['οδός', 2], ['izmir', 3], ['team 1', 4], ['كتاب', 5]]) {
    assert.deepEqual(found(wanted), [titles[title]], wanted);
  }
  assert.deepEqual(found('garten team'), []);
});

test('rooms that the list does not have are begun in turns, since no client takes hundreds of questions at once', async () => {
  const client = new FakeClient();
  const { history } = client;
  let waiting = 0;
  let most = 0;
  client.history = async (...question) => {
    most = Math.max(most, ++waiting);
    await null;
    waiting--;
    return history.apply(client, question);
  };
  const rooms = Array.from({ length: 180 }, (_, i) => `room ${i}`);
  const { made } = await list({ pages: [{ epoch: 'e1', rooms: [] }], rooms, client });
  assert.equal(client.joins.length, 180);
  assert.ok(made.all.every(({ status }) => status === 'ready'));
  assert.ok(most <= 50, `${most} at once`);
});

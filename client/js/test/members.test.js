import test from 'node:test';
import assert from 'node:assert/strict';

import { connected, outcome, reconnect } from './fakes.js';

const group = { room: 'group:a', kind: 'group', title: 'A', role: 'member', speak: 'member', slowModeMs: 0 };

async function joinedGroup(options) {
  const made = await connected(options);
  const states = [];
  const memberships = [];
  const room = made.client.join('group:a', {
    onState: ({ state, error }) => states.push(error ? `${state} ${error.code}` : state),
    onMembership: (membership) => memberships.push(membership),
  });
  made.socket().joined('group:a', 3, { membership: group });
  return { ...made, room, roomStates: states, memberships };
}

test('every request about members has its reply', async () => {
  const { client, socket } = await connected();
  const asked = [
    [client.createRoom({ room: 'group:a', title: 'A' }), 'create', { room: 'group:a', title: 'A' }, { room: group }],
    [client.startDirect('bob'), 'create', { user: 'bob' }, { room: { ...group, room: 'direct:1', peer: 'bob' } }],
    [client.configureRoom('group:a', { slowModeMs: 5 }), 'configure', { room: 'group:a', slowModeMs: 5 }, { room: { ...group, slowModeMs: 5 } }],
    [client.changeMember({ room: 'group:a', user: 'bob', action: 'mute', forMs: 9 }), 'member', { room: 'group:a', user: 'bob', action: 'mute', forMs: 9 }, { member: { room: 'group:a', user: 'bob', action: 'mute', until: 10 } }],
    [client.members('group:a', { after: 'al' }), 'members', { room: 'group:a', after: 'al' }, { members: { room: 'group:a', members: [{ user: 'bob', role: 'guest' }], more: false, total: 2 } }],
    [client.sync({ position: '7f3a/9', messages: 2 }), 'sync', { position: '7f3a/9', messages: 2 }, { synced: { epoch: '7f3a', rooms: [], position: '7f3a/12' } }],
    [client.notify('group:a', 'mentions'), 'notify', { room: 'group:a', level: 'mentions' }, { notify: { room: 'group:a', level: 'mentions' } }],
    [client.device(), 'device', { webPush: undefined }, { device: { id: '', registered: false, webPushKey: 'BK0', services: [] } }],
    [client.device('tab', { endpoint: 'https://push.example/1', expirationTime: null, keys: { p256dh: 'p', auth: 'a' } }), 'device', { id: 'tab', webPush: { endpoint: 'https://push.example/1', p256dh: 'p', auth: 'a' } }, { device: { id: 'tab', registered: true, webPushKey: 'BK0', services: [] } }],
    [client.device('phone', { fcm: 'c1:A' }), 'device', { id: 'phone', webPush: undefined, fcm: 'c1:A' }, { device: { id: 'phone', registered: true, services: ['fcm'] } }],
    [client.device('tab'), 'device', { id: 'tab', webPush: undefined }, { device: { id: 'tab', registered: false, webPushKey: 'BK0', services: [] } }],
    [client.rooms({ limit: 1 }), 'rooms', { limit: 1 }, { rooms: { rooms: [group], more: true } }],
  ];
  const requests = ['create', 'configure', 'member', 'members', 'sync', 'notify', 'device', 'rooms'].flatMap((op) => socket().requests(op).map((frame) => [frame.id, frame[op]]));
  assert.equal(requests.length, asked.length);
  for (const [i, [promise, op, body, reply]] of asked.entries()) {
    const [id, sent] = requests[i];
    for (const [name, value] of Object.entries(body)) assert.deepEqual(sent[name], value, `${op} ${name}`);
    socket().say({ id, ...reply });
    assert.deepEqual(await outcome(promise), { value: Object.values(reply)[0] });
  }
});

test('a request that was not answered is made again with the next connection', async () => {
  const made = await connected();
  const promise = made.client.changeMember({ room: 'group:a', user: 'bob', action: 'kick' });
  await reconnect(made);
  const [{ id }] = made.socket().requests('member');
  made.socket().say({ id, error: { code: 404, name: 'no_such_member', message: 'Gone.', retry: false } });
  assert.equal((await outcome(promise)).error.code, 'no_such_member');
});

test('a room with members says what the user is in it, and what becomes of that', async () => {
  const { room, socket, memberships, client } = await joinedGroup();
  const events = [];
  for (const name of ['room', 'member']) client.on(name, (event) => events.push(name, event));
  assert.deepEqual(room.membership, group);
  socket().say({ room: { ...group, role: 'moderator' } });
  assert.equal(room.membership.role, 'moderator');
  socket().say({ room: { room: 'group:a', kind: 'group', title: 'B', role: '', speak: 'guest', slowModeMs: 7 } });
  assert.deepEqual(room.membership, { ...group, role: 'moderator', title: 'B', speak: 'guest', slowModeMs: 7 });
  assert.equal(memberships.length, 2);
  socket().say({ member: { room: 'group:a', user: 'bob', action: 'join', role: 'member' } });
  assert.deepEqual(events.filter((e) => typeof e === 'string'), ['room', 'room', 'member']);
});

test('who is removed gets nothing more, and may join again', async () => {
  const { room, roomStates, socket, client } = await joinedGroup();
  const removals = [];
  client.on('removed', (removal) => removals.push(removal));
  socket().say({ removed: { room: 'group:a', action: 'kick', reason: 'loud', by: 'alice' } });
  assert.deepEqual(roomStates, ['joined', 'removed removed']);
  assert.equal(room.state, 'removed');
  assert.equal(removals[0].reason, 'loud');
  room.leave();
  assert.equal(socket().requests('leave').length, 0, 'there is nothing to leave');
  socket().say({ removed: { room: 'elsewhere', action: 'kick' } });
  assert.equal(removals.length, 2);
  assert.notEqual(client.join('group:a'), room);
  assert.equal(socket().requests('join').length, 2);
});

test('every connection watches, if that was asked for', async () => {
  const made = await connected({ watchRooms: true });
  assert.equal(made.socket().requests('rooms')[0].rooms.watch, true);
  await reconnect(made);
  assert.equal(made.socket().requests('rooms').length, 1);
  const { socket } = await connected();
  assert.equal(socket().requests('rooms').length, 0);
});

import test from 'node:test';
import assert from 'node:assert/strict';

import { MemberList } from '../page/app/member-list.js';
import { actionsOn, isModerator, mayInvite, mayLeave, removalWords, silence, titleOf, untilWords } from '../page/app/membership.js';

const role = (name, more = {}) => ({ room: 'group:a', kind: 'group', role: name, speak: 'member', slowModeMs: 0, ...more });
const names = (actions) => actions.map(({ name }) => name);

// What may be done.

test('a room is called by its title, a direct one by the other user', () => {
  assert.equal(titleOf('lobby', null), 'lobby');
  assert.equal(titleOf('group:a', role('member', { title: 'Birds' })), 'Birds');
  assert.equal(titleOf('group:a', role('member', { title: '' })), 'group:a');
  assert.equal(titleOf('direct:1', role('member', { kind: 'direct', title: '', peer: 'bob' })), 'bob');
});

test('who may act on whom', () => {
  const bob = (as, more) => ({ user: 'bob', role: as, ...more });
  assert.deepEqual(names(actionsOn(bob('member'), role('owner'), 'alice')), ['role-guest', 'role-moderator', 'role-owner', 'mute', 'kick', 'ban']);
  assert.deepEqual(names(actionsOn(bob('guest'), role('moderator'), 'alice')), ['role-member', 'mute', 'kick', 'ban']);
  assert.deepEqual(names(actionsOn(bob('member', { mutedUntil: Date.now() + 9e5 }), role('moderator'), 'alice')), ['role-guest', 'unmute', 'kick', 'ban']);
  for (const [other, own, user] of [['moderator', 'moderator', 'alice'], ['owner', 'owner', 'alice'], ['guest', 'member', 'alice'], ['member', 'owner', 'bob']]) {
    assert.deepEqual(actionsOn(bob(other), role(own), user), [], `${own} on ${other}`);
  }
  assert.deepEqual(actionsOn(bob('member'), role('owner', { kind: 'direct' }), 'alice'), []);
});

test('who may invite, leave and see to the room', () => {
  const may = (membership) => [mayInvite(membership), mayLeave(membership), isModerator(membership)];
  assert.deepEqual(may(role('guest')), [false, true, false]);
  assert.deepEqual(may(role('member')), [true, true, false]);
  assert.deepEqual(may(role('moderator')), [true, true, true]);
  assert.deepEqual(may(role('member', { kind: 'direct' })), [false, false, false]);
  assert.deepEqual(may(null), [false, false, false]);
});

test('who is silent, why and until when', () => {
  const now = 100_000;
  const of = (membership, lastOwnAt = 0) => silence({ membership, lastOwnAt }, now);
  assert.equal(of(null), null);
  assert.equal(of(role('member')), null);
  assert.equal(of(role('guest')).reason, 'role');
  assert.equal(of(role('member', { speak: 'moderator' })).reason, 'role');
  assert.equal(of(role('guest', { speak: 'guest' })), null);
  assert.deepEqual(of(role('moderator', { mutedUntil: now + 5 })), { reason: 'muted', until: now + 5 });
  assert.equal(of(role('member', { mutedUntil: now })), null);
  const slow = { slowModeMs: 30_000 };
  assert.equal(of(role('member', slow)), null);
  assert.deepEqual(of(role('member', slow), now - 10_000), { reason: 'slow', until: now + 20_000 });
  assert.equal(of(role('member', slow), now - 30_000), null);
  assert.equal(of(role('moderator', slow), now), null);
});

test('the words for until when', () => {
  const noon = new Date(2026, 2, 1, 12).getTime();
  assert.equal(untilWords(Number.MAX_SAFE_INTEGER), 'for ever');
  assert.ok(untilWords(noon + 60_000, noon).length < untilWords(noon + 86_400_000, noon).length);
});

test('the words for how a membership has ended', () => {
  assert.equal(removalWords('Birds', { action: 'leave' }), 'You have left Birds.');
  assert.equal(removalWords('Birds', { action: 'ban', reason: 'spam' }), 'You are banned from Birds for ever: spam.');
  assert.match(removalWords('Birds', { action: 'ban', until: Date.now() + 60_000 }), /^You are banned from Birds until .+\.$/);
  assert.equal(removalWords('Birds'), 'You are no longer a member of Birds.');
});

// The list.

function listOf(users, { banned } = {}) {
  const asked = [];
  const client = {
    async members(room, { after, limit, banned: which }) {
      asked.push({ room, after, limit, banned: which });
      if (client.failure) throw client.failure;
      const rest = users.filter((user) => after === undefined || user > after);
      return { members: rest.slice(0, limit).map((user) => ({ user, role: 'member' })), more: rest.length > limit, total: users.length };
    },
  };
  const list = new MemberList(client, 'group:a', { banned }, () => list.changes++);
  list.changes = 0;
  return { list, client, asked, users: () => list.members.map(({ user }) => user) };
}

test('pages on demand, and a fault that a further try mends', async () => {
  const everybody = Array.from({ length: 60 }, (_, i) => `user ${String(i).padStart(2, '0')}`);
  const { list, client, asked, users } = listOf(everybody);
  client.failure = new Error('not now');
  await list.load();
  assert.equal(list.error.message, 'not now');
  client.failure = null;
  await list.load();
  assert.deepEqual([users().length, list.more, list.total, list.error], [50, true, 60, null]);
  list.hear({ user: 'user 05a', action: 'invite', role: 'guest' });
  list.hear({ user: 'zoe', action: 'invite', role: 'member' });
  assert.deepEqual([users().length, users()[6], list.total], [51, 'user 05a', 62], 'who is behind the page comes with the next one');
  await Promise.all([list.load(), list.load()]);
  assert.equal(asked.length, 3, 'one question at a time');
  assert.deepEqual([users().length, list.more], [61, false]);
  assert.equal(asked.at(-1).after, 'user 49');
});

test('news change the list, and twice the same is once', async () => {
  const { list, users } = listOf(['bob', 'carol']);
  await list.load();
  const bob = () => list.members.find(({ user }) => user === 'bob');
  list.hear({ user: 'bob', action: 'role', role: 'moderator' });
  list.hear({ user: 'bob', action: 'mute', role: 'moderator', until: 99 });
  assert.deepEqual([bob().role, bob().mutedUntil], ['moderator', 99]);
  list.hear({ user: 'bob', action: 'unmute', role: 'moderator' });
  assert.equal(bob().mutedUntil, 0);
  for (let i = 0; i < 2; i++) list.hear({ user: 'carol', action: 'kick', role: '' });
  for (let i = 0; i < 2; i++) list.hear({ user: 'dan', action: 'join', role: 'member' });
  assert.deepEqual([users(), list.total], [['bob', 'dan'], 2]);
});

test('who is banned', async () => {
  const { list, asked, users } = listOf(['bob'], { banned: true });
  await list.load();
  assert.equal(asked[0].banned, true);
  list.hear({ user: 'carol', action: 'ban', until: 99, reason: 'spam' });
  list.hear({ user: 'bob', action: 'kick' });
  assert.deepEqual(users(), ['bob', 'carol']);
  assert.deepEqual(list.members[1], { user: 'carol', bannedUntil: 99, reason: 'spam' });
  list.hear({ user: 'bob', action: 'unban' });
  assert.deepEqual([users(), list.total], [['carol'], 1]);
});

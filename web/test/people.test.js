import test from 'node:test';
import assert from 'node:assert/strict';

import { MOST_NAMED, People } from '../page/app/people.js';
import { open } from './fake-client.js';

function people() {
  const made = new People(() => made.changes++);
  made.changes = 0;
  const { onPresence, onTyping } = made.callbacks;
  return { made, present: (count, users) => onPresence({ count, users: new Map(Object.entries(users)) }), typing: (users, more = 0) => onTyping({ users, more }) };
}

test('those who are there: online before away, by name, and how many more', () => {
  const { made, present } = people();
  assert.deepEqual(made.there, { named: [], more: 0 });
  present(4, { dan: 'away', bob: 'online', alice: 'online', carol: 'away' });
  assert.deepEqual(made.there.named.map(({ user }) => user), ['alice', 'bob', 'carol', 'dan']);
  assert.deepEqual(made.there.named.map(({ state }) => state), ['online', 'online', 'away', 'away']);
  assert.equal(made.there.more, 0);
  present(312, { alice: 'online' });
  assert.equal(made.there.more, 311);
  present(99, Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`user ${i}`, 'online'])));
  assert.deepEqual([made.there.named.length, made.there.more], [MOST_NAMED, 99 - MOST_NAMED]);
  assert.equal(made.changes, 3);
});

test('how many are there is said where it is not seen, and not without a connection', async () => {
  const { client, conversation: { people: here } } = await open();
  const { onPresence, onState } = client.joins[0].options;
  for (const [count, users, words] of [[3, ['a', 'b', 'c'], ''], [4, ['a', 'b', 'c', 'd'], '4 here'], [46, ['a', 'b'], '46 here'], [500, [], '500 here']]) {
    onPresence({ count, users: new Map(users.map((user) => [user, 'online'])) });
    assert.equal(here.countWords, words);
  }
  onState({ state: 'joining' });
  assert.equal(here.countWords, 'not known now');
});

test('when somebody was seen to leave', () => {
  const { made, present } = people();
  present(2, { alice: 'online', bob: 'away' });
  present(200, { alice: 'online' });
  assert.equal(made.leftAt('bob'), 0, 'the server names some others now');
  present(2, { alice: 'online', bob: 'away' });
  const before = Date.now();
  present(1, { alice: 'online' });
  assert.ok(made.leftAt('bob') >= before);
  assert.equal(made.leftAt('alice'), 0);
  made.left();
  assert.equal(made.leftAt('alice'), 0, 'who leaves oneself sees nobody leave');
});

test('without a connection nobody knows who is there', async () => {
  const { client, conversation, changes } = await open();
  conversation.people.watch(true);
  const { onPresence, onState } = client.joins[0].options;
  onPresence({ count: 2, users: new Map([['bob', 'away'], ['alice', 'online']]) });
  onState({ state: 'joining' });
  assert.equal(changes.at(-2).people, true);
  assert.deepEqual(conversation.people.there.named, [{ user: 'alice', state: 'unknown' }, { user: 'bob', state: 'unknown' }]);
  assert.equal(conversation.people.stateOf('alice'), undefined);
  assert.equal(conversation.people.stateOf('carol'), undefined);
  onState({ state: 'joined' });
  assert.equal(conversation.people.there.named[0].state, 'unknown', 'the answer is still on its way');
  onPresence({ count: 1, users: new Map([['alice', 'online']]) });
  assert.deepEqual(conversation.people.there.named, [{ user: 'alice', state: 'online' }]);
  assert.equal(conversation.people.leftAt('bob'), 0, 'nobody saw when');
});

test('the words for who is typing', () => {
  const { made, typing } = people();
  for (const [users, more, words] of [
    [[], 0, ''],
    [['bob'], 0, 'bob is typing'],
    [['bob', 'carol'], 0, 'bob and carol are typing'],
    [['bob', 'carol', 'dan'], 0, 'bob, carol and dan are typing'],
    [['bob'], 1, 'bob and somebody else are typing'],
    [['bob', 'carol'], 3, 'bob, carol and 3 others are typing'],
    [[], 1, 'somebody else is typing'],
    [[], 2, '2 others are typing'],
  ]) {
    typing(users, more);
    assert.equal(made.typingWords, words);
  }
});

test('a room is watched while it is looked at, over its beginnings', async () => {
  const { client, conversation, changes } = await open();
  assert.deepEqual(client.joins[0].said, []);
  conversation.people.watch(true);
  conversation.people.watch(true);
  assert.deepEqual(client.joins[0].said, ['watch']);
  client.joins[0].options.onPresence({ count: 1, users: new Map([['alice', 'online']]) });
  assert.equal(conversation.people.there.named.length, 1);
  const { conversation: of, ...what } = changes.at(-1);
  assert.deepEqual([of, what], [conversation, { people: true }]);
  await conversation.begin();
  assert.deepEqual(client.joins[1].said, ['watch']);
  assert.deepEqual(conversation.people.there, { named: [], more: 0 }, 'what was known is of another time');
  conversation.people.watch(false);
  assert.deepEqual(client.joins[1].said, ['watch', 'unwatch']);
  await conversation.begin();
  assert.deepEqual(client.joins[2].said, []);
});

test('what is written is typing, until there is nothing of it', async () => {
  const { client, conversation } = await open();
  for (const text of ['h', 'hi', '  ', '']) conversation.people.wrote(text);
  assert.deepEqual(client.joins[0].said, ['typing', 'typing', 'stopped', 'stopped']);
  new People(() => {}).wrote('before the room is joined');
});

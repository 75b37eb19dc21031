import test from 'node:test';
import assert from 'node:assert/strict';

import { Shown } from '../rookery.js';

const original = { room: 'r', seq: 1, at: 5, from: 'alice', text: 'a' };
const change = (seq, from, more) => ({ room: 'r', seq, at: 6, from, ...more, change: { target: 1, ...more.change } });
const changes = [
  change(2, 'alice', { text: 'b', mentions: ['bob'], change: { edit: {} } }),
  change(3, 'bob', { change: { react: { reaction: '+' } } }),
  change(4, 'carol', { change: { react: { reaction: '+' } } }),
  change(5, 'bob', { change: { react: { reaction: '+', remove: true } } }),
  change(6, 'alice', { text: 'c', change: { edit: {} } }),
  change(7, 'bob', { change: { pin: {} } }),
  { room: 'r', seq: 8, at: 7, from: 'bob', text: 'in the thread', thread: 1 },
];

function shown(messages) {
  const held = new Shown(() => 'bob');
  for (const message of messages) held.take(message);
  return held.get(1);
}

test('changes are folded into the message', () => {
  assert.deepEqual(shown([original, ...changes]), {
    ...original, text: 'c', revision: 7, edits: 2, pinned: true,
    reactions: [{ reaction: '+', count: 1, users: ['carol'] }], replies: { count: 1, last: 8 },
  });
  assert.deepEqual(original, { room: 'r', seq: 1, at: 5, from: 'alice', text: 'a' }, 'what was given is not changed');
});

test('whenever the page with the message comes, before or behind its changes, it ends in the same', () => {
  const want = shown([original, ...changes]);
  for (let inPage = 0; inPage <= changes.length; inPage++) {
    const page = shown([original, ...changes.slice(0, inPage)]);
    for (let before = 0; before <= changes.length; before++) {
      const early = changes.slice(0, before);
      assert.deepEqual(shown([...early, page, ...changes.slice(Math.min(inPage, before))]), want, `${inPage} in the page, ${before} before it`);
      assert.deepEqual(shown([...early, page, ...changes]), want, `repeated: ${inPage} in the page, ${before} before it`);
    }
  }
});

test('a deleted message stays deleted', () => {
  const gone = change(9, 'alice', { change: { delete: {} } });
  const back = change(10, 'alice', { text: 'back', change: { edit: {} } });
  const want = { room: 'r', seq: 1, at: 5, from: 'alice', revision: 9, deleted: true };
  assert.deepEqual(shown([original, gone, back, original]), want);
  assert.deepEqual(shown([{ ...original, kind: 'poll', pinned: true, reactions: [{ reaction: '+', count: 1, users: ['x'] }] }, gone]), want);
});

test('an edit that was overtaken leaves the content as it is', () => {
  assert.equal(shown([original, change(9, 'alice', { change: { edit: {} } })]).text, 'a');
});

test('own says that the user has the reaction, and who is named does not tell the count', () => {
  const page = { ...original, revision: 3, reactions: [{ reaction: '+', count: 20, users: ['a', 'b'], own: true }] };
  assert.deepEqual(shown([page, change(4, 'bob', { change: { react: { reaction: '+', remove: true } } })]).reactions,
    [{ reaction: '+', count: 19, users: ['a', 'b'] }]);
  assert.deepEqual(shown([original, change(4, 'bob', { change: { react: { reaction: '-' } } })]).reactions,
    [{ reaction: '-', count: 1, users: ['bob'], own: true }]);
});

test('take says what there is to show', () => {
  const held = new Shown(() => 'bob');
  assert.equal(held.take(changes[0]), null, 'a change of a message that is not held');
  assert.equal(held.take(original).text, 'b', 'the message comes with it');
  assert.equal(held.take(changes[0]), null, 'again');
  assert.equal(held.take(changes[1]).reactions.length, 1);
  assert.equal(held.take({ ...original, seq: 0, ephemeral: true }), null);
  held.forget(1);
  assert.equal(held.get(1), undefined);
});

test('what is foreseen is not held, and a reaction that has come meanwhile counts once', () => {
  const held = new Shown(() => 'bob');
  held.take(original);
  const plus = { change: { target: 1, react: { reaction: '+' } } };
  const minus = { change: { target: 1, react: { reaction: '+', remove: true } } };
  const after = held.foresee(held.get(1), plus);
  assert.deepEqual(after.reactions, [{ reaction: '+', count: 1, users: ['bob'], own: true }]);
  assert.deepEqual(held.foresee(after, plus).reactions, after.reactions);
  assert.equal(held.foresee(after, minus).reactions, undefined);
  assert.equal(held.foresee(original, minus).reactions, undefined);
  assert.equal(held.foresee(original, { change: { target: 1, edit: {} }, text: 'b' }).text, 'b');
  assert.deepEqual(held.get(1), original);
});

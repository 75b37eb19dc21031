import test from 'node:test';
import assert from 'node:assert/strict';

import { MAX_KEPT } from '../page/app/conversation.js';
import { open, settle } from './fake-client.js';

const react = (target, reaction = '+') => ({ target, react: { reaction } });
const texts = ({ messages }) => messages.map(({ seq, text, deleted }) => `${seq}${deleted ? 'x' : text}`);

test('a change is folded into its message and is not a line of its own', async () => {
  const { client, conversation, changes } = await open({ stored: 3 });
  conversation.markRead();
  client.alter({ target: 2, edit: {} }, 'better');
  client.alter({ target: 3, delete: {} });
  client.alter(react(1));
  assert.deepEqual(texts(conversation), ['1m1', '2better', '3x']);
  assert.equal(conversation.messages[0].reactions[0].count, 1);
  assert.equal(conversation.newest, 6);
  assert.equal(conversation.unread, 0, 'nobody has to read a reaction');
  assert.equal(changes.at(-1).arrived, undefined);
  client.say();
  assert.deepEqual(texts(conversation).at(-1), '7m7');
});

test('changes among unread messages are not counted', async () => {
  const { client, conversation } = await open({ stored: 3 });
  client.say();
  client.alter(react(1));
  client.alter(react(2));
  client.say();
  assert.equal(conversation.unread, 2);
  conversation.markRead();
  assert.equal(conversation.unread, 0);
});

test('pages with changes between their messages join up', async () => {
  const { client, conversation } = await open();
  for (let i = 0; i < 200; i++) {
    client.say();
    client.alter(react(2 * i + 1));
  }
  await conversation.begin();
  assert.equal(conversation.messages.length, 50);
  assert.equal(conversation.attached, true);
  while (!conversation.atBeginning) await conversation.loadOlder();
  assert.deepEqual(conversation.messages.map((m) => m.seq), Array.from({ length: 200 }, (_, i) => 2 * i + 1));
  assert.ok(conversation.messages.every((m) => m.reactions[0].count === 1));
});

test('a reader far back comes to the live edge again, over changes', async () => {
  const { client, conversation } = await open({ stored: 500 });
  conversation.following = false;
  for (let i = 0; i < 9; i++) await conversation.loadOlder();
  assert.equal(conversation.attached, false);
  for (let i = 0; i < 70; i++) client.alter(react(400 + i));
  client.alter(react(10));
  assert.equal(conversation.messages.find((m) => m.seq === 10).reactions[0].count, 1);
  for (let i = 0; !conversation.attached; i++) {
    assert.ok(i < 20, 'it comes to the end');
    await conversation.loadNewer();
    assert.ok(conversation.messages.length <= MAX_KEPT);
  }
  assert.equal(conversation.messages.at(-1).seq, 500);
  assert.equal(conversation.messages.at(-1).reactions, undefined);
  assert.equal(conversation.messages.find((m) => m.seq === 450).reactions[0].count, 1);
  conversation.following = true;
  client.say();
  assert.equal(conversation.messages.at(-1).seq, 572);
});

test('a change that comes while its page is on the way is in it', async () => {
  const { client, conversation } = await open({ stored: 120 });
  let release;
  client.held = new Promise((resolve) => (release = resolve));
  const loading = conversation.loadOlder();
  await settle(); // the page was made, and is on its way
  client.alter({ target: 60, edit: {} }, 'later');
  release();
  await loading;
  assert.equal(conversation.messages.find((m) => m.seq === 60).text, 'later');
});

test('a reply in a thread is counted by the message that begins it', async () => {
  const { client, conversation } = await open({ stored: 2 });
  client.deliver({ room: 'lobby', seq: 3, at: 3, from: 'bob', text: 'in it', thread: 1 });
  assert.deepEqual(conversation.messages[0].replies, { count: 1, last: 3 });
});

test('what a message answers and mentions is sent with it, and again after a failure', async () => {
  const { client, conversation } = await open({ stored: 2 });
  conversation.send('@bob yes', { replyTo: 1, mentions: ['bob'] });
  assert.deepEqual(client.publishes[0].more, { replyTo: 1, mentions: ['bob'] });
  client.publishes[0].reject(Object.assign(new Error('no'), { code: 'rate_limited' }));
  await settle();
  conversation.retry(conversation.outgoing[0].key);
  assert.deepEqual(client.publishes[1].more, { replyTo: 1, mentions: ['bob'] });
});

const chips = ({ reactions = [], asked = [] }) => [reactions.map(({ reaction, count, own }) => `${reaction} ${count}${own ? ' own' : ''}`).join(), asked.length];

/** What was told of changes that are over: the kind, the text and what was wrong. */
const told = (changes) => changes.filter(({ answered }) => answered).map(({ answered: { change, text, error } }) => [Object.keys(change)[1], text, error?.message]);

const closed = () => Object.assign(new Error('page closed'), { code: 'closed' });

test('a reaction shows before it is answered, and once however the answer and it come', async () => {
  for (const answerFirst of [true, false]) {
    const { client, conversation, changes } = await open({ stored: 1 });
    conversation.changes.react(1, '+', false);
    assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 1]);
    assert.equal(changes.at(-1).asked, true);
    const answer = async () => {
      client.publishes[0].resolve({ seq: 2 });
      await settle();
    };
    if (answerFirst) await answer();
    assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 1]);
    client.alter(react(1), undefined, 'alice');
    if (!answerFirst) await answer();
    assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 0]);
  }
});

test('a reaction that was made is not shown as asked for again while the room is read again, nor in one that began anew', async () => {
  const { client, conversation } = await open({ stored: 1 });
  conversation.changes.react(1, '+', false);
  client.publishes[0].resolve({ seq: 2 });
  await settle();
  client.alter(react(1), undefined, 'alice');
  assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 0]);
  const again = conversation.begin();
  assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 0]);
  await again;

  conversation.changes.react(1, '-', false);
  client.publishes[1].resolve({ seq: 50 });
  await settle();
  client.epoch = 'e2';
  client.stored.length = 1;
  await conversation.begin();
  assert.deepEqual(chips(conversation.get(1)), ['', 0]);
});

test('what is asked for twice shows as the second leaves it, and a refusal takes it back', async () => {
  const { client, conversation, changes } = await open({ stored: 2 });
  conversation.changes.react(1, '+', false);
  conversation.changes.react(1, '+', true);
  conversation.changes.edit(2, 'better', []);
  assert.deepEqual(chips(conversation.get(1)), ['', 2]);
  assert.deepEqual(texts({ messages: [conversation.get(2)] }), ['2better']);
  assert.equal(conversation.get(2).asked[0].change.target, 2);
  client.publishes[1].reject(new Error('no'));
  client.publishes[2].reject(new Error('no'));
  await settle();
  assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 1]);
  assert.equal(conversation.get(2), conversation.messages[1]);
  assert.deepEqual(told(changes), [['react', undefined, 'no'], ['edit', 'better', 'no']]);
});

test('what is asked for and not answered is shown by the next visit and sent once, with its key', async () => {
  const first = await open({ stored: 4 });
  const { changes: asked } = first.conversation;
  asked.react(1, '+', false);
  asked.edit(2, 'better', ['bob']);
  asked.pin(3, false);
  asked.delete(4);
  asked.react(1, '-', false);
  first.client.publishes[4].resolve({ seq: 5 }); // this one is not open any more
  for (const publish of first.client.publishes.slice(0, 4)) publish.reject(closed());
  await settle();

  const second = await open({ stored: 4, storages: first.storages });
  const { client, conversation, changes } = second;
  assert.deepEqual(client.publishes.map(({ key, text, more }) => [key, text, Object.keys(more.change)[1], more.change.target, more.mentions]), [
    ['k1', undefined, 'react', 1, undefined], ['k2', 'better', 'edit', 2, ['bob']], ['k3', undefined, 'pin', 3, undefined], ['k4', undefined, 'delete', 4, undefined],
  ]);
  assert.deepEqual(chips(conversation.get(1)), ['+ 1 own', 1]);
  assert.deepEqual(texts({ messages: [2, 4].map((seq) => conversation.get(seq)) }), ['2better', '4x']);
  assert.deepEqual([conversation.get(3).pinned, conversation.get(3).asked.length], [true, 1]);
  await conversation.begin();
  assert.equal(client.publishes.length, 4, 'what is on its way is not sent again');

  // One is made, one is so already, and one is refused; of the last one nothing is heard.
  client.publishes[0].resolve({ seq: 5 });
  client.publishes[1].reject(Object.assign(new Error('too late'), { code: 'change_too_late' }));
  client.publishes[2].reject(Object.assign(new Error('is pinned'), { code: 'unchanged' }));
  await settle();
  assert.deepEqual(told(changes), [['react', undefined, undefined], ['edit', 'better', 'too late'], ['pin', undefined, undefined]]);
  assert.deepEqual(texts({ messages: [conversation.get(2)] }), ['2m2']);
  const third = await open({ stored: 4, storages: first.storages });
  assert.deepEqual(third.client.publishes.map(({ key }) => key), ['k4']);
  third.conversation.end();
  assert.deepEqual(third.settings.loadChanges('lobby'), [], 'a room that is left forgets it');
});

test('an edit that may have been made long ago is given back, and nothing is changed in a room that began anew', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  const first = await open({ stored: 2 });
  first.conversation.changes.edit(1, 'better', []);
  first.conversation.changes.react(2, '+', false);
  t.mock.timers.setTime(1_000_000 + 9 * 60_000);
  const later = await open({ stored: 2, storages: first.storages });
  assert.deepEqual(later.client.publishes.map(({ key }) => key), ['k2'], 'a reaction can be made twice');
  assert.deepEqual(told(later.changes), [['edit', 'better', 'Edited in an earlier visit, and perhaps sent: look whether it is there.']]);
  const anew = await open({ stored: 2, epoch: 'e2', storages: first.storages });
  assert.deepEqual(anew.client.publishes, []);
  assert.deepEqual(told(anew.changes), [['react', undefined, 'The room has begun anew, and the message that was to be changed is gone.']]);
  assert.equal(anew.changes.find(({ answered }) => answered).answered.gone, true);
  assert.deepEqual(chips(anew.conversation.get(2)), ['', 0]);
});

const epochChanged = () => Object.assign(new Error('the client says so'), { code: 'epoch_changed' });
const GONE = 'The room has begun anew, and the message that this answers is gone.';

test('an edit of a message of a room that has begun anew is given back as that of none', async () => {
  const { client, conversation, changes } = await open({ stored: 2 });
  conversation.changes.edit(1, 'better', []);
  client.publishes[0].reject(epochChanged());
  conversation.changes.edit(1, 'worse', []);
  client.publishes[1].reject(new Error('too late'));
  await settle();
  assert.deepEqual(told(changes), [['edit', 'better', 'the client says so'], ['edit', 'worse', 'too late']]);
  assert.deepEqual(changes.filter(({ answered }) => answered).map(({ answered }) => answered.gone), [true, false]);
});

test('an answer to a message of a room that has begun anew waits for the person, and answers nothing', async () => {
  const first = await open({ stored: 2 });
  first.conversation.send('yes', { replyTo: 1, mentions: ['bob'] });
  first.conversation.send('aside', { thread: 1 });
  first.conversation.send('plain');
  for (const publish of first.client.publishes) publish.reject(closed());
  await settle();
  for (let visit = 1; visit <= 2; visit++) {
    const { client, conversation } = await open({ stored: 2, epoch: 'e2', storages: first.storages });
    assert.deepEqual(client.publishes.map(({ text }) => text), ['plain'], `visit ${visit}`);
    assert.deepEqual(conversation.outgoing.map(({ text, state, error, more }) => [text, state, error, more]), [
      ['yes', 'failed', GONE, { mentions: ['bob'] }], ['aside', 'failed', GONE, {}], ['plain', 'pending', undefined, {}],
    ]);
    if (visit === 1) continue;
    conversation.retry('k1');
    assert.deepEqual(client.publishes[1].more, { mentions: ['bob'] });
  }
});

test('a room that begins anew while it is open takes nothing that was about its messages', async () => {
  const { client, conversation, changes } = await open({ stored: 60 });
  client.alter(react(1)); // further back than the window
  conversation.send('yes', { replyTo: 2 });
  conversation.send('too long', { thread: 2 });
  client.publishes[0].reject(epochChanged());
  client.publishes[1].reject(new Error('too long'));
  await settle();
  client.epoch = 'e2';
  client.stored.length = 0;
  client.store(3);
  await conversation.begin();
  const beginnings = () => changes.map(({ anew }) => anew).filter((anew) => anew !== undefined);
  assert.deepEqual(beginnings(), [false, true]);
  assert.deepEqual(texts(conversation), ['1m1', '2m2', '3m3']);
  assert.deepEqual(conversation.messages.map(({ reactions }) => reactions), [undefined, undefined, undefined]);
  assert.deepEqual(conversation.outgoing.map(({ state, error, more }) => [state, error, more]), [['failed', GONE, {}], ['failed', 'too long', {}]]);
  await conversation.begin();
  assert.deepEqual(beginnings(), [false, true, false]);
});

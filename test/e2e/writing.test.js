// What somebody is writing stays, whatever comes meanwhile, in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';
import { rename, rm } from 'node:fs/promises';

import { becomes } from './becomes.js';
import { PHONE, Person, client, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

const line = (person, seq) => person.page.locator(`#messages [data-seq="${seq}"]`);

async function act(person, seq, action) {
  await line(person, seq).hover();
  await line(person, seq).getByTestId(`action-${action}`).click();
}

const written = (person, text) => becomes(() => person.find('composer').inputValue(), text);

const about = (person, words) => person.find('composer-about').getByText(words).waitFor();

async function goTo(person, room) {
  await person.find('room').filter({ hasText: room }).click();
  await person.page.getByRole('heading', { level: 1, name: room }).waitFor();
}

test('a draft, and what it is for, is there again after an edit', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice', { room: 'attic' });
  await goTo(alice, 'lobby');
  await alice.say('one');
  await alice.sees(1);
  await alice.say('two');
  await alice.sees(2);
  const box = alice.find('composer');

  await box.fill('a draft');
  await act(alice, 1, 'edit');
  await written(alice, 'one');
  await box.press('Escape');
  await written(alice, 'a draft');
  await alice.find('composer-about').waitFor({ state: 'hidden' });

  // 3: the edit is sent.
  await act(alice, 1, 'edit');
  await written(alice, 'one');
  await alice.say('one, mended');
  await written(alice, 'a draft');
  await line(alice, 1).getByText('one, mended').waitFor();

  // From one edit to another; a draft that is a reply is one afterwards.
  await act(alice, 2, 'reply');
  await act(alice, 1, 'edit');
  await written(alice, 'one, mended');
  await act(alice, 2, 'edit');
  await written(alice, 'two');
  await alice.find('composer-cancel').click();
  await written(alice, 'a draft');
  await about(alice, 'In reply to alice: two');

  // What is pinned only stands beside; a thread that is closed is not what the text is for any more.
  await act(alice, 1, 'edit');
  await written(alice, 'one, mended');
  await alice.find('pins').click();
  await alice.find('panel-close').click();
  await alice.find('panel').waitFor({ state: 'hidden' });
  await written(alice, 'one, mended');
  await box.press('Escape');
  await about(alice, 'In reply to alice: two');
  await act(alice, 2, 'thread');
  await about(alice, 'In the thread');
  await act(alice, 1, 'edit');
  await alice.find('panel-close').click();
  await written(alice, 'one, mended');
  await box.press('Escape');
  await written(alice, 'a draft');
  await alice.find('composer-about').waitFor({ state: 'hidden' });

  await act(alice, 1, 'edit');
  await written(alice, 'one, mended');
  await goTo(alice, 'attic');
  await written(alice, '');
  await alice.find('composer-about').waitFor({ state: 'hidden' });
  await goTo(alice, 'lobby');
  await written(alice, 'a draft');

  // It is there after a reload, also where an edit had the box; what is sent or of somebody else is not.
  await act(alice, 1, 'edit');
  await alice.page.reload();
  await alice.state('live');
  await written(alice, 'a draft');
  await box.press('Enter');
  await alice.sees(4);
  await alice.page.reload();
  await alice.state('live');
  await written(alice, '');
  await box.fill('mine');
  await alice.find('sign-out').click();
  await alice.find('name-input').fill('bob');
  await alice.find('join-button').click();
  await alice.state('live');
  await written(alice, '');
  assert.deepEqual(alice.faults, []);
});

test('an edit that is refused goes on, and is told in its room only', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice', { room: 'attic' });
  await goTo(alice, 'lobby');
  const wire = await alice.hold();
  for (const seq of [1, 2, 3]) {
    await alice.say(`text ${seq}`);
    await alice.sees(seq);
  }
  const box = alice.find('composer');
  const fault = (words) => alice.find('composer-fault').getByText(words).waitFor();
  const other = await client(t, server, 'alice');
  /** Sends an edit of a message that is deleted meanwhile, and does something before the answer comes. */
  const refused = async (seq, meanwhile) => {
    await act(alice, seq, 'edit');
    await written(alice, `text ${seq}`);
    await box.fill(`mended ${seq}`);
    await other.delete('lobby', seq);
    await line(alice, seq).getByTestId('deleted').waitFor();
    wire.hold();
    await box.press('Enter');
    await meanwhile();
    await wire.holds();
    wire.release();
  };

  await box.fill('a draft');
  await refused(1, async () => {
    await written(alice, 'a draft');
    await act(alice, 2, 'react-👍');
  });
  await line(alice, 2).locator('.reaction:not(.pending)').waitFor(); // which was made, and says nothing about the edit
  await fault(/\w/);
  await written(alice, 'mended 1');
  await about(alice, 'Editing your message');
  await box.press('Escape');
  await written(alice, 'a draft');

  // Whoever types by then goes on with that.
  await refused(2, async () => {
    await written(alice, 'a draft');
    await box.pressSequentially('!');
  });
  await written(alice, 'mended 2\na draft!');
  await box.fill('');

  await refused(3, async () => {
    await written(alice, '');
    await goTo(alice, 'attic');
  });
  await alice.say('something else');
  await alice.sees(1);
  assert.equal(await alice.find('composer-fault').textContent(), '');
  await written(alice, '');
  await goTo(alice, 'lobby');
  await written(alice, 'mended 3');
  await fault(/\w/);
  assert.deepEqual(alice.faults, []);
});

test('a conversation that is answered after Cancel is not shown', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const wire = await alice.hold();
  const dialog = alice.find('create');
  const begin = async (kind, text) => {
    await alice.find('create-open').click();
    await alice.find(`create-${kind}`).check();
    await alice.find('create-text').fill(text);
  };
  /** Asks for a conversation, and does not wait for the answer. */
  const leave = async (kind, text) => {
    await begin(kind, text);
    wire.hold();
    await alice.find('create-submit').click();
    await becomes(() => alice.find('create-submit').isDisabled(), true);
    await alice.find('create-cancel').click();
    await dialog.waitFor({ state: 'hidden' });
  };
  /** The answers have come: what was said after them is there. */
  const answered = async (text, seq) => {
    await wire.holds();
    wire.release();
    await (await client(t, server, 'bob')).publish('lobby', text);
    await alice.sees(seq);
  };

  await leave('group', 'Birds');
  await answered('one', 1);
  await alice.find('room').filter({ hasText: 'Birds' }).waitFor();
  await becomes(() => alice.page.getByRole('heading', { level: 1 }).textContent(), 'lobby');

  await leave('group', 'Fish');
  await begin('group', 'Bees');
  await becomes(() => alice.find('create-submit').isDisabled(), false);
  await answered('two', 2);
  await alice.find('room').filter({ hasText: 'Fish' }).waitFor({ state: 'attached' });
  await becomes(() => alice.find('create-text').inputValue(), 'Bees');
  assert.equal(await dialog.isVisible(), true);
  await alice.find('create-text').press('Enter');
  await alice.page.getByRole('heading', { level: 1, name: 'Bees' }).waitFor();
  assert.deepEqual(alice.faults, []);
});

/** Alice's page with the members of her group beside it, and herself without a page. */
async function group(t, server) {
  const other = await client(t, server, 'alice');
  await other.createRoom({ room: 'group:birds', title: 'Birds' });
  await other.changeMember({ room: 'group:birds', user: 'bob', action: 'invite' });
  const alice = await Person.arrive(t, server, 'alice');
  await goTo(alice, 'Birds');
  await alice.find('members-open').click();
  await member(alice, 'bob').waitFor();
  return { alice, other };
}

const member = (person, user) => person.page.locator(`[data-testid=member][data-user=${user}]`);

test('settings of a room that others change leave alone what is being written', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const { alice, other } = await group(t, server);
  await alice.find('room-settings').locator('summary').click();
  const title = alice.find('settings-title');
  const pace = alice.find('settings-pace');
  await becomes(() => title.inputValue(), 'Birds');
  await title.fill('Great bi');
  await other.configureRoom('group:birds', { title: 'Fish', slowModeMs: 30_000 });
  await becomes(() => pace.inputValue(), '30000');
  assert.equal(await title.inputValue(), 'Great bi');
  await pace.selectOption('60000');
  await title.fill('Fish');
  await other.configureRoom('group:birds', { title: 'Bees', slowModeMs: 7_000 });
  await becomes(() => title.inputValue(), 'Bees');
  await becomes(() => pace.inputValue(), '60000');
  assert.deepEqual(alice.faults, []);
});

test('an action keeps the focus while members come and change', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const { alice, other } = await group(t, server);
  await member(alice, 'bob').getByTestId('member-manage').click();
  await member(alice, 'bob').getByTestId('member-kick').focus();
  const focused = () => alice.page.evaluate(() => {
    const { activeElement: at } = document;
    return [at.closest('[data-testid=member]')?.dataset.user, at.dataset.testid];
  });
  await other.changeMember({ room: 'group:birds', user: 'adam', action: 'invite' });
  await member(alice, 'adam').waitFor();
  await becomes(focused, ['bob', 'member-kick']);
  await other.changeMember({ room: 'group:birds', user: 'bob', action: 'mute', forMs: 3_600_000 });
  await member(alice, 'bob').getByText(/muted until/).waitFor();
  await becomes(focused, ['bob', 'member-kick']);
  assert.deepEqual(alice.faults, []);
});

test('on a phone a long title leaves room for all, also offline and with large letters', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await client(t, server, 'alice');
  const room = 'group:birds';
  await alice.createRoom({ room, title: 'Friends of the birds in the gardens of the old town' });
  await alice.changeMember({ room, user: 'bob', action: 'invite' });
  const bob = await Person.arrive(t, server, 'bob', { viewport: PHONE, room });
  await bob.find('members-open').waitFor();
  await bob.page.getByRole('heading', { level: 1, name: 'Friends' }).waitFor();
  const height = () => bob.find('composer').evaluate((box) => box.offsetHeight);
  const before = await height();
  await bob.say('one');
  await bob.sees(1);
  assert.equal(await height(), before, 'what is written makes the box high, not its placeholder');
  await line(bob, 1).click();
  await bob.find('action-reply').click();
  const cancel = await bob.find('composer-cancel').boundingBox();
  assert.ok(cancel.height < 40, `Cancel is in one line, and is ${cancel.height} high`);

  await server.kill();
  await bob.state('offline');
  for (const width of [PHONE.width, 320, 195]) {
    await bob.page.setViewportSize({ width, height: PHONE.height });
    for (const part of ['#room-title', '#connection-retry', '#pins-open']) {
      // Each try to connect hides one of them for a moment.
      await becomes(async () => {
        const box = await bob.page.locator(part).boundingBox();
        return box !== null && box.width > 40 && box.x >= 0 && box.x + box.width <= width;
      }, true, `${part} of ${width}`);
    }
  }
  // As with letters four times as large: the rooms are in sight, and all below them can be reached.
  await bob.page.setViewportSize({ width: 320, height: 200 });
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  const [list, link] = [await bob.find('room-list').boundingBox(), await bob.find('room').first().boundingBox()];
  assert.ok(list.height > link.height, `rooms of ${link.height} pixels in a list of ${list.height}`);
  await bob.find('sign-out').click();
  await bob.find('name-input').waitFor();
  assert.deepEqual(bob.faults, []);
});

test('a clock that is behind keeps nobody from writing, and today is not today for ever', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  const room = 'group:birds';
  await bob.createRoom({ room, title: 'Birds', slowModeMs: 2_000 });
  await bob.changeMember({ room, user: 'alice', action: 'invite' });
  const alice = await Person.arrive(t, server, 'alice', { room });
  await alice.page.addInitScript(() => {
    const { now } = Date;
    globalThis.beDaysAhead = (days) => (Date.now = () => new Date(now()).setDate(new Date(now()).getDate() + days));
    globalThis.beDaysAhead(-1);
  });
  await alice.page.reload();
  await alice.state('live');
  await alice.say('one');
  await alice.sees(1);
  await alice.find('composer-state').waitFor({ state: 'hidden' }); // two seconds later, and not a day
  await server.kill();
  await alice.state('offline');
  await alice.say('two');
  await alice.page.locator('[data-testid=message][data-state=pending]').waitFor();
  const days = alice.page.locator('#messages .day');
  assert.equal(await days.count(), 1);
  await alice.page.evaluate(() => globalThis.beDaysAhead(1));
  await alice.say('three');
  await becomes(() => days.allTextContents(), ['Yesterday', 'Today']);
  assert.deepEqual(alice.faults, []);
});

test('what was written about messages of a room that has begun anew is about none of the new ones', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  await alice.say('one');
  await alice.sees(1);
  await alice.say('two');
  await alice.sees(2);
  await server.kill();
  await alice.state('offline');
  await act(alice, 1, 'edit');
  await written(alice, 'one');
  await alice.say('one, mended');
  await act(alice, 2, 'reply');
  await about(alice, 'In reply to alice: two');
  await alice.say('indeed');
  await act(alice, 2, 'edit');
  await written(alice, 'two');
  await alice.find('composer').fill('two, begun');

  // The server is back with another log, as after it was restored: the same numbers are those of other messages, hers too.
  const other = await Server.start(t);
  const elsewhere = await client(t, other, 'alice');
  for (const text of ['another one', 'another two']) await elsewhere.publish('lobby', text);
  elsewhere.close();
  await other.kill();
  await rm(server.data, { recursive: true });
  await rename(other.data, server.data);
  await server.start();
  await alice.state('live');
  await line(alice, 1).getByText('another one', { exact: true }).waitFor();
  await line(alice, 2).getByText('another two', { exact: true }).waitFor();
  await alice.find('composer-fault').getByText('The room has begun anew').waitFor();
  await alice.find('composer-about').waitFor({ state: 'hidden' });
  await written(alice, 'two, begun\none, mended');
  const failed = alice.page.locator('[data-testid=message][data-state=failed]');
  await failed.getByText('The room has begun anew, and the message that this answers is gone.').waitFor();
  assert.equal(await failed.getByTestId('quote').count(), 0);
  await alice.photograph('begun-anew');

  // Both are for the room now, if she wants that.
  await alice.find('retry').click();
  await alice.sees(3);
  await alice.find('composer').press('Enter');
  await alice.sees(4);
  const { messages } = await (await client(t, server, 'bob')).history('lobby');
  assert.deepEqual(messages.map(({ text, edits, replyTo }) => [text, edits, replyTo]), [
    ['another one', undefined, undefined], ['another two', undefined, undefined], ['indeed', undefined, undefined], ['two, begun\none, mended', undefined, undefined],
  ]);
  assert.deepEqual(alice.faults, []);
});

test('Enter that ends a word which is being composed sends nothing', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const box = alice.find('composer');
  await box.fill('かな');
  // What browsers make of the key; the second is Safari's.
  for (const key of [{ isComposing: true }, { keyCode: 229 }]) {
    await box.evaluate((element, more) => element.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...more })), key);
    assert.equal(await box.inputValue(), 'かな');
  }
  await box.press('Enter');
  await alice.sees(1);
  assert.deepEqual((await alice.messages()).map(({ text }) => text), ['かな']);
  assert.deepEqual(alice.faults, []);
});

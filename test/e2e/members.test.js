// Rooms with members on the chat page, with several people in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { PHONE, Person, client, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

const titles = (person) => person.find('room').evaluateAll((rows) => rows.map((row) => row.querySelector('.room-name').textContent));

/** Waits until the list of rooms is that one. */
const lists = (person, ...wanted) => becomes(() => titles(person), wanted);

const row = (person, title) => person.find('room').filter({ hasText: title });

test('all rooms are in the list, on every device, with what is unread and mentions', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  await bob.createRoom({ room: 'group:birds', title: 'Birds' });
  await bob.changeMember({ room: 'group:birds', user: 'alice', action: 'invite' });
  const direct = await bob.startDirect('alice');
  for (const room of ['group:birds', direct.room]) await bob.join(room).ready;
  await bob.publish('group:birds', 'hello @alice', { mentions: ['alice'] });
  await bob.publish('group:birds', 'anybody here?');
  await bob.publish(direct.room, 'psst');

  const alice = await Person.arrive(t, server, 'alice');
  await lists(alice, 'bob', 'Birds', 'lobby');
  await row(alice, 'Birds').getByText('2 unread').waitFor();
  await row(alice, 'Birds').getByText('mentions you').waitFor();
  await row(alice, 'bob').getByText('1 unread').waitFor();
  await alice.photograph('members-list');
  const phone = await Person.arrive(t, server, 'alice', { viewport: PHONE, colorScheme: 'dark' });
  await phone.page.getByRole('button', { name: 'Rooms' }).click();
  await lists(phone, 'bob', 'Birds', 'lobby');
  await row(phone, 'Birds').getByText('2 unread').waitFor();
  await phone.photograph('members-list-phone');

  // What is read on one device is read on the other, and a message moves its room to the front.
  await row(alice, 'Birds').click();
  await alice.sees(2);
  await alice.page.getByRole('heading', { level: 1, name: 'Birds' }).waitFor();
  await row(phone, 'Birds').getByTestId('unread').waitFor({ state: 'hidden' });
  await row(phone, 'Birds').getByTestId('mentioned').waitFor({ state: 'hidden' });
  await alice.say('yes');
  await lists(phone, 'Birds', 'bob', 'lobby');

  // The page may forget everything but the name.
  await alice.page.evaluate(() => ['rookery.rooms', 'rookery.read'].forEach((key) => localStorage.removeItem(key)));
  await alice.page.reload();
  await alice.state('live');
  await lists(alice, 'Birds', 'bob', 'lobby');
  await alice.sees(3);
  await row(alice, 'bob').getByText('1 unread').waitFor();

  // News of other rooms comes by itself.
  await bob.createRoom({ room: 'group:fish', title: 'Fish' });
  await bob.changeMember({ room: 'group:fish', user: 'alice', action: 'invite' });
  await lists(alice, 'Fish', 'Birds', 'bob', 'lobby');
  await bob.changeMember({ room: 'group:fish', user: 'alice', action: 'kick' });
  for (const person of [alice, phone]) await lists(person, 'Birds', 'bob', 'lobby');
  for (const person of [alice, phone]) assert.deepEqual(person.faults, []);
});

const press = (person, testid) => person.find(testid).click();

/** Begins a conversation with the dialog. */
async function create(person, kind, text) {
  await press(person, 'create-open');
  await person.find(`create-${kind}`).check();
  await person.find('create-text').fill(text);
  await person.find('create-text').press('Enter');
}

test('direct conversations, groups and channels are begun with the dialog', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob', { viewport: PHONE, colorScheme: 'dark' });

  await create(alice, 'direct', 'bob');
  await alice.page.getByRole('heading', { level: 1, name: 'bob' }).waitFor();
  await alice.say('hello bob');
  await alice.sees(1);
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  await row(bob, 'alice').getByText('1 unread').waitFor();
  await press(bob, 'create-open');
  await bob.photograph('create-phone-dark');
  await press(bob, 'create-cancel');
  await row(bob, 'alice').click();
  await bob.sees(1);

  await create(alice, 'group', 'Birds');
  await alice.page.getByRole('heading', { level: 1, name: 'Birds' }).waitFor();
  await create(alice, 'channel', 'news');
  await alice.page.waitForURL(/#channel%3Anews$/);
  await alice.find('create').waitFor({ state: 'hidden' });
  await lists(alice, 'news', 'Birds', 'bob', 'lobby');
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  await create(bob, 'channel', 'news');
  await bob.page.waitForURL(/#channel%3Anews$/);
  await bob.say('anything new?');
  await alice.sees(1);

  // What the server refuses is said in the dialog, which stays.
  await create(alice, 'direct', 'alice');
  await alice.find('create-error').getByText(/\w/).waitFor();
  await alice.photograph('create-error');
  await alice.page.keyboard.press('Escape');
  await alice.find('create').waitFor({ state: 'hidden' });
  for (const person of [alice, bob]) assert.deepEqual(person.faults, []);
});

const member = (person, user) => person.page.locator(`[data-testid=member][data-user=${user}]`);

async function manage(person, user, action) {
  await member(person, user).getByTestId('member-manage').click();
  await member(person, user).getByTestId(`member-${action}`).click();
}

test('members: invite, roles, mute, remove, ban, settings and leaving', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--rooms.presence-grace', '100ms');
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob', { viewport: PHONE, colorScheme: 'dark' });
  assert.equal(await alice.find('members-open').isVisible(), false, 'the lobby has no members');
  await create(alice, 'group', 'Birds');
  await alice.page.getByRole('heading', { level: 1, name: 'Birds' }).waitFor();
  await press(alice, 'members-open');
  await member(alice, 'alice').getByText('owner').waitFor();
  for (const name of ['bob', 'carol']) {
    await alice.find('invite-name').fill(name);
    await press(alice, 'invite');
    await member(alice, name).getByText('member').waitFor();
  }
  await alice.find('members').getByText('Members (3)').waitFor();

  // He sees who is there, and what he may do: invite and leave.
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  await row(bob, 'Birds').click();
  await press(bob, 'members-open');
  await bob.page.locator('[data-testid=member][data-user=alice][data-state=online]').waitFor();
  await bob.page.locator('[data-testid=member][data-user=carol][data-state=offline]').waitFor();
  await bob.find('members').getByText('Members (3)').waitFor();
  await bob.find('invite-name').waitFor();
  assert.equal(await bob.find('member-manage').count(), 0);
  assert.equal(await bob.find('room-settings').isVisible(), false);
  await bob.photograph('members-phone-dark');

  // A moderator may do more, at once.
  await manage(alice, 'bob', 'role-moderator');
  await member(bob, 'carol').getByTestId('member-manage').waitFor();
  assert.equal(await member(bob, 'alice').getByTestId('member-manage').count(), 0);
  await manage(bob, 'carol', 'mute');
  await member(alice, 'carol').getByText(/muted until/).waitFor();
  await member(alice, 'carol').getByTestId('member-manage').click();
  await alice.find('room-settings').locator('summary').click();
  await alice.photograph('members-desk');
  await alice.find('settings-title').fill('Great birds');
  await alice.find('settings-pace').selectOption('30000');
  await press(alice, 'settings-save');
  for (const person of [alice, bob]) await person.page.getByRole('heading', { level: 1, name: 'Great birds' }).waitFor({ state: 'attached' });
  await member(alice, 'carol').getByTestId('member-ban').click();
  await member(bob, 'carol').waitFor({ state: 'detached' });
  await press(alice, 'members-banned');
  await member(alice, 'carol').getByText('banned for ever').waitFor();
  await manage(alice, 'carol', 'unban');
  await member(alice, 'carol').waitFor({ state: 'detached' });
  await press(alice, 'members-banned');

  // The server's words where it refuses.
  await bob.find('invite-name').fill('alice\u0007');
  await press(bob, 'invite');
  await bob.find('members-fault').getByText(/control/).waitFor();
  await press(bob, 'room-leave');
  await bob.find('room-leave').getByText('for good').waitFor();
  await press(bob, 'room-leave');
  await lists(bob, 'lobby');
  await member(alice, 'bob').waitFor({ state: 'detached' });
  for (const person of [alice, bob]) assert.deepEqual(person.faults, []);
});

test('a name that is written before an invitation is answered stays', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--limits.members-per-room', '2');
  const alice = await Person.arrive(t, server, 'alice');
  const wire = await alice.hold();
  await create(alice, 'group', 'Birds');
  await alice.page.getByRole('heading', { level: 1, name: 'Birds' }).waitFor();
  await press(alice, 'members-open');
  await member(alice, 'alice').getByText('owner').waitFor();
  const box = alice.find('invite-name');
  const invite = async (name, next) => {
    wire.hold();
    await box.fill(name);
    await box.press('Enter');
    await becomes(() => box.inputValue(), '');
    await box.pressSequentially(next);
    await wire.holds();
    wire.release();
  };
  await invite('bob', 'carol');
  await member(alice, 'bob').getByText('member').waitFor();
  assert.equal(await box.inputValue(), 'carol');

  // Who can't be invited, here since the room is full, is in the box again, unless something else is.
  await invite('dora', '');
  await alice.find('members-fault').getByText(/\w/).waitFor();
  assert.equal(await box.inputValue(), 'dora');
  await invite('dora', 'ed');
  await alice.find('members-fault').getByText(/\w/).waitFor();
  assert.equal(await box.inputValue(), 'ed');
  assert.deepEqual(alice.faults, []);
});

test('who may not write is told why, and until when', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await client(t, server, 'alice');
  const room = 'group:birds';
  await alice.createRoom({ room, title: 'Birds' });
  await alice.changeMember({ room, user: 'bob', action: 'invite' });
  const bob = await Person.arrive(t, server, 'bob', { viewport: PHONE });
  const state = (words) => bob.find('composer-state').getByText(words).waitFor();
  const free = () => bob.find('composer-state').waitFor({ state: 'hidden' });
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  await row(bob, 'Birds').click();
  await bob.say('one');
  await bob.sees(1);

  await alice.changeMember({ room, user: 'bob', action: 'mute', forMs: 3_600_000 });
  await state(/You are muted until/);
  await becomes(() => bob.find('composer').isDisabled(), true);
  await bob.photograph('muted-phone');
  await alice.changeMember({ room, user: 'bob', action: 'unmute' });
  await free();
  await alice.configureRoom(room, { speak: 'moderator' });
  await state('Only moderators write here.');
  await alice.changeMember({ room, user: 'bob', action: 'role', role: 'guest' });
  await alice.configureRoom(room, { speak: 'member' });
  await state('Guests only read here.');
  await alice.changeMember({ room, user: 'bob', action: 'role', role: 'member' });
  await free();

  // In slow mode one may write, but not send; edits are free.
  await alice.configureRoom(room, { slowModeMs: 3_600_000 });
  await state(/Slow mode/);
  await state(/\d+ s/);
  await bob.say('two');
  assert.equal(await bob.find('composer').inputValue(), 'two', 'it is not taken');
  await becomes(() => bob.find('send').isDisabled(), true);
  await bob.page.locator('#messages [data-seq="1"]').hover();
  const disabled = await bob.find('action-edit').evaluate((button) => {
    button.click();
    return document.getElementById('composer-send').disabled; // not only when the seconds are told again
  });
  assert.equal(disabled, false, 'an edit can be sent at once');
  await bob.find('composer').press('Escape');
  assert.equal(await bob.find('send').isDisabled(), true, 'and what is new can not');
  await alice.configureRoom(room, { slowModeMs: 0 });
  await free();
  await bob.find('composer').press('Enter');
  await bob.sees(2);

  await alice.changeMember({ room, user: 'bob', action: 'kick', reason: 'too loud' });
  await state('You were removed from Birds: too loud.');
  await becomes(() => bob.find('composer').isDisabled(), true);
  await bob.photograph('removed-phone');
  await bob.page.getByRole('button', { name: 'Rooms' }).click();
  await row(bob, 'lobby').click();
  await lists(bob, 'lobby');
  await becomes(() => bob.find('composer').isDisabled(), false);
  assert.deepEqual(bob.faults, []);
});

test('mentions and direct messages notify while nobody looks, unless the room is muted here', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  const alice = await Person.arrive(t, server, 'alice');
  // The browser's own would need a desktop that shows them.
  await alice.page.addInitScript(() => {
    window.notified = [];
    window.Notification = class extends EventTarget {
      static permission = 'default';
      static async requestPermission() {
        return (this.permission = 'granted');
      }
      constructor(title, { body }) {
        super();
        window.notified.push([title, body]);
        window.newest = this;
      }
      close() {}
    };
  });
  await alice.page.reload();
  await alice.state('live');
  await alice.shown();
  const direct = await bob.startDirect('alice');
  await bob.join(direct.room).ready;
  await lists(alice, 'bob', 'lobby');
  await alice.hide(true);
  await bob.publish(direct.room, 'before it is allowed');
  await row(alice, 'bob').getByText('1 unread').waitFor();
  await alice.hide(false);
  await press(alice, 'notify');
  await alice.find('notify').waitFor({ state: 'hidden' });
  await bob.publish(direct.room, 'while somebody looks');
  await row(alice, 'bob').getByText('2 unread').waitFor();
  await alice.hide(true);
  await bob.publish(direct.room, 'psst');
  await bob.publish('lobby', 'nothing special');
  await bob.publish('lobby', '@alice look', { mentions: ['alice'] });
  // In no order: they are of two rooms.
  await becomes(() => alice.page.evaluate(() => window.notified.map((each) => each.join(': ')).sort()), ['bob in lobby: @alice look', 'bob: psst']);
  await alice.hide(false);
  await row(alice, 'lobby').getByTestId('unread').waitFor({ state: 'hidden' });
  await press(alice, 'room-mute');
  await becomes(() => alice.find('room-mute').getAttribute('aria-pressed'), 'true');
  await alice.hide(true);
  await bob.publish('lobby', '@alice again', { mentions: ['alice'] });
  await row(alice, 'lobby').getByText('1 unread').waitFor();
  await bob.publish(direct.room, 'last');
  await becomes(() => alice.page.evaluate(() => window.notified.slice(2)), [['bob', 'last']]);
  await alice.page.evaluate(() => window.newest.dispatchEvent(new Event('click')));
  await alice.page.getByRole('heading', { level: 1, name: 'bob' }).waitFor();
  await alice.hide(false);
  await alice.photograph('muted-room');
  assert.deepEqual(alice.faults, []);
});

test('who is not there was last seen, before and while somebody looks', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--rooms.presence-grace', '100ms');
  const bob = await client(t, server, 'bob');
  await bob.createRoom({ room: 'group:birds', title: 'Birds' });
  for (const user of ['alice', 'carol']) await bob.changeMember({ room: 'group:birds', user, action: 'invite' });
  const carol = await client(t, server, 'carol');
  carol.close();
  // Who looks sees what was known then, and news.
  await becomes(async () => (await bob.members('group:birds')).members.find(({ user }) => user === 'carol').lastSeen > 0, true);
  await bob.join('group:birds').ready;
  await bob.publish('group:birds', 'a heron');
  await bob.publish('group:birds', 'two of them', { replyTo: 1 });

  const alice = await Person.arrive(t, server, 'alice');
  await row(alice, 'Birds').click();
  await alice.find('quote').getByText('bob: a heron').waitFor(); // whichever of the two came first
  await press(alice, 'members-open');
  await member(alice, 'carol').getByText(/^member, last seen \d/).waitFor();
  await member(alice, 'bob').getByText(/^owner$/).waitFor();
  bob.close();
  await member(alice, 'bob').getByText(/^owner, last seen \d/).waitFor();
  await alice.photograph('members-last-seen');
  assert.deepEqual(alice.faults, []);
});

// Rooms with members on the chat page, with several people in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';

import { Rookery } from '../../client/js/rookery.js';
import { PHONE, Person, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

/** Somebody without a page. */
async function client(t, server, name) {
  const made = new Rookery({ url: server.socketAddress, name, WebSocket });
  t.after(() => made.close());
  await made.connect();
  return made;
}

const titles = (person) => person.find('room').evaluateAll((rows) => rows.map((row) => row.querySelector('.room-name').textContent));

/** Waits until the list of rooms is that one. */
async function lists(person, ...wanted) {
  await person.page.waitForFunction((expected) => {
    const rows = [...document.querySelectorAll('[data-testid=room] .room-name')];
    return rows.map((row) => row.textContent).join('|') === expected;
  }, wanted.join('|')).catch(() => {}); // the comparison below says what is there instead
  assert.deepEqual(await titles(person), wanted);
}

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
  assert.equal(await row(phone, 'Birds').getByTestId('mentioned').isVisible(), false);
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

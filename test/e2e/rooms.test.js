// Many rooms on the chat page, in Chromium: finding one, and getting about in the list by keyboard.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { PHONE, Person, client, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

/** The titles of the rooms that are seen. */
const seen = (person) => person.page.locator('.room-name:visible').allTextContents();

const sees = (person, ...titles) => becomes(async () => (await seen(person)).sort(), titles.sort());

const heading = (person, name) => person.page.getByRole('heading', { level: 1, name }).waitFor();

/** What has the focus: a room's title, or a test id. */
const focused = (person) => person.page.evaluate(() => {
  const { activeElement: at } = document;
  return at.matches('.room-link') ? at.querySelector('.room-name').textContent : at.dataset.testid;
});

const TITLES = ['Vögel im Garten', 'Straßenfest', ...Array.from({ length: 12 }, (_, i) => `Team ${i + 1}`)];

/** A server where alice is in many rooms, the last of them first in her list. */
async function withRooms(t) {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  for (const [index, title] of TITLES.entries()) {
    const room = `group:${index}`;
    await bob.createRoom({ room, title });
    await bob.changeMember({ room, user: 'alice', action: 'invite' });
    await bob.join(room).ready;
    await bob.publish(room, 'welcome');
  }
  return { server, bob };
}

test('a room among many is found by its title', { timeout: 120_000 }, async (t) => {
  const { server, bob } = await withRooms(t);
  const alice = await Person.arrive(t, server, 'alice');
  await sees(alice, ...TITLES, 'lobby');
  const field = alice.find('room-filter');
  const found = (words) => becomes(() => alice.find('room-filter-found').textContent(), words);

  await alice.page.keyboard.press('Control+k');
  await becomes(() => focused(alice), 'room-filter');
  await field.pressSequentially('team 1');
  await sees(alice, 'Team 1', 'Team 10', 'Team 11', 'Team 12');
  await found(`4 of ${TITLES.length + 1} rooms`);
  await alice.photograph('rooms-found');
  await bob.configureRoom('group:0', { title: 'Team 100' }); // what comes meanwhile is looked at, too
  await sees(alice, 'Team 1', 'Team 10', 'Team 11', 'Team 12', 'Team 100');
  await field.press('Escape');
  await sees(alice, ...TITLES.slice(1), 'Team 100', 'lobby');
  await found('');
  await field.fill('nowhere');
  await sees(alice);
  await found('No room is called that.');
  await field.press('Enter');
  await becomes(() => focused(alice), 'room-filter');
  await field.fill('strassen');
  await sees(alice, 'Straßenfest');
  await field.press('Enter');
  await heading(alice, 'Straßenfest');
  await becomes(() => focused(alice), 'composer');
  await becomes(() => field.inputValue(), '');
  assert.equal((await seen(alice)).length, TITLES.length + 1);

  // Elsewhere it is what it is in all lists of links.
  const [tab] = await Promise.all([alice.page.context().waitForEvent('page'), alice.find('room').filter({ hasText: 'Team 5' }).click({ modifiers: ['Control'] })]);
  assert.equal(await alice.page.getByRole('heading', { level: 1 }).textContent(), 'Straßenfest');
  await tab.close();

  const phone = await Person.arrive(t, server, 'alice', { viewport: PHONE, colorScheme: 'dark' });
  await phone.page.locator('#room-filter-part:not([hidden])').waitFor({ state: 'attached' });
  await phone.page.keyboard.press('Control+k');
  await becomes(() => focused(phone), 'room-filter');
  await phone.find('room-filter').fill('team 3');
  await sees(phone, 'Team 3');
  await phone.photograph('rooms-found-phone-dark');
  await phone.find('room').filter({ hasText: 'Team 3' }).click();
  await heading(phone, 'Team 3');
  await phone.page.getByRole('button', { name: 'Rooms' }).click();
  await becomes(() => phone.find('room-filter').inputValue(), '');
  await phone.photograph('rooms-phone-dark');

  // Where all rooms are in sight there is nothing to find.
  const carol = await Person.arrive(t, server, 'carol');
  await carol.find('composer').focus();
  await carol.page.keyboard.press('Control+k');
  assert.equal(await focused(carol), 'composer');
  assert.equal(await carol.find('room-filter').isVisible(), false);
  for (const person of [alice, phone, carol]) assert.deepEqual(person.faults, []);
});

test('the list of rooms is one stop of the Tab key, and shows the room that is looked at', { timeout: 120_000 }, async (t) => {
  const { server } = await withRooms(t);
  const alice = await Person.arrive(t, server, 'alice', { viewport: { width: 1100, height: 480 } });
  await sees(alice, ...TITLES, 'lobby');
  const all = await seen(alice);
  assert.deepEqual([all[0], all.at(-1)], ['Team 12', 'lobby']);
  const press = (key) => alice.page.keyboard.press(key);
  const inSight = () => alice.page.locator('[data-room][aria-current=page]').evaluate((link) => {
    const { top, bottom } = document.getElementById('room-list').getBoundingClientRect();
    const box = link.getBoundingClientRect();
    return box.top >= top - 1 && box.bottom <= bottom + 1;
  });
  await press('Alt+ArrowDown');
  await heading(alice, 'Team 12');
  await becomes(inSight, true);
  await press('Alt+ArrowUp');
  await heading(alice, 'lobby');
  await becomes(inSight, true);

  await alice.find('room-filter').focus();
  await press('ArrowDown');
  await becomes(() => focused(alice), 'Team 12');
  await press('ArrowDown');
  await becomes(() => focused(alice), 'Team 11');
  await press('End');
  await becomes(() => focused(alice), 'lobby');
  await press('ArrowDown');
  await press('Home');
  await becomes(() => focused(alice), 'Team 12');
  await press('Tab');
  await becomes(() => focused(alice), 'room-add');
  await press('Shift+Tab');
  await becomes(() => focused(alice), 'Team 12');
  await press('Shift+Tab');
  await becomes(() => focused(alice), 'room-filter');
  await press('ArrowDown');
  await press('ArrowUp');
  await becomes(() => focused(alice), 'room-filter');
  await press('Tab');
  await press('Enter');
  await heading(alice, 'Team 12');

  // Who leaves a room is in the list still.
  await alice.find('room-add').fill('attic');
  await alice.find('room-add').press('Enter');
  await heading(alice, 'attic');
  await alice.page.getByRole('button', { name: 'Leave attic' }).press('Enter');
  await alice.page.locator('[data-room=attic]').waitFor({ state: 'detached' });
  await becomes(() => alice.page.evaluate(() => document.activeElement.getAttribute('aria-current')), 'page');
  assert.deepEqual(alice.faults, []);
});

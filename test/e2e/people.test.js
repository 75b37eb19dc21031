// Who is there and who is typing on the chat page, with two people in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { Person, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

const there = (person) => person.find('person').evaluateAll((rows) => rows.map(({ dataset: { user, state } }) => `${user} ${state}`));

/** Waits until the page shows them. */
const sees = (person, ...users) => becomes(() => there(person), users);

test('who comes, is away, types and goes', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--rooms.presence-grace', '100ms');
  const alice = await Person.arrive(t, server, 'alice');
  await sees(alice, 'alice online');
  const bob = await Person.arrive(t, server, 'bob');
  for (const person of [alice, bob]) await sees(person, 'alice online', 'bob online');

  await alice.hide(true);
  await sees(bob, 'bob online', 'alice away');
  await bob.photograph('people-away');
  await alice.hide(false);
  await sees(bob, 'alice online', 'bob online');
  await bob.page.emulateMedia({ forcedColors: 'active' });
  for (const dot of ['.person-dot', '.connection-dot']) {
    const colours = await bob.page.locator(dot).first().evaluate((element) => [element, document.body].map((one) => getComputedStyle(one).backgroundColor));
    assert.notEqual(colours[0], colours[1], `${dot} can be seen where the system gives the colours`);
  }
  await bob.page.emulateMedia({ forcedColors: null });

  const typing = (words) => alice.find('typing').filter({ hasText: words }).waitFor();
  await bob.find('composer').pressSequentially('hel');
  await typing(/^bob is typing$/);
  assert.equal(await bob.find('typing').textContent(), '', 'nobody is told of themselves');
  await alice.photograph('people-typing');
  await bob.find('composer').press('Enter');
  await alice.sees(1);
  await typing(/^$/);
  await bob.find('composer').pressSequentially('x');
  await typing(/^bob is typing$/);
  await bob.find('composer').press('Backspace');
  await typing(/^$/);

  // Another room has people of its own, and the one that is looked at is watched.
  await bob.find('room-add').fill('attic');
  await bob.find('room-add').press('Enter');
  await sees(bob, 'bob online');
  await sees(alice, 'alice online', 'bob online');
  await bob.page.close();
  await sees(alice, 'alice online');

  await server.kill();
  await sees(alice, 'alice unknown');
  await alice.photograph('people-unknown');
  await server.start();
  await sees(alice, 'alice online');
  for (const person of [alice, bob]) assert.deepEqual(person.faults, []);
});

test('where nobody is told who is there, nothing is shown', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--rooms.presence', 'other-*');
  const alice = await Person.arrive(t, server, 'alice');
  await alice.say('x');
  await alice.sees(1);
  assert.equal(await alice.find('people').isVisible(), false);
  assert.deepEqual(alice.faults, []);
});

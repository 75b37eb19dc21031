// What somebody is writing stays, whatever comes meanwhile, in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { Person, closeBrowser, openBrowser } from './person.js';
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
  await alice.page.goto(`${server.address}/#lobby`);
  await alice.page.getByRole('heading', { level: 1, name: 'lobby' }).waitFor();
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

  await act(alice, 1, 'edit');
  await written(alice, 'one, mended');
  await goTo(alice, 'attic');
  await written(alice, '');
  await alice.find('composer-about').waitFor({ state: 'hidden' });
  await goTo(alice, 'lobby');
  await written(alice, 'a draft');
  assert.deepEqual(alice.faults, []);
});

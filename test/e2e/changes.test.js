// Changing messages on the chat page, with two people in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';

import { Person, closeBrowser, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

/** The line of a message. */
const line = (person, seq) => person.page.locator(`#messages [data-seq="${seq}"]`);

async function act(person, seq, action) {
  await line(person, seq).hover();
  await line(person, seq).getByTestId(`action-${action}`).click();
}

async function reads(person, seq, testid, text) {
  await line(person, seq).getByTestId(testid).filter({ hasText: text }).waitFor();
}

test('edit, react, reply, thread, pin and delete', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob');
  await alice.say('one');
  await bob.say('two');
  for (const person of [alice, bob]) await person.sees(2);

  // 3: an edit. The box holds the text as it was.
  await act(alice, 1, 'edit');
  assert.equal(await alice.find('composer').inputValue(), 'one');
  await alice.say('one, mended');
  await reads(bob, 1, 'text', 'one, mended');
  await reads(bob, 1, 'edited', 'Edited');

  // 4 and 5: reactions of both, and 6: one is taken back by its chip.
  await act(bob, 1, 'react-👍');
  await reads(alice, 1, 'reaction', '👍 1');
  await act(alice, 1, 'react-👍');
  await reads(bob, 1, 'reaction', '👍 2');
  await line(bob, 1).getByTestId('reaction').click();
  // Each page hears of it by itself, in no order: both are waited for.
  for (const person of [alice, bob]) await reads(person, 1, 'reaction', '👍 1');
  assert.equal(await line(bob, 1).getByTestId('reaction').getAttribute('aria-pressed'), 'false');
  assert.equal(await line(alice, 1).getByTestId('reaction').getAttribute('aria-pressed'), 'true');

  // 7: a reply that names bob; his name is completed.
  await act(alice, 2, 'reply');
  await alice.find('composer').pressSequentially('@bo');
  await alice.find('mention-choice').filter({ hasText: 'bob' }).waitFor();
  await alice.find('composer').press('Enter');
  await alice.find('composer').pressSequentially('indeed');
  await alice.find('composer').press('Enter');
  await reads(bob, 7, 'quote', 'bob: two');
  await reads(bob, 7, 'mention', '@bob');
  assert.match(await line(bob, 7).getAttribute('class'), /message-to-me/);

  // 8: a thread, which goes on until it is closed, and then 9 is for the room.
  await act(bob, 1, 'thread');
  await bob.say('in the thread');
  await reads(alice, 1, 'replies', '1 reply');
  await bob.find('panel-list').getByText('in the thread').waitFor();
  await bob.find('panel-close').click();
  await bob.say('in the room');
  await alice.sees(9);
  await line(alice, 1).getByTestId('replies').click();
  await alice.find('panel-list').getByText('in the thread').waitFor();
  assert.equal(await alice.find('panel-list').getByTestId('message').count(), 2);
  await alice.find('panel-close').click();

  // 10: a pin.
  await act(bob, 1, 'pin');
  await reads(alice, 1, 'pinned', 'Pinned');
  await alice.find('pins').click();
  await alice.find('panel-list').getByText('one, mended').waitFor();
  await alice.photograph('changes');
  await alice.find('panel-close').click();

  // 11: a deletion; nobody else is offered one.
  await line(alice, 2).hover();
  assert.equal(await line(alice, 2).getByTestId('action-delete').count(), 0);
  await act(bob, 2, 'delete');
  await line(alice, 2).getByTestId('deleted').waitFor();
  await reads(alice, 7, 'quote', 'bob: deleted');

  // Who comes later sees the same.
  const carol = await Person.arrive(t, server, 'carol');
  await reads(carol, 1, 'text', 'one, mended');
  await reads(carol, 1, 'reaction', '👍 1');
  await reads(carol, 1, 'replies', '1 reply');
  await line(carol, 2).getByTestId('deleted').waitFor();
  for (const person of [alice, bob, carol]) {
    assert.ok(!(await person.page.content()).includes('two'), `${person.name} still has what was deleted`);
    assert.deepEqual(person.faults, []);
  }
});

test('what can be done to a message can be done with the keyboard', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  for (const text of ['one', 'two', 'three']) await alice.say(text);
  await alice.sees(3);
  const focused = (wanted) => alice.page.waitForFunction((is) => document.activeElement.dataset.seq === is || document.activeElement.dataset.testid === is, wanted);
  const press = (...keys) => keys.reduce((before, key) => before.then(() => alice.page.keyboard.press(key)), Promise.resolve());
  await alice.page.locator('#scroller').focus();
  await press('Tab');
  await focused('3');
  await press('ArrowUp', 'ArrowUp', 'ArrowUp');
  await focused('1');
  await press('ArrowDown', 'Tab');
  await focused('action-react-👍');
  assert.equal(await alice.page.getByRole('toolbar', { name: 'What to do with this message' }).count(), 1);
  await press('ArrowRight');
  await focused('action-react-❤️');
  await alice.photograph('message-keyboard');
  await press('Enter');
  await reads(alice, 2, 'reaction', '❤️ 1');
  await focused('2'); // the line was made anew
  await press('ArrowRight', 'End');
  await focused('action-delete');
  await press('Escape');
  await focused('2');
  await press('ArrowRight', 'End', 'ArrowLeft', 'Enter');
  await alice.find('composer-about').getByText('Editing').waitFor();
  await alice.say('two, mended');
  await reads(alice, 2, 'text', 'two, mended');
  assert.deepEqual(alice.faults, []);
});

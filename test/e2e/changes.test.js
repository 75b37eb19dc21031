// Changing messages on the chat page, with two people in Chromium.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { DESK, PHONE, Person, client, closeBrowser, openBrowser } from './person.js';
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

/** The reactions to a message: what they are, and whether the person's own is among them. */
const reactions = (person, seq) => line(person, seq).getByTestId('reaction')
  .evaluateAll((chips) => chips.map((chip) => `${chip.textContent}${chip.getAttribute('aria-pressed') === 'true' ? ', own' : ''}`));

test('edit, react, reply, thread, pin and delete', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob');
  await alice.say('one');
  await bob.say('two');
  for (const person of [alice, bob]) await person.sees(2);

  // 3: an edit. The box holds the text as it was.
  await act(alice, 1, 'edit');
  await becomes(() => alice.find('composer').inputValue(), 'one');
  await alice.say('one, mended');
  for (const person of [alice, bob]) {
    await reads(person, 1, 'text', 'one, mended');
    await reads(person, 1, 'edited', 'Edited');
  }

  // 4 and 5: reactions of both, and 6: one is taken back by its chip.
  await act(bob, 1, 'react-👍');
  await becomes(() => reactions(alice, 1), ['👍 1']);
  await becomes(() => reactions(bob, 1), ['👍 1, own']);
  await act(alice, 1, 'react-👍');
  for (const person of [alice, bob]) await becomes(() => reactions(person, 1), ['👍 2, own']);
  await line(bob, 1).getByTestId('reaction').click();
  await becomes(() => reactions(bob, 1), ['👍 1']);
  await becomes(() => reactions(alice, 1), ['👍 1, own']);

  // 7: a reply that names bob; his name is completed.
  await act(alice, 2, 'reply');
  await alice.find('composer').pressSequentially('@bo');
  await alice.find('mention-choice').filter({ hasText: 'bob' }).waitFor();
  const chosen = () => alice.find('composer').evaluate((box) => document.getElementById(box.getAttribute('aria-activedescendant'))?.textContent);
  assert.equal(await chosen(), 'bob');
  await alice.find('composer').press('Enter');
  assert.equal(await chosen(), undefined);
  await alice.find('composer').pressSequentially('indeed');
  await alice.find('composer').press('Enter');
  await reads(bob, 7, 'quote', 'bob: two');
  await reads(bob, 7, 'mention', '@bob');
  await bob.page.emulateMedia({ forcedColors: 'active', colorScheme: 'dark' });
  const background = await line(bob, 7).getByTestId('mention').evaluate((mention) => getComputedStyle(mention).backgroundColor);
  assert.doesNotMatch(background, /^rgba/, 'who is mentioned can be read where the system gives the colours: on its colour for that');
  await bob.page.emulateMedia({ forcedColors: null, colorScheme: null });
  await bob.page.locator('#messages .message-to-me[data-seq="7"]').waitFor();

  // 8: a thread, which goes on until it is closed, and then 9 is for the room.
  await act(bob, 1, 'thread');
  await bob.say('in the thread');
  await reads(alice, 1, 'replies', '1 reply');
  await bob.find('panel-list').getByText('in the thread').waitFor();
  assert.equal(await bob.find('panel-list').getByTestId('quote').count(), 0, 'in the thread nothing needs to say so');
  await reads(alice, 8, 'quote', 'In the thread of alice: one, mended');
  await bob.find('panel-close').click();
  await bob.say('in the room');
  await alice.sees(9);
  await line(alice, 8).getByTestId('quote').click();
  await becomes(() => alice.find('panel-list').getByTestId('text').allTextContents(), ['one, mended', 'in the thread']);
  await alice.find('panel-close').click();

  // 10: a pin. Where a line comes in or grows, those above move from under the pointer: bob's page is waited for too.
  await bob.sees(9);
  await act(bob, 1, 'pin');
  for (const person of [alice, bob]) await reads(person, 1, 'pinned', 'Pinned');
  await alice.find('pins').click();
  await alice.find('panel-list').getByText('one, mended').waitFor();
  await alice.photograph('changes');
  await alice.find('panel-close').click();

  // 11: a deletion; nobody else is offered one.
  await line(alice, 2).hover();
  await line(alice, 2).getByTestId('action-pin').waitFor();
  assert.equal(await line(alice, 2).getByTestId('action-delete').count(), 0);
  await act(bob, 2, 'delete');
  await bob.page.getByRole('button', { name: 'Delete for good?' }).waitFor(); // a second press does it
  await reads(bob, 2, 'text', 'two');
  await line(bob, 2).getByTestId('action-delete').click();
  for (const person of [alice, bob]) {
    await line(person, 2).getByTestId('deleted').waitFor();
    await reads(person, 7, 'quote', 'bob: deleted');
  }
  assert.equal(await line(bob, 9).getByTestId('ticks').count(), 1);
  assert.equal(await line(bob, 2).getByTestId('ticks').count(), 0, 'of what is deleted nothing is delivered or read');

  // Who comes later sees the same.
  const carol = await Person.arrive(t, server, 'carol');
  await reads(carol, 1, 'text', 'one, mended');
  await becomes(() => reactions(carol, 1), ['👍 1']);
  await reads(carol, 1, 'replies', '1 reply');
  await line(carol, 2).getByTestId('deleted').waitFor();
  for (const person of [alice, bob, carol]) {
    await becomes(async () => (await person.page.content()).includes('two'), false, `${person.name} still has what was deleted`);
    assert.deepEqual(person.faults, []);
  }
});

test('what a message answers is a click away, wherever it is', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  for (let i = 1; i <= 400; i++) await bob.publish('lobby', `message ${i}`);
  await bob.publish('lobby', 'indeed', { replyTo: 100 }); // 401
  await bob.pin('lobby', 50);
  const alice = await Person.arrive(t, server, 'alice');
  await alice.sees(401);
  await reads(alice, 401, 'quote', 'In reply to an earlier message');
  const seen = (seq) => becomes(() => line(alice, seq).evaluate((element) => {
    const { top, bottom } = document.getElementById('scroller').getBoundingClientRect();
    const box = element.getBoundingClientRect();
    return box.top >= top && box.bottom <= bottom;
  }), true);
  await line(alice, 401).getByTestId('quote').click();
  await line(alice, 100).waitFor();
  await seen(100);
  await alice.find('pins').click();
  await alice.find('panel-show').click();
  await line(alice, 50).waitFor();
  await seen(50);
  await alice.find('panel-close').click();
  await alice.find('jump').click();
  await alice.sees(401);

  // A long thread is shown at its end.
  for (let i = 1; i <= 30; i++) await bob.publish('lobby', `aside ${i}`, { thread: 401 });
  await line(alice, 401).getByTestId('replies').filter({ hasText: '30 replies' }).click();
  const inPanel = (text) => becomes(() => alice.find('panel-list').getByText(text, { exact: true }).evaluate((element) => {
    const { top, bottom } = document.getElementById('panel').getBoundingClientRect();
    const box = element.getBoundingClientRect();
    return box.top >= top && box.bottom <= bottom;
  }), true);
  await inPanel('aside 30');
  await alice.say('my own');
  await inPanel('my own');
  const [close, panel] = [await alice.find('panel-close').boundingBox(), await alice.find('panel').boundingBox()];
  assert.ok(close.y >= panel.y && close.y + close.height <= panel.y + panel.height, `the way out is in sight: ${JSON.stringify([close, panel])}`);
  await alice.find('panel-close').click();

  // What takes room from the messages, as a thread that grows, leads nobody away from their end, also if it comes with a scrolling.
  await alice.find('jump').waitFor({ state: 'hidden' });
  await alice.page.evaluate(() => {
    document.getElementById('scroller').scrollTop -= 1;
    document.getElementById('composer').style.paddingTop = '200px';
  });
  await becomes(() => alice.page.locator('#scroller').evaluate(({ scrollTop, scrollHeight, clientHeight }) => clientHeight < 400 && scrollHeight - scrollTop - clientHeight < 1), true);
  await alice.find('jump').waitFor({ state: 'hidden' });
  await alice.page.evaluate(() => document.getElementById('composer').removeAttribute('style'));

  // What is on its way says already what it answers.
  await act(alice, 401, 'reply');
  await server.kill();
  await alice.state('offline');
  await alice.say('offline');
  await alice.page.locator('[data-testid=message][data-state=pending]').getByText('In reply to bob: indeed').waitFor();

  // And so does what is asked for about a message.
  await act(alice, 401, 'react-👍');
  await line(alice, 401).locator('.reaction.pending').waitFor();
  await becomes(() => reactions(alice, 401), ['👍 1, own']);
  await alice.photograph('reaction-offline');
  await server.start();
  await alice.state('live');
  await line(alice, 401).locator('.reaction:not(.pending)').waitFor();
  await becomes(() => reactions(alice, 401), ['👍 1, own']);
  assert.deepEqual(alice.faults, []);
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
  await becomes(() => alice.page.getByRole('toolbar', { name: 'What to do with this message' }).count(), 1);
  await press('ArrowRight');
  await focused('action-react-❤️');
  await alice.photograph('message-keyboard');
  await press('Tab');
  await focused('composer'); // the row is one stop of that key
  await press('Shift+Tab');
  await focused('2');
  await press('Tab', 'ArrowRight');
  await focused('action-react-❤️');
  await press('Enter');
  await reads(alice, 2, 'reaction', '❤️ 1');
  await focused('2'); // the line was made anew
  await press('ArrowRight', 'End');
  await focused('action-delete');
  await (await client(t, server, 'bob')).react('lobby', 2, '❤️');
  await reads(alice, 2, 'reaction', '❤️ 2');
  await focused('action-delete'); // and once more, now in use
  await press('Escape');
  await focused('2');
  // What is pinned takes the focus, and gives it back.
  await alice.find('pins').focus();
  await press('Enter');
  await focused('panel-close');
  await press('Enter');
  await focused('pins');
  await line(alice, 2).focus();
  await press('ArrowRight', 'End', 'ArrowLeft', 'Enter');
  await alice.find('composer-about').getByText('Editing').waitFor();
  await alice.say('two, mended');
  await reads(alice, 2, 'text', 'two, mended');
  assert.deepEqual(alice.faults, []);
});

test('a long message is folded, and what can be done to it covers nothing of it and is in sight', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  for (let i = 1; i <= 30; i++) await bob.publish('lobby', `message ${i}`);
  await bob.publish('lobby', 'long '.repeat(1_000)); // 31
  for (const viewport of [PHONE, DESK]) {
    const alice = await Person.arrive(t, server, 'alice', { viewport });
    await alice.sees(31);
    const fold = line(alice, 31).getByTestId('fold');
    const length = (wanted) => becomes(() => line(alice, 31).getByTestId('text').evaluate(({ textContent }) => textContent.length), wanted);
    await length(801);
    await alice.find('jump').waitFor({ state: 'hidden' });
    await alice.photograph(`folded-${viewport.width}`);
    await fold.focus();
    for (const expanded of ['true', 'false', 'true']) {
      await alice.page.keyboard.press('Enter');
      await becomes(() => alice.page.evaluate(() => [document.activeElement.dataset.testid, document.activeElement.getAttribute('aria-expanded')]), ['fold', expanded]);
      await length(expanded === 'true' ? 5_000 : 801);
      await alice.find('jump').waitFor({ state: expanded === 'true' ? 'visible' : 'hidden' }); // whoever reads it is left there
    }
    await bob.react('lobby', 31, `${viewport.width}`);
    await reads(alice, 31, 'reaction', `${viewport.width}`);
    await length(5_000); // also where the line was made anew
    await alice.say('my own');
    await alice.allSent();
    const seq = Number(await alice.page.locator('#messages [data-seq]').last().getAttribute('data-seq'));
    const box = (place) => place.boundingBox();
    const apart = (a, b) => a.y + a.height <= b.y + 1 || b.y + b.height <= a.y + 1;
    /** Where the actions are once they are those of that message, which the pointer touches at a height of the window. */
    const shown = async (seq, y) => {
      const within = await box(line(alice, seq));
      await alice.page.mouse.click(within.x + 80, y ?? within.y + within.height / 2);
      await line(alice, seq).getByTestId('actions').waitFor();
      const [row, scroller] = [await box(alice.find('actions')), await box(alice.page.locator('#scroller'))];
      assert.ok(row.x >= scroller.x && row.x + row.width <= scroller.x + scroller.width, `${viewport.width}, ${seq}: ${JSON.stringify(row)}`);
      assert.ok(row.y >= scroller.y - 1 && row.y + row.height <= scroller.y + scroller.height + 1, `${viewport.width}, ${seq}: ${JSON.stringify([row, scroller])}`);
      return row;
    };
    const top = (seq) => line(alice, seq).evaluate((element) => (document.getElementById('scroller').scrollTop = element.offsetTop));

    assert.ok(apart(await shown(seq), await box(line(alice, seq))));
    await alice.photograph(`actions-${viewport.width}`);
    await top(10);
    assert.ok(apart(await shown(10), await box(line(alice, 10))), 'the first one in sight has them below');
    await top(31);
    await alice.page.locator('#scroller').evaluate((element) => (element.scrollTop += 200));
    const before = await shown(31, 400); // neither its beginning nor its end is in sight
    await alice.page.locator('#scroller').evaluate((element) => (element.scrollTop += 60));
    await becomes(() => box(alice.find('actions')), before); // it stays in sight
    if (viewport === DESK) {
      // They stay beside it also where it grows, and nobody points at it.
      for (let i = 1; i <= 15; i++) await bob.publish('lobby', `behind it ${i}`);
      await alice.sees(seq + 15);
      await fold.press('Enter');
      await length(801);
      await top(31);
      await alice.page.mouse.move(5, 5);
      for (const key of ['Shift+Tab', 'Tab']) await alice.page.keyboard.press(key);
      await becomes(async () => apart(await box(alice.find('actions')), await box(line(alice, 31))), true);
      await fold.press('Enter');
      await length(5_000);
      await becomes(async () => (await box(alice.find('actions'))).y - (await box(alice.page.locator('#scroller'))).y < 1, true);
      continue;
    }

    // Whoever looks at the list of rooms meanwhile comes back to where they were.
    const place = await box(line(alice, 31));
    await alice.page.getByRole('button', { name: 'Rooms' }).click();
    await line(alice, 31).waitFor({ state: 'hidden' });
    await alice.find('room').filter({ hasText: 'lobby' }).click();
    await line(alice, 31).waitFor();
    assert.deepEqual(await box(line(alice, 31)), place);
    await alice.find('jump').waitFor();
  }
});

test('what can be done to a message can be done with a finger', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const bob = await client(t, server, 'bob');
  for (let i = 1; i <= 40; i++) await bob.publish('lobby', `message ${i}`);
  const alice = await Person.arrive(t, server, 'alice', { viewport: PHONE, hasTouch: true });
  await alice.sees(40);
  const rows = () => alice.find('actions').count();

  // A finger that only scrolls asks for nothing.
  const finger = await alice.page.context().newCDPSession(alice.page);
  const touch = (type, ...points) => finger.send('Input.dispatchTouchEvent', { type, touchPoints: points.map((y) => ({ x: 100, y })) });
  const scrolled = () => alice.page.locator('#scroller').evaluate(({ scrollTop }) => scrollTop);
  const before = await scrolled();
  await touch('touchStart', 300);
  for (let y = 320; y <= 500; y += 20) await touch('touchMove', y);
  await touch('touchEnd');
  await becomes(async () => (await scrolled()) < before, true);
  assert.equal(await rows(), 0);
  await alice.find('jump').tap();

  // The message changes before it is chosen what to do with it.
  await line(alice, 38).tap();
  await bob.pin('lobby', 38);
  await reads(alice, 38, 'pinned', 'Pinned');
  await line(alice, 38).getByTestId('action-pin').filter({ hasText: 'Unpin' }).waitFor();
  await line(alice, 38).getByTestId('action-react-👍').tap();
  await becomes(() => reactions(alice, 38), ['👍 1, own']);
  assert.equal(await rows(), 0);
  await line(alice, 38).getByTestId('reaction').tap(); // which takes it back, and is for nothing else
  await becomes(() => reactions(alice, 38), []);
  assert.equal(await rows(), 0);
  await line(alice, 37).tap();
  await line(alice, 37).getByTestId('action-reply').tap();
  await alice.find('composer-about').getByText('In reply to bob: message 37').waitFor();
  assert.deepEqual(alice.faults, []);
});

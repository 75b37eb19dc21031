// The chat page in Chromium, as people use it: two windows, two names, one room, and a server
// that dies in the middle.

import test from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';

import { Rookery } from '../../client/js/rookery.js';
import { becomes } from './becomes.js';
import { DESK, PHONE, Person, client, closeBrowser, newContext, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

function assertWhole(messages, count) {
  assert.deepEqual(messages.map((m) => m.seq), Array.from({ length: count }, (_, i) => i + 1));
}

/** Writes as somebody else, without a page. */
async function publish(server, name, room, texts) {
  const client = new Rookery({ url: server.socketAddress, name, WebSocket, publishWindow: 50 });
  try {
    await client.connect();
    await Promise.all(texts.map((text) => client.publish(room, text)));
  } finally {
    client.close();
  }
}

test('two windows, one room, a server killed in the middle', { timeout: 180_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob');

  for (let i = 1; i <= 3; i++) {
    await alice.say(`alice ${i}`);
    await bob.say(`bob ${i}`);
  }
  for (const person of [alice, bob]) await person.sees(6);
  await alice.photograph('two-windows');

  // The kill comes while messages are on their way.
  await Promise.all([alice.say('alice at the moment of the kill'), bob.say('bob at the moment of the kill'), server.kill()]);
  for (const person of [alice, bob]) await person.state('offline');
  await alice.say('alice while offline, first');
  await alice.say('alice while offline, second');
  await bob.say('bob while offline');
  for (const text of ['first', 'second']) {
    await alice.page.locator('[data-testid=message][data-state=pending]').filter({ hasText: `alice while offline, ${text}` }).waitFor();
  }
  await alice.photograph('offline');

  await server.start();
  for (const person of [alice, bob]) {
    await person.state('live');
    await person.sees(11);
    await person.allSent();
  }
  const atAlice = await alice.messages();
  assertWhole(atAlice, 11);
  assert.deepEqual(await bob.messages(), atAlice, 'both see the same, in one order');
  const of = (name) => atAlice.filter((m) => m.from === name).map((m) => m.text);
  assert.deepEqual(of('alice'), [
    'alice 1', 'alice 2', 'alice 3', 'alice at the moment of the kill', 'alice while offline, first', 'alice while offline, second',
  ]);
  assert.deepEqual(of('bob'), ['bob 1', 'bob 2', 'bob 3', 'bob at the moment of the kill', 'bob while offline']);

  // A reload restores name and room, and nothing is missing.
  await alice.page.reload();
  await alice.state('live');
  await alice.sees(11);
  assert.deepEqual(await alice.messages(), atAlice);
  await bob.say('after the reload');
  await alice.sees(12);

  assert.deepEqual([...alice.faults, ...bob.faults], []);
});

test('what was written and asked for offline survives a reload of the page, and is stored once', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  await alice.say('before');
  await alice.sees(1);
  await server.kill();
  await alice.state('offline');
  await alice.say('written offline');
  await alice.page.locator('[data-testid=message][data-state=pending]').waitFor();
  const first = alice.page.locator('#messages [data-seq="1"]');
  for (const action of ['react-👍', 'edit']) {
    await first.hover();
    await first.getByTestId(`action-${action}`).click();
  }
  await alice.say('edited offline');
  await first.getByText('Sending the edit…').waitFor();

  // What else waits for the connection says so.
  await alice.find('pins').click();
  await alice.find('panel').getByText('Loading…').waitFor();
  await alice.find('create-open').click();
  await alice.find('create-text').fill('bob');
  await alice.find('create-text').press('Enter');
  await alice.find('create-error').getByText('There is no connection now.').waitFor();
  await alice.photograph('offline-dialog');
  await server.start();
  await alice.page.reload(); // at once, whether it was sent already or not
  await alice.state('live');
  await first.getByText('edited offline').waitFor();
  await first.locator('.reaction:not(.pending)').waitFor();
  await first.getByText('Edited', { exact: true }).waitFor();
  await alice.allSent();
  assert.deepEqual((await alice.messages()).map((m) => m.text), ['edited offline', 'written offline']);
  const { messages } = await (await client(t, server, 'bob')).history('lobby');
  assert.deepEqual(messages.map(({ text, edits, reactions }) => [text, edits, reactions?.[0].count]), [['edited offline', 1, 1], ['written offline', undefined, undefined]]);
  assert.deepEqual(alice.faults, []);
});

test('what the browser says of the network is looked into at once', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--heartbeat', '10m');
  const alice = await Person.arrive(t, server, 'alice');
  const wire = await alice.hold();
  const says = (event) => alice.page.evaluate((name) => window.dispatchEvent(new Event(name)), event);
  wire.hold();
  // What was on its way still is a sign of life: then it is said again.
  const offline = alice.page.locator('[data-testid=connection-state][data-state=offline]');
  await becomes(async () => {
    await says('offline');
    return offline.waitFor({ timeout: 15_000 }).then(() => true, () => false);
  }, true);
  wire.release();
  await says('online');
  await alice.state('live');
  assert.deepEqual(alice.faults, []);
});

test('rooms: unread counts, switching by list, keys and address', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  await alice.find('room-add').fill('attic');
  await alice.find('room-add').press('Enter');
  await alice.page.waitForURL(/#attic$/);
  const row = (room) => alice.page.locator(`[data-room=${room}]`);
  const current = () => alice.page.locator('[data-room][aria-current=page]').evaluateAll((rows) => rows.map((link) => link.dataset.room));
  await becomes(current, ['attic']);

  await publish(server, 'bob', 'lobby', ['one', 'two']);
  await row('lobby').getByText('2 unread').waitFor();
  await becomes(() => alice.page.title(), '(2) attic · Rookery');
  await row('lobby').click();
  await alice.sees(2);
  await row('lobby').getByTestId('unread').waitFor({ state: 'hidden' });
  await becomes(() => alice.find('new-divider').count(), 1);

  await alice.page.keyboard.press('Alt+ArrowDown');
  await alice.page.waitForURL(/#attic$/);
  await alice.page.goBack();
  await alice.page.waitForURL(/#lobby$/);
  await alice.page.getByRole('heading', { level: 1, name: 'lobby' }).waitFor();
  await alice.page.getByRole('button', { name: 'Leave attic' }).click();
  await row('attic').waitFor({ state: 'detached' });
  assert.deepEqual(alice.faults, []);
});

test('receipts: ticks go from one to two to read, and unread is the same on all devices', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const ticks = (person, seq, state) => person.page.locator(`[data-seq="${seq}"] [data-testid=ticks][data-state=${state}]`);
  const lobby = (person) => person.page.locator('[data-room=lobby]');

  const alice = await Person.arrive(t, server, 'alice');
  await alice.say('is anybody here?');
  await ticks(alice, 1, 'stored').waitFor();
  const bob = await Person.arrive(t, server, 'bob', { room: 'attic' }); // the lobby is in his list
  await ticks(alice, 1, 'delivered').waitFor();
  await alice.photograph('ticks-delivered');
  await lobby(bob).click();
  await ticks(alice, 1, 'read').waitFor();
  await becomes(() => ticks(alice, 1, 'read').textContent(), 'Read by everybody');
  await bob.sees(1);
  assert.equal(await bob.find('ticks').count(), 0, 'only own messages have ticks');

  // The server knows what is unread: this device may forget it, and another has never known.
  await bob.page.locator('[data-room=attic]').click();
  await alice.say('one more');
  await lobby(bob).getByText('1 unread').waitFor();
  await ticks(alice, 2, 'delivered').waitFor();
  await bob.page.evaluate(() => localStorage.removeItem('rookery.read'));
  await bob.page.reload();
  await lobby(bob).getByText('1 unread').waitFor();
  const phone = await Person.arrive(t, server, 'bob', { room: 'attic', viewport: PHONE });
  await phone.page.getByRole('button', { name: 'Rooms' }).click();
  await lobby(phone).getByText('1 unread').waitFor();
  await lobby(phone).click();
  await lobby(bob).getByTestId('unread').waitFor({ state: 'hidden' });
  await ticks(alice, 2, 'read').waitFor();
  await alice.photograph('ticks-read');

  // Who does not look has not read.
  await phone.page.getByRole('button', { name: 'Rooms' }).click();
  await alice.say('and another');
  await ticks(alice, 3, 'delivered').waitFor();
  await lobby(bob).getByText('1 unread').waitFor();
  assert.deepEqual([...alice.faults, ...bob.faults, ...phone.faults], []);
});

test('an ephemeral room shows what passes, and a room without receipts has no ticks', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, '--rooms.ephemeral=game', '--rooms.receipts=');
  const alice = await Person.arrive(t, server, 'alice', { room: 'game' });
  const bob = await Person.arrive(t, server, 'bob', { room: 'game' });
  await alice.find('timeline-top').getByText('Nothing is kept in game').waitFor();
  // Nothing is kept for who is on the way in.
  for (const person of [alice, bob]) await alice.isThere(person.name);
  await alice.say('hello');
  await bob.page.locator('[data-testid=message][data-passing]').first().waitFor(); // no order but each sender's
  await bob.say('hello yourself');
  for (const person of [alice, bob]) {
    const shown = person.page.locator('[data-testid=message][data-passing]');
    await becomes(() => shown.evaluateAll((lines) => lines.map((line) => line.dataset.from)), ['alice', 'bob']);
    await person.allSent();
  }
  await bob.page.getByRole('log').getByText('alice: hello').waitFor({ state: 'attached' });
  await alice.photograph('passing');
  await bob.page.reload();
  await bob.find('timeline-top').getByText('Nothing is kept in game').waitFor();
  assert.equal(await bob.find('message').count(), 0);

  await alice.page.locator('[data-room=lobby]').click();
  await alice.say('kept');
  await alice.sees(1);
  assert.equal(await alice.find('ticks').isVisible(), false);
  assert.deepEqual([...alice.faults, ...bob.faults], []);
});

test('history by scrolling: the place is kept, the window is bounded, the way back is whole', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const total = 420;
  await publish(server, 'bob', 'lobby', Array.from({ length: total }, (_, i) => `message ${i + 1}`));
  const alice = await Person.arrive(t, server, 'alice');
  await alice.sees(total);

  // Upwards to the beginning, looking at every step whether the line at the top stays there.
  // Not so many steps: where a page of history is slow, those at the upper edge lead nowhere.
  const atBeginning = () => alice.page.locator('[data-testid=timeline-top][data-state=beginning]').count();
  while (!(await atBeginning())) {
    const moved = await alice.page.evaluate(async () => {
      const scroller = document.getElementById('scroller');
      scroller.scrollTop -= 300;
      const edge = (line) => line.getBoundingClientRect().bottom;
      const { seq } = [...scroller.querySelectorAll('[data-seq]')].find((line) => edge(line) > edge(scroller) - scroller.clientHeight + 30).dataset;
      const bySeq = () => scroller.querySelector(`[data-seq="${seq}"]`); // a line may be made anew
      const before = edge(bySeq());
      const at = scroller.scrollTop;
      // Two frames: the page of history may come in between.
      for (let i = 0; i < 2; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
      return { lines: document.querySelectorAll('[data-seq]').length, shift: at === 0 ? 0 : edge(bySeq()) - before };
    });
    assert.ok(moved.lines <= 300, `${moved.lines} lines`);
    assert.ok(Math.abs(moved.shift) < 2, `the line that was read moved by ${moved.shift} pixels`);
  }
  const top = await alice.messages();
  assert.equal(top[0].seq, 1);
  assertWhole(top, top.length);

  await publish(server, 'bob', 'lobby', ['while you read']);
  await alice.find('jump').getByText('1 new').waitFor();
  await alice.photograph('reading-history');
  await alice.find('jump').click();
  await alice.sees(total + 1);
  const end = await alice.messages();
  end.forEach((m, i) => assert.equal(m.seq, end[0].seq + i));
  await alice.find('jump').waitFor({ state: 'hidden' });
  assert.deepEqual(alice.faults, []);
});

test('what people write stays text', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const nasty = [
    '<img src=x onerror="document.title=1"><script>document.title=2</script>',
    'javascript:alert(1) https://example.org/a?b=<script>',
    'x'.repeat(400),
  ];
  await publish(server, 'mallory', 'lobby', nasty);
  const alice = await Person.arrive(t, server, 'alice', { viewport: PHONE });
  await alice.sees(3);
  assert.deepEqual((await alice.messages()).map((m) => m.text), nasty);
  assert.deepEqual(await alice.find('messages').locator('img, script').count(), 0);
  const links = alice.find('messages').locator('a');
  assert.deepEqual(await links.evaluateAll((all) => all.map((a) => [a.href, a.rel])), [['https://example.org/a?b=', 'noopener noreferrer']]);
  const wide = await alice.page.evaluate(() => document.documentElement.scrollWidth > innerWidth
    || document.getElementById('scroller').scrollWidth > document.getElementById('scroller').clientWidth);
  assert.equal(wide, false, 'a long word does not widen the page');
  const within = (place) => place.evaluate((element) => element.scrollWidth <= element.clientWidth);
  const long = await client(t, server, 'N'.repeat(128));
  await long.react('lobby', 1, 'W'.repeat(32));
  await alice.find('reaction').waitFor();
  await long.publish('lobby', 'a long name'); // 5
  await alice.sees(5);
  await alice.find('composer').pressSequentially('@N');
  await alice.find('mention-choice').waitFor();
  for (const id of ['scroller', 'mention-list']) assert.equal(await within(alice.page.locator(`#${id}`)), true, id);
  // The policy is in force: markup can't be made of text even by mistake.
  const refused = await alice.page.evaluate(() => {
    try {
      document.body.innerHTML = '<p>';
      return false;
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, 'TypeError');
});

test('a phone: rooms and room are two panes; all of it by keyboard and by ear', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  await publish(server, 'bob', 'lobby', ['said before anybody came']);
  for (const colorScheme of ['light', 'dark']) {
    const alice = await Person.arrive(t, server, 'alice', { viewport: PHONE, colorScheme });
    await alice.sees(1);
    await alice.find('room-list').waitFor({ state: 'hidden' });
    await alice.photograph(`phone-${colorScheme}`);
    await alice.page.getByRole('button', { name: 'Rooms' }).click();
    await alice.find('composer').waitFor({ state: 'hidden' });
    await alice.photograph(`phone-rooms-${colorScheme}`);
    // Who listens instead of looking is led to what is there now.
    await becomes(() => alice.page.evaluate(() => document.activeElement.dataset.room), 'lobby');
    await alice.page.locator('[data-room=lobby]').click(); // the room that is open already
    await alice.find('composer').waitFor();
    await becomes(() => alice.page.evaluate(() => document.activeElement.id), 'room-title');
  }

  const context = await newContext({ viewport: DESK });
  t.after(() => context.close());
  const carol = new Person(await context.newPage(), 'carol');
  await carol.page.goto(server.address);
  const focused = () => carol.page.evaluate(() => document.activeElement.dataset.testid);
  await becomes(focused, 'name-input'); // the page asks the server how people sign in
  await carol.page.keyboard.press('Enter');
  await carol.page.getByRole('alert').getByText('Write a name.').waitFor();
  await carol.page.keyboard.type('carol');
  await carol.photograph('sign-in');
  await carol.page.keyboard.press('Enter');
  await carol.state('live');
  await carol.page.keyboard.press('/');
  await becomes(focused, 'composer');
  await carol.page.keyboard.type('first line');
  await carol.page.keyboard.press('Shift+Enter');
  await carol.page.keyboard.type('second line');
  await carol.page.keyboard.press('Enter');
  await carol.sees(2);
  await becomes(async () => (await carol.messages()).map((m) => m.text), ['said before anybody came', 'first line\nsecond line']);

  // Heard: what comes from others now. Not heard: history, and one's own words.
  await publish(server, 'bob', 'lobby', ['said just now']);
  const log = carol.page.getByRole('log');
  const times = (line) => line.locator('time').count();
  assert.deepEqual(await Promise.all([times(carol.find('message').first()), times(carol.find('message').last())]), [1, 1], 'each time is said once');
  await log.getByText('bob: said just now').waitFor({ state: 'attached' });
  assert.equal((await log.textContent()).trim(), 'bob: said just now');
  for (const [role, name] of [['navigation', 'Rooms'], ['main', 'lobby'], ['region', 'Messages in lobby'], ['textbox', 'Message']]) {
    await becomes(() => carol.page.getByRole(role, { name, exact: true }).count(), 1, `${role} ${name}`);
  }

  // Out again: nothing of the person stays.
  await carol.find('sign-out').click();
  await carol.find('name-input').waitFor();
  await becomes(() => carol.find('name-input').inputValue(), '');
  await carol.page.reload();
  await carol.find('name-input').waitFor();
  assert.deepEqual(carol.faults, []);
});

test('a message that is too long says so and can be taken back', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const alice = await Person.arrive(t, server, 'alice');
  await alice.say('y'.repeat(70_000));
  const failed = alice.page.locator('[data-testid=message][data-state=failed]');
  await failed.getByText(/Not sent\..*at most/).waitFor();
  await alice.page.getByRole('alert').filter({ hasText: 'Not sent.' }).waitFor();
  await alice.find('discard').press('Enter');
  await failed.waitFor({ state: 'detached' });
  await becomes(() => alice.page.evaluate(() => document.activeElement.id), 'scroller');
  await alice.say('y'.repeat(70_000));
  await alice.find('edit').click();
  await failed.waitFor({ state: 'detached' });
  await becomes(async () => (await alice.find('composer').inputValue()).length, 70_000);
  await alice.say('short');
  await alice.sees(1);
  assert.deepEqual((await alice.messages()).map((m) => m.text), ['short']);

  // It is still for what it was for, and an edit that was begun meanwhile is over.
  const act = async (action) => {
    await alice.page.locator('#messages [data-seq="1"]').hover();
    await alice.find(`action-${action}`).click();
  };
  for (const [action, words] of [['reply', 'In reply to alice: short'], ['thread', 'In the thread']]) {
    await act(action);
    await alice.say('y'.repeat(70_000));
    await failed.waitFor();
    if (action === 'thread') await alice.find('panel-close').click();
    await act('edit');
    await alice.find('edit').click();
    await alice.find('composer-about').getByText(words).waitFor();
    await becomes(async () => (await alice.find('composer').inputValue()).length, 70_000);
    await alice.say('short, too');
    await alice.page.locator('#messages [data-testid=quote]').getByText(/alice: short$/).last().waitFor();
    await failed.waitFor({ state: 'detached' });
  }
  await becomes(() => alice.page.locator('#messages [data-testid=quote]').allTextContents(), ['In reply to alice: short', 'In the thread of alice: short']);
  assert.deepEqual(alice.faults, []);
});

test('a token that the server refuses leads back to signing in, with the reason', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const context = await newContext({ viewport: DESK });
  t.after(() => context.close());
  const page = await context.newPage();
  // Before there is anything else, something is there.
  const asked = new Promise((resolve) => page.route('**/app/page.js', resolve));
  await page.goto(server.address, { waitUntil: 'commit' });
  await page.locator('.beginning').waitFor();
  await (await asked).continue();
  await page.locator('.beginning').waitFor({ state: 'hidden' });
  await page.getByTestId('token-switch').click();
  await page.getByTestId('token-input').fill('no token at all');
  await page.getByTestId('join-button').click();
  await page.getByRole('alert').getByText(/token/i).waitFor();
  await becomes(() => page.getByTestId('token-input').inputValue(), 'no token at all');
});

import test from 'node:test';
import assert from 'node:assert/strict';

import { hashOfRoom, hueOf, initialOf, nameFault, roomOfHash } from '../page/app/names.js';
import { concerns } from '../page/app/notifications.js';
import { Settings } from '../page/app/settings.js';
import { dayNumber, dayOf, secondsUntil } from '../page/app/times.js';
import { FakeStorage } from './fake-storage.js';

test('names are those of the protocol', () => {
  for (const name of ['a', 'Zürich 🐦', 'x'.repeat(128), 'é'.repeat(64), '__proto__']) assert.equal(nameFault(name), null, name);
  for (const name of ['', 'a\nb', '\u0085', 'x'.repeat(129), 'é'.repeat(65)]) assert.notEqual(nameFault(name), null, name);
});

test('a room is the same before and after the fragment', () => {
  for (const room of ['lobby', 'a b', '#1', '100%', 'Zürich 🐦', 'a/b?c=d']) assert.equal(roomOfHash(hashOfRoom(room)), room);
  assert.equal(roomOfHash(''), '');
  assert.equal(roomOfHash('#%'), '');
});

test('a name has one hue of twelve and its first character as initial', () => {
  const names = Array.from({ length: 200 }, (_, i) => `user ${i}`);
  const hues = new Set(names.map(hueOf));
  assert.equal(hues.size, 12);
  for (const hue of hues) assert.ok(Number.isInteger(hue) && hue >= 0 && hue < 12);
  assert.equal(hueOf('alice'), hueOf('alice'));
  assert.equal(initialOf('alice'), 'A');
  assert.equal(initialOf('🐦 bird'), '🐦');
  assert.deepEqual(['👩‍👧 x', '🇩🇪', 'e\u0301a'].map(initialOf), ['👩‍👧', '🇩🇪', 'E\u0301']);
});

test('days have names as seen from now', () => {
  const now = new Date(2026, 2, 30, 0, 5).getTime();
  assert.equal(dayOf(now, now), 'Today');
  assert.equal(dayOf(new Date(2026, 2, 29, 23, 59).getTime(), now), 'Yesterday');
  assert.match(dayOf(new Date(2026, 2, 28, 12).getTime(), now), /28/);
  assert.match(dayOf(new Date(2024, 2, 28, 12).getTime(), now), /2024/);
});

test('a day is one day, whatever the hour and the season', () => {
  let previous = null;
  for (let date = 1; date <= 365; date++) {
    const numbers = [0, 1, 2, 3, 12, 23].map((hour) => dayNumber(new Date(2026, 0, date, hour, 30).getTime()));
    assert.equal(new Set(numbers).size, 1);
    if (previous !== null) assert.equal(numbers[0], previous + 1);
    [previous] = numbers;
  }
});

test('a wait is shown in seconds that end at one', () => {
  assert.equal(secondsUntil(10_000, 0), 10);
  assert.equal(secondsUntil(9_001, 0), 10);
  assert.equal(secondsUntil(0, 500), 1);
});

test('settings: a browser that refuses storage is no reason not to chat', () => {
  const refuse = () => {
    throw new Error('Access is denied for this document.');
  };
  const window = Object.defineProperties({}, { localStorage: { get: refuse }, sessionStorage: { get: refuse } });
  const settings = Settings.of(window);
  settings.name = 'alice';
  settings.saveDraft('lobby', 'a draft');
  settings.claim('');
  settings.forgetPerson();
  assert.deepEqual([settings.name, settings.rooms, settings.loadDraft('lobby'), settings.loadChanges('lobby')], ['', ['lobby'], '', []]);
  const full = new Settings({ getItem: () => null, setItem: refuse, removeItem: refuse }, null);
  full.name = 'alice';
  full.forgetPerson();
  assert.equal(full.name, '');
});

test('settings: what is lasting, what is of this window, what goes with the person', () => {
  const [lasting, passing] = [new FakeStorage(), new FakeStorage()];
  const settings = new Settings(lasting, passing);
  assert.deepEqual([settings.name, settings.token, settings.rooms], ['', '', ['lobby']]);
  settings.name = 'alice';
  settings.token = 'secret';
  settings.rooms = ['lobby', 'attic'];
  settings.saveRead('__proto__', { epoch: 'e', seq: 3 });
  settings.saveOutgoing('attic', [{ key: 'k', text: 't', at: 1 }]);
  settings.saveChanges('attic', [{ key: 'c' }]);
  settings.saveDraft('attic', 'a draft');
  settings.saveDraft('lobby', 'another');
  settings.saveDraft('lobby', '');
  assert.deepEqual([settings.loadDraft('attic'), settings.loadDraft('lobby'), settings.loadDraft('constructor')], ['a draft', '', '']);
  const elsewhere = new Settings(lasting, new FakeStorage());
  assert.deepEqual([elsewhere.name, elsewhere.token, elsewhere.rooms], ['alice', '', ['lobby', 'attic']]);
  assert.deepEqual(elsewhere.loadRead('__proto__'), { epoch: 'e', seq: 3 });
  assert.deepEqual(elsewhere.loadOutgoing('attic'), []);
  assert.deepEqual(elsewhere.loadOutgoing('constructor'), []);
  settings.forgetPerson();
  assert.deepEqual([settings.name, settings.token, settings.rooms], ['', '', ['lobby', 'attic']]);
  assert.equal(settings.loadRead('__proto__'), undefined);
  assert.deepEqual([settings.loadOutgoing('attic'), settings.loadChanges('attic')], [[], []]);
  assert.equal(settings.loadDraft('attic'), '');
});

test('settings: nothing of one person stays for the next', () => {
  const [lasting, first, second] = [new FakeStorage(), new FakeStorage(), new FakeStorage()];
  const [window1, window2] = [new Settings(lasting, first), new Settings(lasting, second)];
  window1.claim('alice');
  window2.claim('alice');
  const entry = { key: 'k', text: 'x', more: {}, at: 1 };
  for (const settings of [window1, window2]) settings.saveOutgoing('lobby', [entry]);
  window1.saveRead('lobby', { epoch: 'e', seq: 7 });
  window1.rooms = ['attic'];
  window1.signedIn = true;
  window1.wanted = 'attic';
  window1.claim('alice');
  assert.deepEqual([window1.loadOutgoing('lobby'), window1.loadRead('lobby')], [[entry], { epoch: 'e', seq: 7 }]);
  window1.claim('bob');
  assert.deepEqual([window1.loadOutgoing('lobby'), window1.loadRead('lobby'), window1.rooms], [[], undefined, ['attic']]);
  assert.deepEqual(window2.loadOutgoing('lobby'), [entry], 'another window finds out by itself');
  window2.claim('bob');
  assert.deepEqual(window2.loadOutgoing('lobby'), []);
  assert.deepEqual([window1.signedIn, window1.wanted], [true, 'attic']);
  window2.saveOutgoing('lobby', [entry]);
  window2.claim('');
  assert.deepEqual(window2.loadOutgoing('lobby'), [], 'who comes without a session is somebody else');
  window1.forgetPerson();
  assert.deepEqual([window1.signedIn, window1.wanted], [false, '']);
});

test('settings: a browser without storage, or with nonsense in it, is one without a memory', () => {
  const refusing = { getItem() { throw new Error('no'); }, setItem() { throw new Error('no'); }, removeItem() { throw new Error('no'); } };
  const settings = new Settings(refusing, refusing);
  settings.name = 'alice';
  settings.forgetPerson();
  assert.deepEqual([settings.name, settings.rooms], ['', ['lobby']]);
  const broken = new FakeStorage();
  broken.setItem('rookery.rooms', '{"not":"a list"}');
  broken.setItem('rookery.name', 'no json');
  assert.deepEqual([new Settings(broken, broken).name, new Settings(broken, broken).rooms], ['', ['lobby']]);
});

test('what is about the person, and not only about the room', () => {
  const direct = { membership: { kind: 'direct' } };
  assert.equal(concerns(direct, { from: 'bob' }, 'alice'), true);
  assert.equal(concerns(direct, { from: 'alice' }, 'alice'), false);
  for (const membership of [null, { kind: 'group' }]) {
    assert.equal(concerns({ membership }, { from: 'bob', mentions: ['alice'] }, 'alice'), true);
    assert.equal(concerns({ membership }, { from: 'bob', mentions: ['carol'] }, 'alice'), false);
    assert.equal(concerns({ membership }, { from: 'bob' }, 'alice'), false);
  }
});

test('rooms that are muted or put away are remembered, and forgotten with the person', () => {
  const settings = new Settings(new FakeStorage(), new FakeStorage());
  assert.deepEqual([settings.muted, settings.putAway], [[], []]);
  settings.muted = ['attic'];
  settings.putAway = ['cellar'];
  assert.deepEqual([settings.muted, settings.putAway], [['attic'], ['cellar']]);
  settings.forgetPerson();
  assert.deepEqual([settings.muted, settings.putAway], [[], []]);
});

import test from 'node:test';
import assert from 'node:assert/strict';

import { endOfBeginning, inShort } from '../page/app/long-text.js';

const beginning = (text) => text.slice(0, endOfBeginning(text) ?? undefined);

test('a text that is little longer than its beginning is shown whole', () => {
  for (const text of ['', 'x', 'x'.repeat(1_599), 'x\n'.repeat(22), '\n'.repeat(22)]) assert.equal(endOfBeginning(text), null);
});

test('of many lines the first twelve are seen, however much follows', () => {
  const lines = Array.from({ length: 60 }, (_, i) => `line ${i + 1}`);
  assert.equal(beginning(lines.slice(0, 24).join('\n')), lines.slice(0, 12).join('\n'));
  assert.equal(beginning(lines.join('\n')), lines.slice(0, 12).join('\n'));
  assert.equal(beginning('\n'.repeat(65_536)), '\n'.repeat(11));
});

test('a long text ends between words, and a long word between characters', () => {
  assert.equal(beginning('word '.repeat(400)), 'word '.repeat(160).trimEnd());
  assert.equal(beginning(`${'x'.repeat(750)} ${'y'.repeat(2_000)}`), 'x'.repeat(750));
  assert.equal(beginning('x'.repeat(65_536)).length, 800);
  assert.equal(beginning(`x${'🐦'.repeat(2_000)}`), `x${'🐦'.repeat(399)}`);
  assert.equal(beginning('字'.repeat(2_000)), '字'.repeat(800));
  assert.equal(beginning(`${'x'.repeat(900)}\n`.repeat(30)).length, 800, 'a line that is longer than all that is seen');
});

test('a text in short is no longer than asked for, and cuts no character', () => {
  assert.equal(inShort('abc', 3), 'abc');
  assert.equal(inShort('abcd', 3), 'abc…');
  assert.equal(inShort('a🐦🐦', 4), 'a🐦…');
});

test('an emoji of several parts is one character, and so is a letter with its marks', () => {
  const family = '👩‍👩‍👧‍👦';
  assert.equal(inShort(`ab${family}${family}`, 15), `ab${family}…`);
  assert.equal(inShort('🇩🇪🇫🇷', 6), '🇩🇪…');
  assert.equal(inShort('ae\u0301', 2), 'a…');
  assert.equal(beginning(`${'x'.repeat(795)}${family.repeat(100)}`), 'x'.repeat(795));
  assert.equal(beginning(`a${'\u0301'.repeat(2_000)}`).length, 800, 'heaps of marks are cut');
});

test('a browser that tells no characters apart cuts between code points', async (t) => {
  const { Segmenter } = Intl;
  t.after(() => (Intl.Segmenter = Segmenter));
  Intl.Segmenter = undefined;
  const { firstCharacter, startOfCharacter } = await import('../page/app/characters.js?without');
  assert.deepEqual([startOfCharacter('a🐦', 2), startOfCharacter('a🐦', 1), firstCharacter('🐦 bird')], [1, 1, '🐦']);
});

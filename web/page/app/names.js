// Names of rooms and users, as the protocol has them: 1 to 128 bytes of UTF-8 without
// control characters.

import { firstCharacter } from './characters.js';

const MAX_BYTES = 128;

/** Why a name can't be used, in words for the person who wrote it; null when it can. */
export function nameFault(name) {
  if (name === '') return 'Write a name.';
  if (/\p{Control}/u.test(name)) return 'A name has no control characters in it.';
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > MAX_BYTES) return `A name has at most ${MAX_BYTES} bytes; this one has ${bytes}.`;
  return null;
}

/** The room of a page's fragment, '' for none. */
export function roomOfHash(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#/, ''));
  } catch {
    return ''; // a stray % that somebody typed
  }
}

export function hashOfRoom(room) {
  return `#${encodeURIComponent(room)}`;
}

/** One of twelve hues, the same for a name everywhere. */
export function hueOf(name) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193);
  // Names differ in their last letter most, which has not yet reached the upper bits.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % 12;
}

/** What stands in a name's disc. */
export function initialOf(name) {
  return firstCharacter(name).toUpperCase();
}

// The field above a long list of rooms: those are shown that have in their titles what is written in it.

import { byId } from './elements.js';
import { composes } from './keys.js';

/** So many are seen at a glance. */
const FEW = 10;

export class RoomFilter {
  #part = byId('room-filter-part');
  #field = byId('room-filter');
  #found = byId('room-filter-found');
  #finds = finding('');
  #changed;

  /** @param {{changed: () => void, enter: () => void, down: () => void}} told  changed: other rooms are to be shown; enter, down: those keys */
  constructor({ changed, enter, down }, signal) {
    this.#changed = changed;
    this.#field.value = '';
    this.#field.addEventListener('input', () => this.#take(), { signal });
    this.#field.addEventListener('keydown', (event) => {
      const wanted = this.#field.value !== '';
      const act = { ArrowDown: down, Enter: wanted && enter, Escape: wanted && (() => this.clear()) }[event.key];
      if (composes(event) || event.altKey || !act) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    }, { signal });
  }

  finds(title) {
    return this.#finds(title);
  }

  clear() {
    if (this.#field.value === '') return;
    this.#field.value = '';
    this.#take();
  }

  /** There are so many rooms that one is looked for. */
  get shown() {
    return !this.#part.hidden;
  }

  /** Whoever asks for it writes in it then. */
  focus() {
    this.#field.focus();
    this.#field.select();
  }

  /** So many of all rooms are shown. It does not go from under who writes in it. */
  render(found, all) {
    this.#part.hidden = all <= FEW && this.#field.value === '' && document.activeElement !== this.#field;
    const words = found === 0 ? 'No room is called that.' : `${found} of ${all} rooms`;
    const text = this.#field.value.trim() === '' ? '' : words;
    if (this.#found.textContent !== text) this.#found.textContent = text; // it is read aloud
  }

  #take() {
    this.#finds = finding(this.#field.value);
    this.#changed();
  }
}

/** Whether a title has every word of what is looked for in it, whatever the case and the accents of either. */
export function finding(wanted) {
  const words = plain(wanted).split(/\s+/).filter(Boolean);
  if (words.length === 0) return () => true;
  return (title) => {
    const text = plain(title);
    return words.every((word) => text.includes(word));
  };
}

/** Upper case, since of ß and of both forms of a small sigma there is one. */
function plain(text) {
  return text.normalize('NFKD').replace(/\p{Mark}/gu, '').toUpperCase();
}

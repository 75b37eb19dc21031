// Naming people in a message: "@" and a name, completed from those who are known in the room.

import { byId, element } from './elements.js';

/** The names of those whom a text mentions, out of those who are known. */
export function mentionsIn(text, known) {
  return pieces(text, known).filter((piece) => piece.name).map((piece) => piece.name)
    .filter((name, index, all) => all.indexOf(name) === index).slice(0, 50);
}

/** A text in which those whom it mentions are marked. */
export function textWithMentions(text, names, user) {
  return pieces(text, names).map(({ name, words }) => (name
    ? element('mark', { class: `mention${name === user ? ' mention-own' : ''}`, data: { testid: 'mention' } }, words)
    : words));
}

/** The text in pieces: {words} and {words, name}. Of names that begin alike the longest counts. */
function pieces(text, names) {
  const longestFirst = [...names].sort((a, b) => b.length - a.length);
  const found = [];
  let plain = '';
  for (let at = 0; at < text.length; ) {
    const name = text[at] === '@' && !/\w/.test(text[at - 1] ?? '')
      ? longestFirst.find((candidate) => text.startsWith(candidate, at + 1) && !/\w/.test(text[at + 1 + candidate.length] ?? ''))
      : undefined;
    if (name === undefined) {
      plain += text[at++];
      continue;
    }
    if (plain !== '') found.push({ words: plain });
    plain = '';
    found.push({ words: `@${name}`, name });
    at += name.length + 1;
  }
  if (plain !== '') found.push({ words: plain });
  return found;
}

const MOST = 6;

/** Offers names while one is being written. */
export class Completion {
  #input;
  #known;
  #list = byId('mention-list');
  #names = [];
  #chosen = 0;

  /** @param {() => string[]} known */
  constructor(input, known, signal) {
    this.#input = input;
    this.#known = known;
    input.addEventListener('input', () => this.#offer(), { signal });
    input.addEventListener('blur', () => this.close(), { signal });
    this.#list.addEventListener('pointerdown', (event) => {
      event.preventDefault(); // the focus stays in the text
      const name = event.target.closest('[data-name]')?.dataset.name;
      if (name !== undefined) this.#complete(name);
    }, { signal });
  }

  /** Takes the keys that are about the list; true if this was one. */
  key(event) {
    if (this.#names.length === 0) return false;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const by = event.key === 'ArrowDown' ? 1 : -1;
      this.#chosen = (this.#chosen + by + this.#names.length) % this.#names.length;
      this.#render();
    } else if (event.key === 'Enter' || event.key === 'Tab') {
      this.#complete(this.#names[this.#chosen]);
    } else if (event.key === 'Escape') {
      event.stopPropagation();
      this.close();
    } else {
      return false;
    }
    event.preventDefault();
    return true;
  }

  close() {
    this.#names = [];
    this.#render();
  }

  /** What is being written before the cursor: "@" and a beginning. */
  get #beginning() {
    const before = this.#input.value.slice(0, this.#input.selectionStart);
    return before.match(/(?:^|\s)@([^\s@]*)$/)?.[1];
  }

  #offer() {
    const beginning = this.#beginning?.toLowerCase();
    this.#names = beginning === undefined ? [] : this.#known().filter((name) => name.toLowerCase().startsWith(beginning)).slice(0, MOST);
    this.#chosen = 0;
    this.#render();
  }

  #complete(name) {
    const input = this.#input;
    const start = input.selectionStart - this.#beginning.length;
    input.setRangeText(`${name} `, start, input.selectionStart, 'end');
    this.close();
  }

  #render() {
    this.#list.hidden = this.#names.length === 0;
    this.#input.setAttribute('aria-expanded', String(!this.#list.hidden));
    if (this.#list.hidden) this.#input.removeAttribute('aria-activedescendant');
    else this.#input.setAttribute('aria-activedescendant', `mention-${this.#chosen}`); // which is read aloud
    this.#list.replaceChildren(...this.#names.map((name, index) => element('li', {
      id: `mention-${index}`, class: 'mention-choice', dir: 'auto', data: { name, testid: 'mention-choice' },
      attributes: { role: 'option', 'aria-selected': String(index === this.#chosen) },
    }, name)));
  }
}

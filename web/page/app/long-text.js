// A long text shows its beginning until somebody asks for all of it. It is cut, not covered: what is not seen is not read out either,
// and no link in it is reached.

import { startOfCharacter } from './characters.js';
import { element } from './elements.js';

/** A text with as many characters or lines as these is long; of one the beginning is seen, much less, so that it is worth a click. */
const LONG = { characters: 1_600, lines: 24 };
const SEEN = { characters: 800, lines: 12 };
/** A word that is longer than this is cut. */
const WORD = 100;

/** Where the beginning of a long text ends; null for one that is not long. */
export function endOfBeginning(text) {
  if (text.length < LONG.characters && endOfLine(text, LONG.lines - 1) === -1) return null;
  const line = endOfLine(text, SEEN.lines);
  if (line !== -1 && line <= SEEN.characters) return line;
  const word = text.slice(SEEN.characters - WORD, SEEN.characters + 1).search(/\s\S*$/);
  return word === -1 ? startOfCharacter(text, SEEN.characters) : SEEN.characters - WORD + word;
}

/** A text in few words. */
export function inShort(text, most) {
  return text.length > most ? `${text.slice(0, startOfCharacter(text, most))}…` : text;
}

/** Where the n-th line ends; -1: there are not more. */
function endOfLine(text, n) {
  let at = -1;
  do at = text.indexOf('\n', at + 1);
  while (at !== -1 && --n > 0);
  return at;
}

/** Which long texts of one list are shown whole. */
export class Folding {
  #unfolded = new Set();
  #changed;

  /** @param {(button: HTMLElement) => void} changed  the text before that button is longer or shorter now */
  constructor(changed = () => {}) {
    this.#changed = changed;
  }

  /** Another list is shown. */
  clear() {
    this.#unfolded.clear();
  }

  /**
   * What shows a text: its view, and behind that of a long one the button that makes it longer and shorter.
   *
   * @param {number|string} key  of the line, which may be made anew
   * @param {string} text
   * @param {(end?: number) => HTMLElement} viewOf  makes a view of the text up to there
   */
  views(key, text, viewOf) {
    const end = endOfBeginning(text);
    if (end === null) return [viewOf()];
    const open = () => this.#unfolded.has(key);
    const button = element('button', { class: 'button button-quiet message-fold', type: 'button', data: { testid: 'fold' } });
    const say = () => {
      button.textContent = open() ? 'Show less' : 'Show more';
      button.ariaExpanded = String(open());
    };
    const view = () => viewOf(open() ? undefined : end);
    let shown = view();
    say();
    button.addEventListener('click', () => {
      if (!this.#unfolded.delete(key)) this.#unfolded.add(key);
      const next = view();
      shown.replaceWith(next);
      shown = next;
      say();
      this.#changed(button);
    });
    return [shown, button];
  }
}

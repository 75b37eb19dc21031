// The message box. Each room has its own draft, as long as the page lives.

import { byId } from './elements.js';

export class Composer {
  #text = byId('composer-text');
  #drafts = new Map();
  #send;

  /** @param {(text: string) => void} send */
  constructor(send, signal) {
    this.#send = send;
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#text.addEventListener('keydown', (event) => {
      // While a word is being composed (Japanese, Chinese), Enter ends the word.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#text.addEventListener('input', () => this.#fit(), { signal });
  }

  focus() {
    this.#text.focus();
  }

  /** Puts text in to be written anew, before what is there already. */
  edit(text) {
    this.#text.value = [text, this.#text.value].filter(Boolean).join('\n');
    this.#fit();
    this.#text.focus();
  }

  keepDraft(room) {
    if (room !== undefined) this.#drafts.set(room, this.#text.value);
  }

  restoreDraft(room) {
    this.#text.value = this.#drafts.get(room) ?? '';
    this.#fit();
  }

  #submit() {
    const text = this.#text.value.trim();
    if (text === '') return;
    this.#text.value = '';
    this.#fit();
    this.#send(text);
    this.#text.focus();
  }

  /** As high as its lines; the style sheet has the limit. */
  #fit() {
    this.#text.style.height = 'auto';
    const borders = this.#text.offsetHeight - this.#text.clientHeight;
    this.#text.style.height = `${this.#text.scrollHeight + borders}px`;
  }
}

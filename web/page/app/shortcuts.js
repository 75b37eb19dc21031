// The few keys that work everywhere on the page.

import { byId } from './elements.js';
import { composes } from './keys.js';

/** With Control a Mac moves about in what is written. */
const COMMAND = /^(Mac|iP)/.test(navigator.platform) ? 'metaKey' : 'ctrlKey';

export class Shortcuts {
  #actions;

  /**
   * @param {{step: (by: number) => void, compose: () => void, newest: () => void, find: () => boolean}} actions  find: false, where there is
   *   nothing to find it with
   */
  constructor(actions, signal) {
    this.#actions = actions;
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    byId('help-open').addEventListener('click', () => byId('help').showModal(), { signal });
  }

  #key(event) {
    if (event.defaultPrevented || composes(event) || document.querySelector('dialog[open]') !== null) return;
    const action = this.#action(event);
    if (action === undefined || action() === false) return;
    event.preventDefault();
  }

  #action(event) {
    const { key, altKey, ctrlKey, metaKey, shiftKey, target } = event;
    if (event[COMMAND] && key.toLowerCase() === 'k' && !altKey && !shiftKey) return this.#actions.find;
    if (ctrlKey || metaKey) return undefined;
    if (altKey) {
      return { ArrowUp: () => this.#actions.step(-1), ArrowDown: () => this.#actions.step(1) }[key];
    }
    if (key === 'Escape') return this.#actions.newest;
    if (target.closest('input, textarea')) return undefined; // these are letters there
    return { '/': this.#actions.compose, '?': () => byId('help').showModal() }[key];
  }
}

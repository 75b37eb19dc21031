// The few keys that work everywhere on the page.

import { byId } from './elements.js';

export class Shortcuts {
  #actions;

  /** @param {{step: (by: number) => void, compose: () => void, newest: () => void}} actions */
  constructor(actions, signal) {
    this.#actions = actions;
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    byId('help-open').addEventListener('click', () => byId('help').showModal(), { signal });
  }

  #key(event) {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]') !== null) return;
    const action = this.#action(event);
    if (action === undefined) return;
    event.preventDefault();
    action();
  }

  #action({ key, altKey, ctrlKey, metaKey, target }) {
    if (ctrlKey || metaKey) return undefined;
    if (altKey) {
      return { ArrowUp: () => this.#actions.step(-1), ArrowDown: () => this.#actions.step(1) }[key];
    }
    if (key === 'Escape') return this.#actions.newest;
    if (target.closest('input, textarea')) return undefined; // these are letters there
    return { '/': this.#actions.compose, '?': () => byId('help').showModal() }[key];
  }
}

// Says new messages to those who listen instead of looking: a live region of its own. The
// visible list can't be one, since pages of history go into it too and would all be read out.

import { byId, element } from './elements.js';
import { inShort } from './long-text.js';

/** A screen reader is behind by a sentence or two; older ones are of no use. */
const KEPT = 5;
const LONGEST = 300;

export class Announcer {
  #region = byId('announcer');

  say({ from, text = 'sent data' }) {
    this.#region.append(element('p', {}, `${from}: ${inShort(text, LONGEST)}`));
    while (this.#region.childElementCount > KEPT) this.#region.firstElementChild.remove();
  }

  clear() {
    this.#region.replaceChildren();
  }
}

// Under the room's head those who are there, each with a dot, and over the message box who is typing.

import { byId, element, visuallyHidden } from './elements.js';

export class PeopleView {
  #strip = byId('people');
  #list = byId('people-list');
  #count = byId('people-count');
  #typing = byId('typing');
  /** Name to {row, state}: a row stays while its person does, so that nothing flickers. */
  #rows = new Map();

  render(people) {
    const { named, more } = people.there;
    this.#strip.hidden = named.length === 0 && more === 0;
    const names = new Set(named.map(({ user }) => user));
    for (const [user, { row }] of this.#rows) {
      if (names.has(user)) continue;
      row.remove();
      this.#rows.delete(user);
    }
    named.forEach((person, place) => {
      const row = this.#row(person);
      if (this.#list.children[place] !== row) this.#list.insertBefore(row, this.#list.children[place] ?? null);
    });
    this.#count.textContent = people.countWords;
    this.#typing.textContent = people.typingWords;
  }

  #row({ user, state }) {
    const known = this.#rows.get(user);
    if (known?.state === state) return known.row;
    const row = element('li', { class: 'person', data: { testid: 'person', user, state } },
      element('span', { class: 'person-dot', attributes: { 'aria-hidden': 'true' } }),
      element('span', { class: 'person-name', dir: 'auto' }, user));
    if (state !== 'online') row.append(visuallyHidden(` (${state})`));
    known?.row.replaceWith(row);
    this.#rows.set(user, { row, state });
    return row;
  }
}

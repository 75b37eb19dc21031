// Tables whose rows come anew all the time. Who has the keyboard in one keeps the place: a row that is in use neither moves nor goes.

import { element } from '../page/app/elements.js';

export class Table {
  #body;
  #cells;
  #rows = new Map();

  /**
   * @param {HTMLElement} body  tbody
   * @param {(row: object) => (string|Node)[]} cells  what is in a row; a Node is made once, for the row's key
   */
  constructor(body, cells) {
    this.#body = body;
    this.#cells = cells;
  }

  /** @param {{key: string, tone?: string}[]} rows */
  show(rows) {
    const held = this.#body.contains(document.activeElement);
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, line] of this.#rows) {
      if (keys.has(key) || held) continue;
      line.remove();
      this.#rows.delete(key);
    }
    rows.forEach((row, i) => {
      let line = this.#rows.get(row.key);
      if (!line) {
        if (held) return;
        line = element('tr', {}, ...this.#cells(row).map((cell) => element('td', {}, cell)));
        this.#rows.set(row.key, line);
      } else {
        this.#cells(row).forEach((cell, column) => {
          if (typeof cell === 'string' && line.cells[column].textContent !== cell) line.cells[column].textContent = cell;
        });
      }
      line.dataset.tone = row.tone ?? '';
      if (!held && this.#body.children[i] !== line) this.#body.insertBefore(line, this.#body.children[i] ?? null);
    });
  }
}

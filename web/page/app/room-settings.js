// The settings of a room with members: title, slow mode, who may speak.

import { byId, element } from './elements.js';

const PACES = [[0, 'Off'], [10_000, '10 seconds'], [30_000, '30 seconds'], [60_000, '1 minute'], [300_000, '5 minutes'], [3_600_000, '1 hour']];

export class RoomSettings {
  #details = byId('room-settings');
  #title = byId('settings-title');
  #pace = byId('settings-pace');
  #speak = byId('settings-speak');
  /** What the form was filled with, so that news do not take away what is being written; null: with nothing. */
  #filled = null;

  /** @param {(change: object) => Promise<void>} configure */
  constructor(configure, signal) {
    byId('settings-form').addEventListener('submit', async (event) => {
      event.preventDefault();
      this.#title.value = this.#title.value.trim();
      await configure({ title: this.#title.value, slowModeMs: Number(this.#pace.value), speak: this.#speak.value });
    }, { signal });
  }

  /** @param {object|null} membership  null: the person may not change the settings */
  render(membership) {
    this.#details.hidden = membership === null;
    if (membership === null) return;
    const { room, title = '', slowModeMs, speak } = membership;
    const news = { room, title, pace: String(slowModeMs), speak };
    const before = this.#filled?.room === room ? this.#filled : null;
    this.#filled = news;
    const chosen = this.#pace.value;
    if (news.pace !== before?.pace) {
      const paces = PACES.some(([ms]) => ms === slowModeMs) ? PACES : [...PACES, [slowModeMs, `${slowModeMs / 1000} seconds`]];
      this.#pace.replaceChildren(...paces.map(([value, words]) => element('option', { value: String(value) }, words)));
    }
    // What differs from what was filled in is the person's own.
    const now = (name, value) => (before === null || value === before[name] ? news[name] : value);
    this.#title.value = now('title', this.#title.value);
    this.#pace.value = now('pace', chosen);
    this.#speak.value = now('speak', this.#speak.value);
  }

  close() {
    this.#details.open = false;
    this.#filled = null;
  }
}

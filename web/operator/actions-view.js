// The form with which something is done to a user: nothing without a question before.

import { byId, element } from '../page/app/elements.js';
import { BAN_TIMES, HOUR_MS, Refusal, plan } from './actions.js';

export class ActionsView {
  #api;
  #trace;

  constructor(api, trace) {
    this.#api = api;
    this.#trace = trace;
    byId('ban-time').append(...BAN_TIMES.map(([name, ms]) => element('option', { value: String(ms), selected: ms === HOUR_MS }, name)));
    byId('key').addEventListener('input', ({ target }) => (api.key = target.value));
    byId('user-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#say();
      if (this.#named()) this.#trace.start(byId('user').value);
    });
    for (const button of byId('user-form').querySelectorAll('[data-act]')) button.addEventListener('click', () => this.#do(button.dataset.act));
    trace.refused = (sentence) => this.#say(sentence);
  }

  /** Puts a user into the form, and whoever chose them there too. */
  choose(user) {
    byId('user').value = user;
    byId('room').value = '';
    byId('user').focus();
  }

  #named() {
    if (byId('user').value !== '') return true;
    this.#say('Name a user.');
    byId('user').focus();
    return false;
  }

  async #do(act) {
    this.#say();
    if (!this.#named()) return;
    try {
      const planned = plan(act, {
        user: byId('user').value, room: byId('room').value, reason: byId('act-reason').value, forMs: Number(byId('ban-time').value),
      });
      if (!(await confirmed(planned))) return;
      await this.#api.ask(planned.method, planned.path, planned.body);
      this.#say('', planned.done);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#say(error.message);
    }
  }

  #say(fault = '', done = '') {
    byId('act-error').textContent = fault;
    byId('act-done').textContent = done;
  }
}

/** Asks, and answers whether it is to be done. */
function confirmed({ question, consequence }) {
  const dialog = byId('confirm');
  byId('confirm-question').textContent = question;
  byId('confirm-consequence').textContent = consequence;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

// What can be done to a message: a row of buttons on the one that is pointed at or touched.

import { byId, element } from './elements.js';

const REACTIONS = ['👍', '❤️', '😂', '🎉', '👀'];

export class MessageActions {
  #row = element('div', { class: 'actions', data: { testid: 'actions' }, attributes: { role: 'toolbar', 'aria-label': 'Message' } });
  #find;
  #user;
  #actions;

  /**
   * @param {(seq: number) => object|undefined} find  a message by its number
   * @param {() => string|null} user
   * @param {Record<'react'|'reply'|'thread'|'edit'|'pin'|'remove', Function>} actions  each takes a message
   */
  constructor(find, user, actions, signal) {
    this.#find = find;
    this.#user = user;
    this.#actions = actions;
    const list = byId('messages');
    const show = (event) => this.#show(event.target.closest('[data-seq]'));
    list.addEventListener('pointerover', show, { signal });
    list.addEventListener('click', show, { signal });
    list.addEventListener('pointerleave', () => this.#row.remove(), { signal });
  }

  #show(line) {
    if (line === null || this.#row.parentNode === line) return;
    const message = this.#find(Number(line.dataset.seq));
    this.#row.remove();
    if (message === undefined || message.deleted) return;
    const button = (name, words, act, label = words) => {
      const made = element('button', { class: 'action', type: 'button', title: label, data: { testid: `action-${name}` }, attributes: { 'aria-label': label } }, words);
      made.addEventListener('click', (event) => {
        event.stopPropagation();
        this.#row.remove();
        act();
      });
      return made;
    };
    const buttons = REACTIONS.map((reaction) => button(`react-${reaction}`, reaction, () => this.#actions.react(message, reaction), `React with ${reaction}`));
    buttons.push(
      button('reply', 'Reply', () => this.#actions.reply(message)),
      button('thread', 'Thread', () => this.#actions.thread(message)),
      button('pin', message.pinned ? 'Unpin' : 'Pin', () => this.#actions.pin(message)),
    );
    if (message.from === this.#user()) {
      if (message.text !== undefined) buttons.push(button('edit', 'Edit', () => this.#actions.edit(message)));
      buttons.push(button('delete', 'Delete', () => this.#actions.remove(message)));
    }
    this.#row.replaceChildren(...buttons);
    line.append(this.#row);
  }
}

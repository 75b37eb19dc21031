// What can be done to a message: a row of buttons on the one that is pointed at, touched, or reached with the keyboard.
//
// One message of the list is in the order of the Tab key, the last one that was reached or else the newest. Up and down go
// to its neighbours, Tab or right into the row, in which left and right move, and Escape leads back to the message.

import { byId, element } from './elements.js';

const REACTIONS = ['👍', '❤️', '😂', '🎉', '👀'];

export class MessageActions {
  #row = element('div', { class: 'actions', data: { testid: 'actions' }, attributes: { role: 'toolbar', 'aria-label': 'What to do with this message' } });
  #list = byId('messages');
  #scroller = byId('scroller');
  #find;
  #may;
  #actions;
  /** The message that Tab leads to, by its number; undefined: the newest. */
  #reached = undefined;

  /**
   * @param {(seq: number) => object|undefined} find  a message by its number
   * @param {(message: object) => {edit: boolean, remove: boolean}} may  what this person may do to it
   * @param {Record<'react'|'reply'|'thread'|'edit'|'pin'|'remove', Function>} actions  each takes a message
   */
  constructor(find, may, actions, signal) {
    this.#find = find;
    this.#may = may;
    this.#actions = actions;
    const show = (event) => this.#show(event.target.closest('[data-seq]'));
    const on = (event, listener) => this.#list.addEventListener(event, listener, { signal });
    // Who uses the keyboard keeps the row. A finger that scrolls points at nothing, and is gone before what it touched is clicked.
    const points = ({ pointerType }) => pointerType !== 'touch' && !this.#row.contains(document.activeElement);
    on('pointerover', (event) => points(event) && show(event));
    on('pointerleave', (event) => points(event) && this.#row.remove());
    on('click', (event) => event.target.closest('button, a') === null && show(event)); // those have purposes of their own
    on('focusin', (event) => {
      const line = event.target.closest('[data-seq]');
      if (line !== null) this.#reach(line);
      const held = this.#row.parentNode;
      const anew = line !== held && line?.dataset.seq === held?.dataset.seq && this.#row.contains(event.relatedTarget);
      if (event.target.matches(':focus-visible')) show(event); // whoever clicks has said what they want
      if (anew) [...this.#row.children].find(({ dataset }) => dataset.testid === event.relatedTarget.dataset.testid)?.focus();
    });
    on('focusout', (event) => {
      if (!this.#list.contains(event.relatedTarget)) this.#row.remove();
    });
    on('keydown', (event) => this.#key(event));
    this.#scroller.addEventListener('scroll', () => this.#row.isConnected && this.#place(this.#row.parentNode), { signal, passive: true });
  }

  /** The lines are others now: one of them is reached with Tab, and the row goes on where its line was made anew. */
  rendered() {
    const lines = [...this.#list.querySelectorAll(':scope > [data-seq]')];
    const held = this.#row.parentNode;
    if (held?.isConnected === false) {
      this.#row.remove();
      this.#show(lines.find(({ dataset }) => dataset.seq === held.dataset.seq) ?? null);
    } else if (held) {
      this.#place(held);
    }
    const line = lines.find(({ dataset }) => Number(dataset.seq) === this.#reached) ?? lines.at(-1);
    for (const other of lines) {
      other.tabIndex = other === line ? 0 : -1;
      other.setAttribute('aria-describedby', 'message-hint');
    }
  }

  #reach(line) {
    this.#reached = Number(line.dataset.seq);
    for (const other of this.#list.querySelectorAll(':scope > [tabindex="0"]')) other.tabIndex = -1;
    line.tabIndex = 0;
  }

  #key(event) {
    const line = event.target.closest('[data-seq]');
    if (line === null || event.altKey || event.ctrlKey || event.metaKey) return;
    const inRow = this.#row.contains(event.target);
    const lines = [...this.#list.querySelectorAll(':scope > [data-seq]')];
    const buttons = [...this.#row.children];
    const next = (all, by) => all[all.indexOf(event.target) + by];
    let target;
    if (inRow) {
      target = { ArrowLeft: next(buttons, -1), ArrowRight: next(buttons, 1), Home: buttons[0], End: buttons.at(-1), Escape: line }[event.key];
    } else if (event.target === line) {
      target = { ArrowUp: next(lines, -1), ArrowDown: next(lines, 1), ArrowRight: buttons[0] }[event.key];
    }
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    target.focus();
  }

  #show(line) {
    if (line === null) return;
    if (this.#row.parentNode === line) {
      this.#place(line); // it may have been scrolled out of sight
      return;
    }
    const message = this.#find(Number(line.dataset.seq));
    this.#row.remove();
    if (message === undefined || message.deleted) return;
    const button = (name, words, act, label = words) => {
      const made = element('button', { class: 'action', type: 'button', title: label, data: { testid: `action-${name}` }, attributes: { 'aria-label': label } }, words);
      made.addEventListener('click', (event) => {
        event.stopPropagation();
        if (name === 'delete' && made.textContent === words) { // it is gone for everybody, so it takes a second press
          made.textContent = 'Sure?';
          made.title = made.ariaLabel = 'Delete for good?';
          return;
        }
        if (document.activeElement === made) line.focus({ preventScroll: true }); // the row goes, the place stays
        this.#row.remove();
        act();
      });
      return made;
    };
    const may = this.#may(message);
    const buttons = REACTIONS.map((reaction) => button(`react-${reaction}`, reaction, () => this.#actions.react(message, reaction), `React with ${reaction}`));
    buttons.push(
      button('reply', 'Reply', () => this.#actions.reply(message)),
      button('thread', 'Thread', () => this.#actions.thread(message)),
      button('pin', message.pinned ? 'Unpin' : 'Pin', () => this.#actions.pin(message)),
    );
    if (may.edit && message.text !== undefined) buttons.push(button('edit', 'Edit', () => this.#actions.edit(message)));
    if (may.remove) buttons.push(button('delete', 'Delete', () => this.#actions.remove(message)));
    for (const other of buttons.slice(1)) other.tabIndex = -1; // the row is one stop of the Tab key; left and right lead through it
    this.#row.replaceChildren(...buttons);
    line.append(this.#row);
    this.#place(line);
  }

  /** Above the message, which it does not cover; where there is no room below it, and else at the upper edge of what is seen of it. */
  #place(line) {
    const { scrollTop, clientHeight } = this.#scroller;
    const above = line.offsetTop - scrollTop;
    const { offsetHeight: height } = this.#row;
    const fitsBelow = above + line.offsetHeight + height <= clientHeight;
    const seen = above + line.offsetHeight > 0;
    this.#row.style.top = `${above >= height || !seen ? -height : fitsBelow ? line.offsetHeight : -above}px`;
  }
}

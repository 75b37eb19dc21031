// The list of rooms with what is unread in each, and the form that adds one.

import { byId, element, visuallyHidden } from './elements.js';
import { hashOfRoom, nameFault } from './names.js';

export class RoomsView {
  #list = byId('room-list');
  #actions;
  /** Room name to {row, link, badge}. */
  #rows = new Map();

  /** @param {Record<'add'|'open'|'leave', (name: string) => void>} actions */
  constructor(actions, signal) {
    this.#actions = actions;
    this.#list.replaceChildren();
    byId('room-form').addEventListener('input', () => (byId('room-error').textContent = ''), { signal });
    byId('room-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#add();
    }, { signal });
  }

  render(conversations, current) {
    for (const [name, { row }] of this.#rows) {
      if (conversations.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    let unreadElsewhere = 0;
    for (const conversation of conversations.values()) {
      this.#renderRow(conversation, conversation === current, conversations.size === 1);
      if (conversation !== current) unreadElsewhere += conversation.unread;
    }
    const total = unreadElsewhere + (current?.unread ?? 0);
    document.title = `${total > 0 ? `(${short(total)}) ` : ''}${current?.name ?? ''} · Rookery`;
    showBadge(byId('back-badge'), unreadElsewhere);
  }

  #renderRow({ name, unread, status }, isCurrent, isLast) {
    let view = this.#rows.get(name);
    if (view === undefined) {
      view = this.#makeRow(name);
      this.#rows.set(name, view);
      this.#list.append(view.row);
    }
    if (isCurrent) view.link.setAttribute('aria-current', 'page');
    else view.link.removeAttribute('aria-current');
    view.row.dataset.status = status;
    view.leave.hidden = isLast;
    showBadge(view.badge, unread);
  }

  #makeRow(name) {
    const badge = element('span', { class: 'badge', hidden: true, data: { testid: 'unread' } });
    const link = element('a', { class: 'room-link', href: hashOfRoom(name), data: { testid: 'room', room: name } },
      element('span', { class: 'room-name', dir: 'auto' }, name), badge);
    const leave = element('button', {
      class: 'button button-icon room-leave',
      type: 'button',
      attributes: { 'aria-label': `Leave ${name}` },
    }, '×');
    // The link alone would do nothing when it names the room that is already shown, which on a
    // phone is how to come back to it.
    link.addEventListener('click', () => this.#actions.open(name));
    leave.addEventListener('click', () => this.#actions.leave(name));
    return { row: element('li', { class: 'room-row' }, link, leave), link, badge, leave };
  }

  #add() {
    const input = byId('room-add');
    const name = input.value.trim();
    const fault = nameFault(name);
    byId('room-error').textContent = fault ?? '';
    if (fault !== null) {
      input.focus();
      return;
    }
    input.value = '';
    this.#actions.add(name);
  }
}

function showBadge(badge, count) {
  badge.hidden = count === 0;
  if (badge.dataset.count === String(count)) return;
  badge.dataset.count = count;
  badge.replaceChildren(short(count), visuallyHidden(' unread'));
}

function short(count) {
  return count > 99 ? '99+' : String(count);
}

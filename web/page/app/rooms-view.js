// The list of rooms with what is unread in each, and the form that adds one.

import { byId, element, visuallyHidden } from './elements.js';
import { hashOfRoom, hueOf, initialOf, nameFault } from './names.js';

export class RoomsView {
  #list = byId('room-list');
  #actions;
  /** Room name to {row, link, mark, name, mention, badge, leave}. */
  #rows = new Map();

  /** @param {Record<'add'|'open'|'leave', (name: string) => void> & {isMuted: (name: string) => boolean}} actions */
  constructor(actions, signal) {
    this.#actions = actions;
    this.#list.replaceChildren();
    byId('room-form').addEventListener('input', () => (byId('room-error').textContent = ''), { signal });
    byId('room-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#add();
    }, { signal });
  }

  /** @param {object[]} conversations  in the order of the list */
  render(conversations, current) {
    const names = new Set(conversations.map(({ name }) => name));
    for (const [name, { row }] of this.#rows) {
      if (names.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    let unreadElsewhere = 0;
    for (const conversation of conversations) {
      this.#renderRow(conversation, conversation === current, conversations.length === 1);
      if (conversation !== current && !this.#actions.isMuted(conversation.name)) unreadElsewhere += conversation.unread;
    }
    this.#order(conversations);
    const total = unreadElsewhere + current.unread;
    document.title = `${total > 0 ? `(${short(total)}) ` : ''}${current.title} · Rookery`;
    showBadge(byId('back-badge'), unreadElsewhere);
  }

  /** Only what is at the wrong place is moved, and the focus stays where it was. */
  #order(conversations) {
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    conversations.forEach(({ name }, place) => {
      const { row } = this.#rows.get(name);
      if (this.#list.children[place] !== row) this.#list.insertBefore(row, this.#list.children[place] ?? null);
    });
    if (focused !== null && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }

  #renderRow({ name, title, membership, unread, mentions, status }, isCurrent, isLast) {
    let view = this.#rows.get(name);
    if (view === undefined) {
      view = this.#makeRow(name);
      this.#rows.set(name, view);
      this.#list.append(view.row);
    }
    if (isCurrent) view.link.setAttribute('aria-current', 'page');
    else view.link.removeAttribute('aria-current');
    view.row.dataset.status = status;
    view.row.dataset.muted = this.#actions.isMuted(name);
    const kind = membership?.kind ?? 'open';
    if (view.row.dataset.kind !== kind || view.name.textContent !== title) {
      view.row.dataset.kind = kind;
      view.name.textContent = title;
      view.mark.className = kind === 'open' ? 'room-mark' : `room-mark hue-${hueOf(title)}`;
      view.mark.textContent = kind === 'open' ? '#' : initialOf(title);
    }
    view.leave.hidden = isLast || membership !== null; // a membership is ended in the list of members
    view.mention.hidden = mentions === 0;
    showBadge(view.badge, unread);
  }

  #makeRow(name) {
    const mark = element('span', { class: 'room-mark', attributes: { 'aria-hidden': 'true' } });
    const named = element('span', { class: 'room-name', dir: 'auto' }, name);
    const mention = element('span', { class: 'badge badge-mention', hidden: true, data: { testid: 'mentioned' } },
      element('span', { attributes: { 'aria-hidden': 'true' } }, '@'), visuallyHidden('mentions you, '));
    const badge = element('span', { class: 'badge', hidden: true, data: { testid: 'unread' } });
    const link = element('a', { class: 'room-link', href: hashOfRoom(name), data: { testid: 'room', room: name } },
      mark, named, mention, badge);
    const leave = element('button', {
      class: 'button button-icon room-leave',
      type: 'button',
      attributes: { 'aria-label': `Leave ${name}` },
    }, '×');
    // The link alone would do nothing when it names the room that is already shown, which on a
    // phone is how to come back to it.
    link.addEventListener('click', () => this.#actions.open(name));
    leave.addEventListener('click', () => this.#actions.leave(name));
    return { row: element('li', { class: 'room-row' }, link, leave), link, mark, name: named, mention, badge, leave };
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

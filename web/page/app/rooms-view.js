// The list of rooms with what is unread in each, the field that finds one in a long list, and the form that adds one.
//
// One room of the list is in the order of the Tab key, the last one that was reached or else the one that is looked at. Up and down
// lead to its neighbours.

import { byId, element, visuallyHidden } from './elements.js';
import { hashOfRoom, hueOf, initialOf, nameFault } from './names.js';
import { RoomFilter } from './room-filter.js';

export class RoomsView {
  #list = byId('room-list');
  #actions;
  #filter;
  /** As they were rendered last. */
  #conversations = [];
  #current = null;
  /** Room name to {row, link, mark, name, mention, badge, leave}. */
  #rows = new Map();
  /** The name of the room that Tab leads to. */
  #reached = '';

  /**
   * @param {Record<'compose'|'open'|'leave', (name: string) => void> & {isMuted: (name: string) => boolean}} actions  compose: opens a room,
   *   a new one too, and leads to the message box
   */
  constructor(actions, signal) {
    this.#actions = actions;
    this.#list.replaceChildren();
    this.#list.addEventListener('focusin', ({ target }) => this.#reach(target.closest('.room-row')?.dataset.name), { signal });
    this.#list.addEventListener('keydown', (event) => this.#key(event), { signal });
    this.#filter = new RoomFilter({
      changed: () => this.#narrow(),
      enter: () => this.#enter(),
      down: () => this.#shown[0]?.firstElementChild.focus(),
    }, signal);
    byId('room-form').addEventListener('input', () => (byId('room-error').textContent = ''), { signal });
    byId('room-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#add();
    }, { signal });
  }

  /** There is a field that finds a room. */
  get isLong() {
    return this.#filter.shown;
  }

  /** Leads to that field. */
  find() {
    this.#filter.focus();
  }

  /** Leads to the room that is looked at. */
  focus() {
    this.#rows.get(this.#current.name)?.link.focus();
  }

  /** @param {object[]} conversations  in the order of the list */
  render(conversations, current) {
    const entered = current !== this.#current;
    this.#conversations = conversations;
    this.#current = current;
    if (entered) {
      this.#reached = current.name;
      this.#filter.clear(); // what was looked for is found
    }
    const names = new Set(conversations.map(({ name }) => name));
    let lost = false; // the focus, with the row that had it
    for (const [name, { row }] of this.#rows) {
      if (names.has(name)) continue;
      lost ||= row.contains(document.activeElement);
      row.remove();
      this.#rows.delete(name);
    }
    let unreadElsewhere = 0;
    for (const conversation of conversations) {
      this.#renderRow(conversation, conversation === current, conversations.length === 1);
      if (conversation !== current && !this.#actions.isMuted(conversation.name)) unreadElsewhere += conversation.unread;
    }
    this.#order(conversations);
    this.#narrow();
    if (entered) this.#rows.get(current.name).row.scrollIntoView({ block: 'nearest' });
    if (lost) this.focus();
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

  /** Shows those rooms that are looked for. */
  #narrow() {
    for (const { name, title } of this.#conversations) {
      const view = this.#rows.get(name);
      if (view !== undefined) view.row.hidden = !this.#filter.finds(title);
    }
    this.#filter.render(this.#shown.length, this.#conversations.length);
    this.#reach(this.#reached);
  }

  get #shown() {
    return [...this.#list.children].filter(({ hidden }) => !hidden);
  }

  #reach(name) {
    this.#reached = name;
    const shown = this.#shown;
    const at = (wanted) => shown.find(({ dataset }) => dataset.name === wanted);
    const reached = at(name) ?? at(this.#current.name) ?? shown[0];
    for (const { row, link, leave } of this.#rows.values()) {
      const stop = row === reached ? 0 : -1;
      if (link.tabIndex !== stop) link.tabIndex = leave.tabIndex = stop;
    }
  }

  #key(event) {
    const row = event.target.closest('.room-row');
    if (row === null || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const rows = this.#shown;
    const at = rows.indexOf(row);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 && this.#filter.shown) this.#filter.focus();
    else rows[to]?.firstElementChild.focus();
  }

  /** To the first room that was found. */
  #enter() {
    const [first] = this.#shown;
    if (first === undefined) return;
    this.#filter.clear();
    this.#actions.compose(first.dataset.name);
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
    link.addEventListener('click', ({ ctrlKey, metaKey, shiftKey }) => {
      if (ctrlKey || metaKey || shiftKey) return; // it is opened elsewhere
      this.#filter.clear();
      this.#actions.open(name);
    });
    leave.addEventListener('click', () => this.#actions.leave(name));
    return { row: element('li', { class: 'room-row', data: { name } }, link, leave), link, mark, name: named, mention, badge, leave };
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
    this.#actions.compose(name);
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

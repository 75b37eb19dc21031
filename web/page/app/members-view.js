// Beside the room: who its members are, what may be done to them and with the room. What the person may not do is not there.

import { byId, element, visuallyHidden } from './elements.js';
import { MemberList } from './member-list.js';
import { actionsOn, isModerator, mayInvite, mayLeave, momentWords, untilWords } from './membership.js';
import { hueOf, initialOf, nameFault } from './names.js';
import { RoomSettings } from './room-settings.js';

export class MembersView {
  // Set at construction.
  #client;
  #left;
  #panel = byId('members');
  #rows = byId('members-list');
  #fault = byId('members-fault');
  #leave = byId('room-leave');
  #settings;

  #conversation = null;
  /** @type {MemberList|null} null: the panel is closed */
  #list = null;
  #banned = false;
  /** Whose actions are shown. */
  #chosen = null;
  /** User to {node, signature}: a row is made again only when it has changed. */
  #shown = new Map();

  /** @param {(room: string) => void} left  the person has ended their membership */
  constructor(client, left, signal) {
    this.#client = client;
    this.#left = left;
    this.#settings = new RoomSettings((change) => this.#do(() => client.configureRoom(this.#conversation.name, change)), signal);
    const on = (id, event, listener) => byId(id).addEventListener(event, listener, { signal });
    on('members-close', 'click', () => {
      this.close();
      byId('members-open').focus();
    });
    on('members-more', 'click', () => this.#list.load());
    on('members-banned', 'click', () => this.#open(!this.#banned));
    on('invite-form', 'submit', (event) => {
      event.preventDefault();
      this.#invite();
    });
    on('room-leave', 'click', () => this.#askToLeave());
    on('room-leave', 'blur', () => this.#sure(false));
    client.on('member', (change) => change.room === this.#conversation?.name && this.#list?.hear(change));
  }

  open(conversation) {
    this.#conversation = conversation;
    this.#open(false);
    byId('members-close').focus();
  }

  close() {
    this.#list = null;
    this.#panel.hidden = true;
  }

  /** Something has changed in a conversation: who is there, or what the person may do. */
  changed(conversation) {
    if (this.#list !== null && conversation === this.#conversation) this.#render();
  }

  #open(banned) {
    this.#banned = banned;
    this.#chosen = null;
    this.#fault.textContent = '';
    this.#rows.replaceChildren();
    this.#shown.clear();
    this.#sure(false);
    this.#settings.close();
    this.#panel.hidden = false;
    const list = new MemberList(this.#client, this.#conversation.name, { banned }, () => list === this.#list && this.#render());
    this.#list = list;
    this.#render();
    list.load();
  }

  #render() {
    const { membership, status } = this.#conversation;
    const { members, more, total, error } = this.#list;
    const inside = status !== 'removed' && status !== 'failed';
    byId('members-title').textContent = this.#banned ? 'Banned' : total > 0 ? `Members (${total})` : 'Members';
    byId('members-more').hidden = !more;
    byId('invite-form').hidden = this.#banned || !inside || !mayInvite(membership);
    byId('members-banned').hidden = !inside || membership?.kind === 'direct' || !isModerator(membership);
    byId('members-banned').textContent = this.#banned ? 'Show members' : 'Show who is banned';
    this.#leave.hidden = this.#banned || !inside || !mayLeave(membership);
    this.#settings.render(inside && !this.#banned && membership?.kind !== 'direct' && isModerator(membership) ? membership : null);
    if (error !== null) this.#fault.textContent = error.message;
    this.#reconcile(members);
  }

  #reconcile(members) {
    // A row that is made again, or moved, loses the focus.
    const focused = this.#rows.contains(document.activeElement) ? document.activeElement : null;
    const held = focused?.closest('[data-testid=member]').dataset.user;
    const names = new Set(members.map(({ user }) => user));
    for (const [user, { node }] of this.#shown) {
      if (names.has(user)) continue;
      node.remove();
      this.#shown.delete(user);
    }
    members.forEach((member, place) => {
      const node = this.#row(member);
      if (this.#rows.children[place] !== node) this.#rows.insertBefore(node, this.#rows.children[place] ?? null);
    });
    if (focused === null || focused === document.activeElement) return;
    const node = this.#shown.get(held)?.node;
    const buttons = [...(node?.querySelectorAll('button') ?? [])];
    // Its own action may be there no more.
    (buttons.find(({ dataset }) => dataset.testid === focused.dataset.testid) ?? buttons[0])?.focus();
  }

  #row(member) {
    const { user } = member;
    const { membership, people } = this.#conversation;
    const state = people.stateOf(user);
    const signature = [this.#standing(member, state), state, membership?.role, this.#chosen === user].join(' ');
    const known = this.#shown.get(user);
    if (known?.signature === signature) return known.node;
    const node = this.#makeRow(member, state);
    known?.node.replaceWith(node);
    this.#shown.set(user, { node, signature });
    return node;
  }

  #makeRow(member, state) {
    const { user } = member;
    const actions = this.#banned
      ? [{ name: 'unban', words: 'Unban', action: { action: 'unban' } }]
      : actionsOn(member, this.#conversation.membership, this.#client.user);
    const row = element('li', { class: 'member', data: { testid: 'member', user, state: state ?? '' } },
      element('span', { class: `member-disc hue-${hueOf(user)}`, attributes: { 'aria-hidden': 'true' } }, initialOf(user)),
      element('span', { class: 'member-name', dir: 'auto' }, user, user === this.#client.user ? ' (you)' : ''),
      element('span', { class: 'member-role' }, this.#standing(member, state)));
    if (state !== undefined) {
      row.firstChild.append(element('span', { class: 'person-dot' }));
      row.append(visuallyHidden(`, ${state}`));
    }
    if (actions.length === 0) return row;
    const open = this.#chosen === user;
    const manage = element('button', {
      class: 'button button-quiet', type: 'button', data: { testid: 'member-manage' },
      attributes: { 'aria-expanded': String(open), 'aria-label': `Manage ${user}` },
    }, open ? 'Less' : 'Manage');
    manage.addEventListener('click', () => {
      this.#chosen = open ? null : user;
      this.#render();
    });
    row.append(manage);
    if (open) row.append(element('div', { class: 'member-actions' }, ...actions.map((action) => this.#button(user, action))));
    return row;
  }

  #standing({ user, role, mutedUntil, bannedUntil, reason, lastSeen = 0 }, state) {
    const until = this.#banned ? bannedUntil : mutedUntil;
    if (!(until > Date.now())) {
      const seen = Math.max(lastSeen, this.#conversation.people.leftAt(user));
      return state === 'offline' && seen > 0 ? `${role}, last seen ${momentWords(seen)}` : role ?? '';
    }
    const what = this.#banned ? 'banned' : `${role}, muted`;
    return `${what} ${untilWords(until)}${reason ? ` (${reason})` : ''}`;
  }

  #button(user, { name, words, action }) {
    const button = element('button', { class: 'button button-small', type: 'button', data: { testid: `member-${name}` } }, words);
    button.addEventListener('click', () => this.#do(async () => {
      this.#list.hear(await this.#client.changeMember({ room: this.#conversation.name, user, ...action }));
    }));
    return button;
  }

  #invite() {
    const input = byId('invite-name');
    const user = input.value.trim();
    this.#fault.textContent = nameFault(user) ?? '';
    if (this.#fault.textContent !== '') return;
    // Now and not with the answer: the next name may be written by then.
    input.value = '';
    const list = this.#list;
    const { name } = this.#conversation;
    this.#do(async () => {
      try {
        list.hear(await this.#client.changeMember({ room: name, user, action: 'invite', role: 'member' }));
      } catch (error) {
        if (list === this.#list && input.value === '') input.value = user;
        throw error;
      }
    });
  }

  /** Who is not a member of a group any more does not come back by themselves, so it takes a second press. */
  async #askToLeave() {
    if (this.#leave.dataset.sure !== 'true') {
      this.#sure(true);
      return;
    }
    const { name } = this.#conversation;
    await this.#do(async () => {
      await this.#client.changeMember({ room: name, action: 'leave' });
      this.close();
      this.#left(name);
    });
  }

  #sure(sure) {
    this.#leave.dataset.sure = sure;
    this.#leave.textContent = sure ? 'Leave for good?' : 'Leave this room';
  }

  /** Does what the server may refuse, and says why, unless something else is shown by then. */
  async #do(change) {
    const list = this.#list;
    this.#fault.textContent = '';
    try {
      await change();
    } catch (error) {
      if (list === this.#list) this.#fault.textContent = error.message;
    }
  }
}

// Beside the timeline: one thread, or what is pinned.

import { byId, element } from './elements.js';
import { Folding } from './long-text.js';
import { messageView } from './message-view.js';

/** A panel shows the newest of what it lists. */
const MOST = 100;
/** Whoever looks at the end, give or take so many pixels, goes on to see it. */
const AT_END = 40;

export class Panel {
  #panel = byId('panel');
  #list = byId('panel-list');
  #title = byId('panel-title');
  #client;
  #actions;
  #threadClosed;
  #folding = new Folding((button) => button.ariaExpanded === 'false' && button.scrollIntoView({ block: 'nearest' }));

  #conversation = null;
  /** What is listed: {thread} or {pinned}; null: the panel is closed. */
  #query = null;
  /** As they were read; null: they were not yet. */
  #messages = null;
  #loading = false;
  #stale = false;

  /** @param {() => void} threadClosed */
  constructor(client, actions, threadClosed, signal) {
    this.#client = client;
    this.#actions = actions;
    this.#threadClosed = threadClosed;
    byId('panel-close').addEventListener('click', () => {
      byId(this.#query?.thread ? 'composer-text' : 'pins-open').focus(); // where it was before
      this.close();
    }, { signal });
  }

  open(conversation, query, title) {
    this.#leave();
    this.#conversation = conversation;
    this.#query = query;
    this.#messages = null;
    this.#folding.clear();
    this.#title.textContent = title;
    this.#list.replaceChildren(element('li', { class: 'panel-loading' }, 'Loading…'));
    this.#panel.hidden = false;
    if (!query.thread) byId('panel-close').focus(); // in a thread one writes
    this.#load();
  }

  close() {
    this.#leave();
    this.#query = null;
    this.#panel.hidden = true;
  }

  #leave() {
    if (this.#query?.thread) this.#threadClosed();
  }

  /** Something in a conversation has changed. */
  changed(conversation) {
    if (this.#query !== null && conversation === this.#conversation) this.#load();
  }

  /** One request at a time: what changes meanwhile makes another one. */
  async #load() {
    if (this.#loading) {
      this.#stale = true;
      return;
    }
    this.#loading = true;
    do {
      this.#stale = false;
      const query = this.#query;
      if (query === null) break;
      try {
        const page = await this.#conversation.list({ ...query, limit: MOST });
        if (query !== this.#query) continue;
        this.#messages = page.messages;
        this.render();
      } catch (error) {
        if (query === this.#query) this.#list.replaceChildren(`This can't be shown: ${error.message}`);
      }
    } while (this.#stale);
    this.#loading = false;
  }

  /** Shows what was read, as it is now. */
  render() {
    if (this.#query === null || this.#messages === null) return;
    const messages = this.#messages.map((message) => this.#conversation.get(message.seq) ?? message);
    const { user } = this.#client;
    const { thread } = this.#query;
    const { scrollTop, scrollHeight, clientHeight } = this.#panel;
    const following = scrollHeight - scrollTop - clientHeight < AT_END;
    this.#list.replaceChildren(...messages.map((message) => {
      const about = this.#conversation.get(message.replyTo || message.thread);
      const line = messageView(message, { grouped: false, own: false, user, about, listed: thread, folding: this.#folding, actions: this.#actions });
      if (!thread) line.append(this.#showButton(message));
      return line;
    }));
    if (messages.length === 0) this.#list.append('Nothing yet.');
    if (following) this.#panel.scrollTop = this.#panel.scrollHeight;
  }

  #showButton({ seq }) {
    const button = element('button', { class: 'button button-quiet panel-show', type: 'button', data: { testid: 'panel-show' } }, 'Show');
    button.addEventListener('click', () => this.#actions.goTo(seq));
    return button;
  }
}

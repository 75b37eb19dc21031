// Beside the timeline: one thread, or what is pinned.

import { byId } from './elements.js';
import { messageView } from './message-view.js';

/** A panel shows the newest of what it lists. */
const MOST = 100;

export class Panel {
  #panel = byId('panel');
  #list = byId('panel-list');
  #title = byId('panel-title');
  #client;
  #actions;
  #threadClosed;

  #conversation = null;
  /** What is listed: {thread} or {pinned}; null: the panel is closed. */
  #query = null;
  #loading = false;
  #stale = false;

  /** @param {() => void} threadClosed */
  constructor(client, actions, threadClosed, signal) {
    this.#client = client;
    this.#actions = actions;
    this.#threadClosed = threadClosed;
    byId('panel-close').addEventListener('click', () => this.close(), { signal });
  }

  open(conversation, query, title) {
    this.#leave();
    this.#conversation = conversation;
    this.#query = query;
    this.#title.textContent = title;
    this.#list.replaceChildren();
    this.#panel.hidden = false;
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
        if (query === this.#query) this.#render(page.messages);
      } catch (error) {
        if (query === this.#query) this.#list.replaceChildren(`This can't be shown: ${error.message}`);
      }
    } while (this.#stale);
    this.#loading = false;
  }

  #render(messages) {
    const { user } = this.#client;
    this.#list.replaceChildren(...messages.map((message) => messageView(message, {
      grouped: false, own: false, user, answered: this.#conversation.get(message.replyTo), actions: this.#actions,
    })));
    if (messages.length === 0) this.#list.append('Nothing yet.');
  }
}

// The state of the connection, in the corner of the room: live, connecting, or offline with
// the seconds until the next try.

import { byId } from './elements.js';
import { secondsUntil } from './times.js';

const SECOND = 1_000;

export class ConnectionView {
  #client;
  #countdown;

  constructor(client, signal) {
    this.#client = client;
    client.on('state', () => this.#render());
    byId('connection-retry').addEventListener('click', () => client.wake(), { signal });
    signal.addEventListener('abort', () => clearInterval(this.#countdown));
    this.#countdown = setInterval(() => this.#renderText(), SECOND);
    this.#render();
  }

  #render() {
    const state = shownState(this.#client);
    const view = byId('connection');
    const changed = view.dataset.state !== state;
    view.dataset.state = state;
    view.title = this.#client.error?.message ?? '';
    byId('connection-retry').hidden = state !== 'offline';
    this.#renderText();
    // Once per change and without the seconds, which nobody wants to hear counted.
    if (changed) byId('connection-status').textContent = sentence[state];
  }

  #renderText() {
    const state = shownState(this.#client);
    let text = { live: 'Live', connecting: 'Connecting…', offline: 'Offline' }[state];
    if (this.#client.retryAt !== null && state === 'offline') {
      text = `Offline, retry in ${secondsUntil(this.#client.retryAt)} s`;
    }
    const shown = byId('connection-text');
    if (shown.textContent !== text) shown.textContent = text;
  }
}

const sentence = {
  live: 'Connected.',
  connecting: 'Connecting.',
  offline: 'Connection lost. What you write is sent when it is back.',
};

function shownState({ state, error }) {
  switch (state) {
    case 'connected':
      return 'live';
    case 'waiting':
      return error === null ? 'connecting' : 'offline'; // the first try has nothing to wait for
    case 'closed':
      return 'offline';
    default:
      return 'connecting';
  }
}

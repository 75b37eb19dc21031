// The dialog that begins a conversation: with one person, in a new group, or in a channel.

import { byId } from './elements.js';
import { nameFault } from './names.js';

/** The prefixes that the server's setting rooms.members has by default. */
const GROUP = 'group:';
const CHANNEL = 'channel:';

const words = {
  direct: { label: 'Their name', submit: 'Start' },
  group: { label: 'Title of the group', submit: 'Create' },
  channel: { label: 'Name of the channel', submit: 'Join' },
};

export class CreateDialog {
  #dialog = byId('create');
  #text = byId('create-text');
  #error = byId('create-error');
  #submit = byId('create-submit');
  #client;
  #enter;
  /** Ends with the dialog: what is answered later is not waited for any more. */
  #asking = new AbortController();

  /**
   * @param {(room: string, asking: AbortSignal) => Promise<void>} enter  shows a room, unless it is not asked for any more; rejected with
   *   the reason why it can't be entered
   */
  constructor(client, enter, signal) {
    this.#client = client;
    this.#enter = enter;
    byId('create-open').addEventListener('click', () => this.#open(), { signal });
    byId('create-cancel').addEventListener('click', () => this.#dialog.close(), { signal });
    byId('create-form').addEventListener('change', () => this.#label(), { signal });
    byId('create-form').addEventListener('input', () => (this.#error.textContent = ''), { signal });
    byId('create-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#create();
    }, { signal });
    this.#dialog.addEventListener('close', () => this.#asking.abort(), { signal });
    signal.addEventListener('abort', () => {
      this.#asking.abort();
      this.#dialog.close();
    });
  }

  #open() {
    byId('create-form').reset();
    this.#error.textContent = '';
    this.#submit.disabled = false;
    this.#label();
    this.#dialog.showModal();
    this.#text.focus();
  }

  get #kind() {
    return new FormData(byId('create-form')).get('kind');
  }

  #label() {
    const { label, submit } = words[this.#kind];
    byId('create-label').textContent = label;
    this.#submit.textContent = submit;
  }

  /** The dialog stays until it is done, and says in the server's words why it is not. */
  async #create() {
    const text = this.#text.value.trim();
    const fault = nameFault(text);
    this.#error.textContent = fault ?? '';
    if (fault !== null) return;
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    this.#submit.disabled = true;
    if (this.#client.state !== 'connected') this.#error.textContent = 'There is no connection now. The conversation begins once it is back.';
    let refused = '';
    try {
      const room = await this.#room(this.#kind, text);
      if (!signal.aborted) await this.#enter(room, signal);
    } catch (error) {
      refused = error.message;
    }
    if (signal.aborted) return;
    this.#submit.disabled = false;
    this.#error.textContent = refused;
    if (refused === '') this.#dialog.close();
  }

  /** The name of the room, which is there then. */
  async #room(kind, text) {
    if (kind === 'direct') return (await this.#client.startDirect(text)).room;
    if (kind === 'group') return (await this.#client.createRoom({ room: GROUP + randomName(), title: text })).room;
    const room = text.startsWith(CHANNEL) ? text : CHANNEL + text;
    try {
      await this.#client.createRoom({ room, title: room.slice(CHANNEL.length) });
    } catch (error) {
      // A channel that is there, or that the person may not create, can be joined all the same.
      if (error.code !== 'room_exists' && error.code !== 'room_forbidden') throw error;
    }
    return room;
  }
}

/** Groups are called by their titles, of which there may be two. Not randomUUID, which pages of plain http do not have. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

// Tells of direct messages and mentions through the browser while nobody looks at the page; of a room that is muted on this
// device nothing. The browser is asked for permission when the person wants it, not before. Where the server tells who is away, the
// switch for that (away-view.js) stands in the place of this button.

import { byId } from './elements.js';
import { inShort } from './long-text.js';
import { messageNotice } from './summary.js';

const LONGEST = 200;

/** Whether a message is about this person and not only about the room. */
export function concerns({ membership }, { from, mentions }, user) {
  return from !== user && (membership?.kind === 'direct' || mentions?.includes(user) === true);
}

export class Notifications {
  #allow = byId('notify');
  #mute = byId('room-mute');
  #user;
  #settings;
  #away;
  #open;
  #conversation = null;

  /**
   * @param {() => string|null} user
   * @param {object} settings  see settings.js
   * @param {object} away  see away.js
   * @param {(room: string) => void} open
   * @param {() => void} changed  a room was muted, or is not any more
   */
  constructor(user, settings, away, open, changed, signal) {
    this.#user = user;
    this.#settings = settings;
    this.#away = away;
    this.#open = open;
    this.#allow.addEventListener('click', () => this.#ask(), { signal });
    this.#mute.addEventListener('click', () => {
      const { name } = this.#conversation;
      const muted = settings.muted;
      settings.muted = muted.includes(name) ? muted.filter((other) => other !== name) : [...muted, name];
      this.show(this.#conversation);
      changed();
    }, { signal });
    this.renderAllow();
  }

  /** The room that is looked at is another one. */
  show(conversation) {
    this.#conversation = conversation;
    const muted = this.#settings.muted.includes(conversation.name);
    this.#mute.setAttribute('aria-pressed', String(muted));
    this.#mute.title = muted ? 'Muted on this device' : 'Mute on this device';
  }

  arrived(conversation, message) {
    if (!document.hidden || this.#permission !== 'granted' || !concerns(conversation, message, this.#user())) return;
    const { name, title, membership } = conversation;
    if (this.#settings.muted.includes(name)) return;
    const text = message.text ?? 'sent data';
    const body = inShort(text, LONGEST);
    // One for each room: the newest takes the place of the one before.
    const notice = messageNotice(membership?.kind === 'direct' ? title : `${message.from} in ${title}`, body, name);
    if (this.#away.registration) {
      this.#away.registration.showNotification(notice.title, notice.options).catch(() => {}); // the badge says it too
      return;
    }
    try {
      const shown = new Notification(notice.title, notice.options);
      shown.addEventListener('click', () => {
        window.focus();
        this.#open(name);
        shown.close();
      });
    } catch {
      // Browsers of phones let only service workers do it; the badge says it too.
    }
  }

  /** undefined where the browser has none, as on plain http. */
  get #permission() {
    return globalThis.Notification?.permission;
  }

  async #ask() {
    await Notification.requestPermission();
    this.renderAllow();
  }

  renderAllow() {
    this.#allow.hidden = this.#permission !== 'default' || this.#away.state === 'off';
  }
}

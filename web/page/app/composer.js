// The message box. Each room has its own draft, which a reload keeps.

import { byId } from './elements.js';
import { composes } from './keys.js';
import { Completion } from './mentions.js';

export class Composer {
  #text = byId('composer-text');
  #about = byId('composer-about');
  #fault = byId('composer-fault');
  /** The room that is shown, and what stands in the box and below it in each: the box's text is remembered, too. */
  #room;
  #drafts = new Map();
  #faults = new Map();
  #settings;
  #send;
  #completion;
  /** What the text is for: {reply}, {thread} or {edit}, each a message; {} is for the room. */
  #purpose = {};
  /** What stood in the box before the edit that has it now: {text, purpose, words}; null: nothing is edited. */
  #kept = null;
  /** Something was typed since the last text was sent. */
  #typed = false;
  /** Nothing can be sent now; an edit can. */
  #waiting = false;

  /**
   * @param {(text: string, purpose: object) => void} send
   * @param {() => string[]} known  names to complete
   * @param {object} settings  see settings.js
   */
  constructor(send, known, settings, signal) {
    this.#send = send;
    this.#settings = settings;
    this.#completion = new Completion(this.#text, known, signal);
    byId('composer-cancel').addEventListener('click', () => this.cancel(), { signal });
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#text.addEventListener('keydown', (event) => {
      if (composes(event) || this.#completion.key(event)) return;
      if (event.key === 'Escape' && !this.#about.hidden) {
        event.stopPropagation();
        this.cancel();
        return;
      }
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#text.addEventListener('input', () => {
      this.#typed = true;
      this.#wrote();
    }, { signal });
  }

  /** closed: nothing can be written here; waiting: nothing can be sent yet. */
  restrict({ closed, waiting }) {
    this.#waiting = waiting;
    this.#text.disabled = closed;
    this.#allow();
  }

  #allow() {
    byId('composer-send').disabled = this.#text.disabled || (this.#waiting && !this.#purpose.edit);
  }

  focus() {
    this.#text.focus();
  }

  /** Puts text in to be written anew, before what is there already; an edit ends, since the text is not for its message. */
  edit(text) {
    if (this.#kept !== null) this.cancel();
    this.#text.value = before(text, this.#text.value);
    this.#wrote();
    this.#text.focus();
  }

  /** Says what could not be done in a room; '': it could. Who looks at another room by then is told when they come back. */
  say(room, fault) {
    if (room === this.#room) this.#fault.textContent = fault;
    else this.#faults.set(room, fault);
  }

  /**
   * An edit could not be made: it goes on, or its text is before what was begun meanwhile, which Enter would send as the edit. Without a
   * purpose it can't go on, and its text is for the room.
   */
  giveBack(room, text, purpose, words) {
    if (room !== this.#room) {
      this.#keep(room, before(text, this.#draft(room)));
    } else if (this.#kept !== null) {
      this.#kept.text = before(text, this.#kept.text);
      this.#wrote();
    } else if (this.#typed || !purpose.edit) {
      this.#text.value = before(text, this.#text.value);
      this.#wrote();
    } else {
      this.begin({ edit: { ...purpose.edit, text } }, words);
    }
  }

  /** Says what the next text is for; of an edit it is the text as it was. */
  begin(purpose, words) {
    if (this.#kept !== null) this.cancel(); // what was written for that message is for no other
    if (purpose.edit) {
      this.#kept = { text: this.#text.value, purpose: this.#purpose, words: byId('composer-about-text').textContent };
      this.#text.value = purpose.edit.text;
    }
    this.#turn(purpose, words);
    this.#text.focus();
  }

  /** The next text is for the room again, or for what it was for before an edit. */
  cancel() {
    const { text, purpose, words } = this.#kept ?? { text: this.#text.value, purpose: {}, words: '' };
    this.#kept = null;
    this.#text.value = text;
    this.#turn(purpose, words);
  }

  /** The thread is closed: what was for it is for the room. An edit or a reply goes on. */
  leaveThread() {
    if (this.#purpose.thread) this.cancel();
    else if (this.#kept?.purpose.thread) this.#kept = { ...this.#kept, purpose: {}, words: '' };
  }

  /**
   * The room has begun anew, and the messages that the text was for are gone: it is for the room, and what was begun as an edit stands
   * before the draft. Says whether it was for one.
   */
  beginAnew() {
    const { edit, reply, thread } = this.#purpose;
    if (!edit && !reply && !thread) return false;
    if (this.#kept !== null) this.#text.value = before(this.#text.value, this.#kept.text);
    this.#kept = null;
    this.#turn({}, '');
    return true;
  }

  #turn(purpose, words) {
    this.#purpose = purpose;
    byId('composer-about-text').textContent = words;
    this.#about.hidden = words === '';
    this.#allow();
    this.#wrote();
  }

  /** Another room is shown. */
  enter(room) {
    if (this.#kept !== null) this.cancel();
    this.cancel();
    this.#faults.set(this.#room, this.#fault.textContent);
    this.#room = room;
    this.#text.value = this.#draft(room);
    this.#fault.textContent = this.#faults.get(room) ?? '';
    this.#wrote();
  }

  #draft(room) {
    return this.#drafts.get(room) ?? this.#settings.loadDraft(room);
  }

  #keep(room, text) {
    this.#drafts.set(room, text);
    this.#settings.saveDraft(room, text);
  }

  #submit() {
    const text = this.#text.value.trim();
    if (text === '' || this.#text.disabled || (this.#waiting && !this.#purpose.edit)) return;
    const purpose = this.#purpose;
    this.#typed = false;
    this.#text.value = '';
    this.#wrote();
    // A thread goes on until it is closed.
    if (purpose.reply || purpose.edit) this.cancel();
    this.#completion.close();
    this.#send(text, purpose);
    this.#text.focus();
  }

  /** The text is another one: the box is as high as its lines, and the draft is kept. The style sheet has the limit. */
  #wrote() {
    if (this.#room !== undefined) this.#keep(this.#room, this.#kept?.text ?? this.#text.value);
    this.#text.style.height = 'auto';
    const borders = this.#text.offsetHeight - this.#text.clientHeight;
    this.#text.style.height = `${this.#text.scrollHeight + borders}px`;
  }
}

/** What comes back stands before what is there already. */
function before(text, there) {
  return [text, there].filter(Boolean).join('\n');
}

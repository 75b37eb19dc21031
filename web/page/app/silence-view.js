// Over the message box why the person can't write here now, and for how long.

import { byId } from './elements.js';
import { silence, untilWords } from './membership.js';
import { secondsUntil } from './times.js';

const SECOND = 1_000;

export class SilenceView {
  #line = byId('composer-state');
  #words = byId('composer-state-words');
  #seconds = byId('composer-state-seconds');
  #composer;
  #conversation = null;
  /** By how much this machine's clock is behind the server's, as far as messages have shown: none of them is from the future. */
  #behind = 0;

  constructor(composer, signal) {
    this.#composer = composer;
    const countdown = setInterval(() => this.#render(), SECOND);
    signal.addEventListener('abort', () => clearInterval(countdown));
  }

  render(conversation) {
    this.#conversation = conversation;
    this.#render();
  }

  #render() {
    if (this.#conversation === null) return;
    const { words = '', seconds = '', closed = false } = this.#state();
    this.#line.hidden = words === '';
    // The words are read aloud when they change; the seconds are for the eye.
    if (this.#words.textContent !== words) this.#words.textContent = words;
    if (this.#seconds.textContent !== seconds) this.#seconds.textContent = seconds;
    this.#composer.restrict({ closed, waiting: seconds !== '' });
  }

  /** The server's time: who may write when is for its clock to say. */
  #now() {
    const now = Date.now();
    this.#behind = Math.max(this.#behind, this.#conversation.lastAt - now);
    return now + this.#behind;
  }

  /** closed: nothing can be written; with seconds only nothing can be sent. */
  #state() {
    const { status, error, membership } = this.#conversation;
    if (status === 'removed') return { words: error.message, closed: true };
    const now = this.#now();
    const silent = silence(this.#conversation, now);
    switch (silent?.reason) {
      case 'role':
        return { words: membership.speak === 'member' ? 'Guests only read here.' : `Only ${membership.speak}s write here.`, closed: true };
      case 'muted':
        return { words: `You are muted ${untilWords(silent.until)}.`, closed: true };
      case 'slow':
        return { words: 'Slow mode: you can write again in', seconds: `${secondsUntil(silent.until, now)} s` };
      default:
        return {};
    }
  }
}

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

  /** closed: nothing can be written; with seconds only nothing can be sent. */
  #state() {
    const { status, error, membership } = this.#conversation;
    if (status === 'removed') return { words: error.message, closed: true };
    const silent = silence(this.#conversation, Date.now());
    switch (silent?.reason) {
      case 'role':
        return { words: membership.speak === 'member' ? 'Guests only read here.' : `Only ${membership.speak}s write here.`, closed: true };
      case 'muted':
        return { words: `You are muted ${untilWords(silent.until)}.`, closed: true };
      case 'slow':
        return { words: 'Slow mode: you can write again in', seconds: `${secondsUntil(silent.until)} s` };
      default:
        return {};
    }
  }
}

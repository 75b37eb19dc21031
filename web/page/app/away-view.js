// The button that has this device told while no page is open, and what there is to say about it.

import { byId } from './elements.js';

const words = {
  unsupported: 'This browser can’t notify you while the page is closed.',
  'home-screen': 'To be notified while you are away, add this page to the Home Screen and open it from there.',
  denied: 'Notifications of this page are blocked. The browser’s settings can allow them.',
};

export class AwayView {
  #away;

  constructor(away, signal) {
    this.#away = away;
    byId('away-toggle').addEventListener('click', () => (away.state === 'on' ? away.turnOff() : away.turnOn()), { signal });
    this.render();
  }

  render() {
    const { state, fault } = this.#away;
    byId('away').hidden = state === 'unknown';
    byId('away-toggle').hidden = state !== 'on' && state !== 'off';
    byId('away-toggle').setAttribute('aria-pressed', String(state === 'on'));
    byId('away-hint').textContent = fault || (words[state] ?? '');
  }
}

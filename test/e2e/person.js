// One person's window in Chromium.
//
// CHROMIUM names the browser (default: Debian's). With SCREENSHOTS=DIR the page is
// photographed into that folder.

import { join } from 'node:path';

import { chromium } from 'playwright-core';
import WebSocket from 'ws';

import { Rookery } from '../../client/js/rookery.js';
import { BACK_MS, becomes } from './becomes.js';
import { tellOfFailure } from './failure.js';
import { Server } from './server.js';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
// As root, in a container and offline: no sandbox, nothing that calls home, and no name looked up elsewhere: the provider's pages import a
// font, and can't be clicked before that is there or refused.
const args = ['--no-sandbox', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'];

export const DESK = { width: 1100, height: 720 };
export const PHONE = { width: 360, height: 740 };

/**
 * A server that is down is what some tests are about, and the browser says so itself: in other words of a request that was on its way
 * when it was killed.
 */
const unreached = /^WebSocket connection to .* failed|net::ERR_CONNECTION_REFUSED/;
/** Only where a server was ended. */
const cutOff = /net::ERR_(CONNECTION_(RESET|CLOSED)|EMPTY_RESPONSE)/;

/** How long a page that may be stuck is asked what it shows, and how many characters of that are told. */
const LOOK_MS = 5_000;
const MOST_SEEN = 1_000;

let browser;

export async function openBrowser() {
  browser = await chromium.launch({ executablePath, args, timeout: BACK_MS });
}

export async function closeBrowser() {
  await browser?.close();
}

/** A browser's profile of its own, without anybody signed in. */
export async function newContext(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(BACK_MS);
  return context;
}

/** One person's window, with storage of its own. */
export class Person {
  /** Faults are noted while the page is one of these addresses: a provider's pages are its own business. */
  constructor(page, name, address = '') {
    this.page = page;
    this.name = name;
    this.faults = [];
    tellOfFailure(() => this.#looks());
    page.on('pageerror', (error) => page.url().startsWith(address) && this.faults.push(`error: ${error.message}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && page.url().startsWith(address) && !unreached.test(message.text()) && !(Server.ended && cutOff.test(message.text()))) {
        this.faults.push(`console: ${message.text()}`);
      }
    });
  }

  static async arrive(t, server, name, { room = 'lobby', viewport = DESK, colorScheme = 'light', hasTouch = false } = {}) {
    const context = await newContext({ viewport, colorScheme, hasTouch });
    t.after(() => context.close());
    const person = new Person(await context.newPage(), name);
    await person.page.goto(`${server.address}/?name=${name}&room=${encodeURIComponent(room)}`);
    if (hasTouch) await person.find('join-button').tap(); // a mouse would stay where it was
    else await person.find('join-button').click();
    await person.state('live');
    await person.shown();
    return person;
  }

  find(testid) {
    return this.page.getByTestId(testid);
  }

  async state(state) {
    await this.page.locator(`[data-testid=connection-state][data-state=${state}]`).waitFor();
  }

  /** The room has been read: what comes from now on is new. That it is joined shows only in who is there, see isThere. */
  async shown() {
    await this.page.locator('[data-testid=timeline-top]:is([data-state=ready], [data-state=beginning])').waitFor({ state: 'attached' });
  }

  /** The person is seen to be in the room, so whatever passes there reaches them. */
  async isThere(name = this.name) {
    await this.page.locator(`[data-testid=person][data-user=${name}]:not([data-state=unknown])`).waitFor();
  }

  async say(text) {
    await this.find('composer').fill(text);
    await this.find('composer').press('Enter');
  }

  /** Everything that was said here has its place. */
  async allSent() {
    await this.page.locator('[data-testid=message][data-state]').first().waitFor({ state: 'detached' });
  }

  /** What the page shows of messages that have a place. */
  messages() {
    return this.page.locator('[data-testid=message][data-seq]').evaluateAll((lines) => lines.map((line) => ({
      seq: Number(line.dataset.seq),
      from: line.dataset.from,
      text: line.querySelector('[data-testid=text]').textContent,
    })));
  }

  /** Waits until the page shows the message with that place. */
  async sees(seq) {
    await this.page.locator(`[data-testid=message][data-seq="${seq}"]`).waitFor({ state: 'attached' });
  }

  /** Whether the browser says that the page is hidden, which a window of a test never is by itself. */
  async hide(hidden) {
    await this.page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { configurable: true, value });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  }

  /** Loads the page anew with something before the server that holds back what the server says, while it is told to. */
  async hold() {
    const held = [];
    let holding = false;
    await this.page.routeWebSocket(/\/ws$/, (page) => {
      const upstream = page.connectToServer();
      upstream.onMessage((message) => (holding ? held.push(() => page.send(message)) : page.send(message)));
    });
    await this.page.reload();
    await this.state('live');
    return {
      hold: () => (holding = true),
      holds: () => becomes(() => held.length > 0, true),
      release() {
        holding = false;
        for (const send of held.splice(0)) send();
      },
    };
  }

  /** What the window shows, for who reads of a failure. */
  async #looks() {
    const shown = await this.page.locator('body').innerText({ timeout: LOOK_MS }).catch((error) => `(${error.message.split('\n')[0]})`);
    return `${this.name} is at ${this.page.url()}, with the faults ${JSON.stringify(this.faults)}, and sees:\n${shown.slice(0, MOST_SEEN)}`;
  }

  async photograph(name, options = {}) {
    if (process.env.SCREENSHOTS) await this.page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), ...options });
  }
}

/** Somebody without a page. */
export async function client(t, server, name) {
  const made = new Rookery({ url: server.socketAddress, name, WebSocket });
  t.after(() => made.close());
  await made.connect();
  return made;
}

// Signing in: with the provider if the server has one, with a name in development mode, or with a token.

import { byId } from './elements.js';
import { nameFault } from './names.js';

/** While the provider does not answer the server, it is asked whether it does again. */
const ASK_AGAIN_MS = 5_000;

/** What came of the way to the provider; the server says no more than these words. */
const reasons = {
  denied: () => 'You did not let this chat know who you are.',
  state: () => 'Signing in took too long, or was begun in another window. Try again.',
  provider: (name) => `${name} could not tell who you are. Try again in a moment.`,
  token: (name) => `What ${name} said could not be trusted. Whoever runs this chat finds the reason in its log.`,
  name: () => 'Your account has no name that can be used here. Whoever runs this chat finds the reason in its log.',
  rights: () => 'Your account may not use this chat.',
  busy: () => 'Many people sign in right now. Try again in a moment.',
};

export class SignIn {
  // Set at construction.
  #server;
  #entered;
  #leaving;

  #kind;
  #timer;

  /**
   * @param {{settings: object, read: () => Promise<object>}} server  what the server is like, and how to ask again
   * @param {(identity: {name?: string, token?: string}) => void} entered
   * @param {() => void} leaving  called before the page is left for the provider
   */
  constructor(server, entered, leaving) {
    this.#server = server;
    this.#entered = entered;
    this.#leaving = leaving;
    byId('signin-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId('signin-form').addEventListener('input', () => this.#fault(''));
    byId('signin-switch').addEventListener('click', () => this.#use(this.#next));
  }

  show({ name = '', token = '', error = '' }) {
    byId('name').value = name;
    byId('token').value = token;
    byId('signin').hidden = false;
    document.title = 'Rookery';
    this.#use(token !== '' ? 'token' : this.#kinds[0]);
    this.#fault(error);
  }

  /** Shows what came of signing in with the provider. */
  showReason(word) {
    const known = Object.hasOwn(reasons, word) ? reasons[word] : reasons.provider;
    this.show({ error: known(this.#provider?.name ?? 'The provider') });
  }

  hide() {
    byId('signin').hidden = true;
    clearTimeout(this.#timer);
  }

  get #provider() {
    return this.#server.settings.signIn;
  }

  /** The ways in, the best first. */
  get #kinds() {
    const { development, signIn } = this.#server.settings;
    return [...(signIn ? ['provider'] : []), ...(development ? ['name'] : []), 'token'];
  }

  get #next() {
    const kinds = this.#kinds;
    return kinds[(kinds.indexOf(this.#kind) + 1) % kinds.length];
  }

  #use(kind) {
    this.#kind = kind;
    const provider = this.#provider?.name;
    const lead = { provider: 'Sign in to see what is said.', name: 'Choose the name that others will see.', token: 'Paste a token that was made for you.' };
    const other = { provider: `Sign in with ${provider} instead`, name: 'Use a name instead', token: 'Use a token instead' };
    byId('signin-lead').textContent = lead[kind];
    byId('name-field').hidden = kind !== 'name';
    byId('token-field').hidden = kind !== 'token';
    byId('signin-go').textContent = kind === 'provider' ? `Sign in with ${provider}` : 'Join';
    byId('signin-switch').hidden = this.#next === kind;
    byId('signin-switch').textContent = other[this.#next];
    this.#fault('');
    this.#ready();
    (this.#field ?? byId('signin-go')).focus();
  }

  /** Says whether the provider can be used, and asks again until it can. */
  #ready() {
    clearTimeout(this.#timer);
    const waits = this.#kind === 'provider' && !this.#provider.ready;
    byId('signin-go').disabled = waits;
    byId('signin-wait').textContent = waits ? `${this.#provider.name} does not answer at the moment. This page waits for it.` : '';
    if (waits) {
      this.#timer = setTimeout(async () => {
        await this.#server.read();
        if (!byId('signin').hidden) this.#ready();
      }, ASK_AGAIN_MS);
    }
  }

  #submit() {
    if (this.#kind === 'provider') {
      this.#leaving();
      location.assign(this.#provider.url);
      return;
    }
    const value = this.#field.value.trim();
    const fault = this.#kind === 'token' ? value === '' && 'Paste a token.' : nameFault(value);
    this.#fault(fault || '');
    if (fault) this.#field.focus();
    else this.#entered(this.#kind === 'token' ? { token: value } : { name: value });
  }

  get #field() {
    return this.#kind === 'provider' ? null : byId(this.#kind);
  }

  #fault(text) {
    byId('signin-error').textContent = text;
    for (const id of ['name', 'token']) byId(id).setAttribute('aria-invalid', String(text !== ''));
  }
}

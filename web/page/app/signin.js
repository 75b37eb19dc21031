// Signing in: a name in development mode, a token otherwise.

import { byId } from './elements.js';
import { nameFault } from './names.js';

export class SignIn {
  #entered;
  #withToken = false;

  /** @param {(identity: {name?: string, token?: string}) => void} entered */
  constructor(entered) {
    this.#entered = entered;
    byId('signin-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId('signin-form').addEventListener('input', () => this.#fault(''));
    byId('signin-switch').addEventListener('click', () => this.#use(!this.#withToken));
  }

  show({ name = '', token = '', error = '' }) {
    byId('name').value = name;
    byId('token').value = token;
    byId('signin').hidden = false;
    document.title = 'Rookery';
    this.#use(token !== '');
    this.#fault(error);
  }

  hide() {
    byId('signin').hidden = true;
  }

  #use(withToken) {
    this.#withToken = withToken;
    byId('name-field').hidden = withToken;
    byId('token-field').hidden = !withToken;
    byId('signin-switch').textContent = withToken ? 'Use a name instead' : 'Use a token instead';
    this.#fault('');
    this.#field.focus();
  }

  #submit() {
    const value = this.#field.value.trim();
    const fault = this.#withToken ? value === '' && 'Paste a token.' : nameFault(value);
    this.#fault(fault || '');
    if (fault) this.#field.focus();
    else this.#entered(this.#withToken ? { token: value } : { name: value });
  }

  get #field() {
    return byId(this.#withToken ? 'token' : 'name');
  }

  #fault(text) {
    byId('signin-error').textContent = text;
    for (const id of ['name', 'token']) byId(id).setAttribute('aria-invalid', String(text !== ''));
  }
}

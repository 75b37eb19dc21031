// What is done to users, by the server API with a key. The key is kept here and nowhere else: it is gone with the page.

import { visible } from './names.js';

/** An answer that says why not, in the server's own sentence. */
export class Refusal extends Error {}

export class Api {
  #fetch;
  #key = '';

  /** @param {typeof fetch} fetch */
  constructor(fetch) {
    this.#fetch = fetch;
  }

  set key(key) {
    this.#key = key.trim();
  }

  get ready() {
    return this.#key !== '';
  }

  /** Asks for something; throws a Refusal with what the server says. */
  async ask(method, path, body, { signal } = {}) {
    if (!this.ready) throw new Refusal('Enter a key of the server API first.');
    const headers = { Authorization: `Bearer ${this.#key}` };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let response;
    try {
      response = await this.#fetch(path, {
        method, headers, signal, cache: 'no-store', redirect: 'error', body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refusal('The server did not answer. It may have happened all the same.');
    }
    if (!response.ok) throw new Refusal(await sentence(response));
    return response;
  }
}

async function sentence(response) {
  const text = await response.text().catch(() => '');
  try {
    const { message } = JSON.parse(text).error;
    if (message) return message;
  } catch {
    // Not one of the API's own: what is in front of it, or the listener itself.
  }
  return text.length > 0 && text.length < 300 && !text.includes('<') ? text.trim() : `The server answered ${response.status}.`;
}

export const HOUR_MS = 3_600_000;
/** For how long somebody is banned, 0 for ever. */
export const BAN_TIMES = [['an hour', HOUR_MS], ['a day', 24 * HOUR_MS], ['a week', 7 * 24 * HOUR_MS], ['ever', 0]];

/**
 * A name as a part of a path. Browsers take . and .. out of paths, percent-encoded too (URL Standard, 4.4, double-dot URL path segment): what is
 * asked for would be something else.
 */
export function segment(name) {
  if (name === '.' || name === '..') throw new Refusal(`Browsers can’t ask about the name “${name}”. Use the server API with curl --path-as-is, and ${name.replaceAll('.', '%2E')} for the name.`);
  return encodeURIComponent(name);
}

/**
 * What is to be done, as a request and in words for who confirms it. Without a room it is about the whole server. Throws a Refusal where a
 * browser can't ask for it.
 * @param {'kick'|'ban'|'unban'} act
 */
export function plan(act, { user, room = '', reason = '', forMs = 0 }) {
  const who = visible(user);
  const where = room === '' ? 'the server' : `the room “${visible(room)}”`;
  const time = BAN_TIMES.find(([, ms]) => ms === forMs)?.[0] ?? `${Math.round(forMs / HOUR_MS)} hours`;
  const more = { ...(reason && { reason }), ...(act === 'ban' && forMs > 0 && { forMs }) };
  const words = {
    kick: room === ''
      ? { question: `Disconnect “${who}” from the server?`, consequence: 'All their connections are closed. Clients come back by themselves; a ban keeps them away.', done: `“${who}” is being disconnected.` }
      : { question: `Remove “${who}” from ${where}?`, consequence: 'They are no member any more, and may be invited again.', done: `“${who}” was removed from ${where}.` },
    ban: { question: `Ban “${who}” from ${where} for ${time}?`, consequence: room === '' ? 'All their connections are closed, and new ones refused.' : 'They are no member any more, and can’t come back until then.', done: `“${who}” is banned from ${where} for ${time}.` },
    unban: { question: `Lift the ban of “${who}” from ${where}?`, consequence: 'They may come back at once.', done: `“${who}” may come back to ${where}.` },
  }[act];
  if (room !== '') return { ...words, method: 'POST', path: `/v1/rooms/${segment(room)}/members`, body: { user, action: act, ...more } };
  if (act === 'kick') return { ...words, method: 'POST', path: `/v1/users/${segment(user)}/disconnect`, body: more };
  return { ...words, method: act === 'ban' ? 'PUT' : 'DELETE', path: `/v1/users/${segment(user)}/ban`, body: act === 'ban' ? more : undefined };
}

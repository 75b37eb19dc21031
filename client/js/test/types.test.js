import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import * as rookery from '../rookery.js';
import { makeClient } from './fakes.js';

const types = readFileSync(new URL('../rookery.d.ts', import.meta.url), 'utf8');

/** The members that a class or interface declares. */
function declared(name) {
  const [, body] = types.match(new RegExp(`export (?:class|interface) ${name} [^{]*{\\n(.*?)\\n}`, 's'));
  return new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)[?(:]/gm)].map((m) => m[1]));
}

function real(object) {
  return new Set([...Object.getOwnPropertyNames(Object.getPrototypeOf(object)), ...Object.keys(object)]);
}

test('the types declare what is exported', () => {
  const exported = [...types.matchAll(/^export (?:class|function) (\w+)/gm)].map((m) => m[1]);
  assert.deepEqual(exported.sort(), Object.keys(rookery).sort());
});

test('the types of the client are those of the code', () => {
  const { client } = makeClient();
  assert.deepEqual(declared('Rookery'), real(client));
});

test('the types of a room are those of the code, but for the events', () => {
  const room = makeClient().client.join('lobby');
  const events = [
    ...['connected', 'disconnected', 'ended', 'message', 'gap', 'receipt', 'counted', 'changed', 'removed'],
    ...['presenceChange', 'typists', 'published'],
  ];
  const members = real(room);
  for (const name of ['constructor', ...events]) assert.ok(members.delete(name), name);
  assert.deepEqual(declared('Room'), members);
});

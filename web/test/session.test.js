import test from 'node:test';
import assert from 'node:assert/strict';

import { Session, SessionOver } from '../page/app/session.js';

/** A server that answers in turn, and timers that run when told. */
function make() {
  const made = { answers: [], requests: [], timers: [], ended: [], renewals: 0 };
  const fetch = async (path, { method }) => {
    made.requests.push(`${method} ${path}`);
    const answer = made.answers.shift();
    if (answer instanceof Error) throw answer;
    return { ok: answer.status === undefined, status: answer.status ?? 200, json: async () => answer };
  };
  const setTimeout = (callback, ms) => made.timers.push({ callback, ms }) - 1;
  const clearTimeout = (index) => {
    if (made.timers[index]) made.timers[index].callback = () => {};
  };
  made.session = new Session((error) => made.ended.push(error.message), { fetch, setTimeout, clearTimeout });
  made.client = {
    renew: async () => {
      made.renewals++;
      made.token = await made.session.token();
    },
  };
  made.fire = async () => {
    const { callback } = made.timers.at(-1);
    await callback();
  };
  return made;
}

const token = (text, user = 'alice') => ({ user, token: text, expiresInMs: 300_000 });

test('a token is fetched once for the first connection, and renewed before it ends', async () => {
  const made = make();
  made.answers.push(token('one'), token('two'), token('three'));
  assert.equal(await made.session.begin(), 'alice');
  made.session.keep(made.client);
  assert.equal(await made.session.token(), 'one');
  assert.deepEqual(made.requests, ['POST /oidc/token']);
  assert.equal(made.timers.at(-1).ms, 200_000);
  await made.fire();
  assert.equal(made.token, 'two');
  assert.equal(made.timers.length, 2, 'the next renewal is under way');
  assert.equal(await made.session.token(), 'three', 'a new connection begins with a new token');
});

test('a server that is away for a moment is asked again', async () => {
  const made = make();
  made.answers.push(token('one'), new Error('network'), { status: 503 }, token('two'));
  await made.session.begin();
  made.session.keep(made.client);
  await made.fire();
  assert.equal(made.timers.at(-1).ms, 5_000);
  await made.fire();
  await made.fire();
  assert.equal(made.token, 'two');
  assert.deepEqual(made.ended, []);
});

test('a session that is over ends the chat once', async () => {
  const made = make();
  made.answers.push(token('one'), { status: 401 });
  await made.session.begin();
  made.session.keep(made.client);
  await made.fire();
  assert.equal(made.ended.length, 1);
  assert.match(made.ended[0], /has ended/);
  const timers = made.timers.length;
  await made.fire();
  assert.equal(made.timers.length, timers, 'it is not asked again');
});

test('another person in this browser ends the chat of the first', async () => {
  const made = make();
  made.answers.push(token('one'), token('two', 'bob'));
  await made.session.begin();
  made.session.keep(made.client);
  await made.fire();
  assert.deepEqual(made.ended, ['bob has signed in in this browser.']);
});

test('without a session there is nothing to begin', async () => {
  const made = make();
  made.answers.push({ status: 401 });
  await assert.rejects(made.session.begin(), SessionOver);
  assert.deepEqual(made.ended, []);
  made.answers.push({ status: 500 });
  await assert.rejects(made.session.begin(), (error) => !(error instanceof SessionOver));
});

test('logout says where the provider ends its own session', async () => {
  const made = make();
  made.answers.push(token('one'), { redirect: 'https://id.example/logout' });
  await made.session.begin();
  assert.equal(await made.session.end(), 'https://id.example/logout');
  assert.equal(made.requests.at(-1), 'POST /oidc/logout');
  await made.fire();
  assert.equal(made.renewals, 0);
  made.answers.push({ status: 503 });
  await assert.rejects(made.session.end(), /503/);
});

// Signing in with a provider, on the chat page in Chromium: a real provider with pages of its own, two people, renewal, another
// window, a restart, signing out, and what can go wrong.

import test from 'node:test';
import assert from 'node:assert/strict';

import { becomes } from './becomes.js';
import { DESK, Person, closeBrowser, newContext, openBrowser } from './person.js';
import { IdentityProvider, flagsFor } from './provider.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

/** Somebody with a browser of their own, at the page. */
async function visit(t, server, name, { context, at = '/' } = {}) {
  const own = context ?? (await newContext({ viewport: DESK }));
  if (!context) t.after(() => own.close());
  const person = new Person(await own.newPage(), name, server.address);
  await person.page.goto(`${server.address}${at}`);
  return person;
}

const button = (person) => person.find('join-button').filter({ hasText: 'Sign in with Example' });

/** At the provider: who one is, and that the chat may know. */
async function signIn(person, name = person.name) {
  await button(person).click();
  await authorize(person, name);
}

async function authorize(person, name = person.name) {
  await person.page.locator('input[name=login]').fill(name);
  await person.page.locator('input[name=password]').fill('any');
  await person.page.locator('button[type=submit]').click();
  await person.page.getByText('Authorize').first().waitFor();
  await person.page.locator('button[type=submit]').click();
}

async function chats(person) {
  await person.state('live');
  await person.shown();
}

test('two people sign in, stay signed in, and sign out', { timeout: 180_000 }, async (t) => {
  const provider = await IdentityProvider.listen(t);
  const usual = flagsFor(provider);
  // A page renews its token when two thirds of its life are over, and then has 17 seconds.
  const server = await Server.start(t, ...usual, '--auth.max-lifetime', '6s', '--auth.leeway', '15s');
  provider.serve(server.address);

  const alice = await visit(t, server, 'alice', { at: '/#attic' });
  const sockets = [];
  alice.page.on('websocket', (socket) => sockets.push(socket));
  let tokens = 0;
  alice.page.on('response', (response) => response.url().endsWith('/oidc/token') && response.ok() && tokens++);
  await alice.photograph('signin');
  await signIn(alice);
  await chats(alice);
  await becomes(() => alice.find('self').textContent(), 'alice');
  await becomes(() => alice.page.url(), `${server.address}/#attic`, 'the room of before, and nothing of signing in');
  const bob = await visit(t, server, 'bob', { at: '/#attic' });
  await signIn(bob);
  await chats(bob);
  await bob.say('hello alice');
  await becomes(async () => (await alice.messages()).map((m) => `${m.from}: ${m.text}`), ['bob: hello alice']);

  // Each token is good for 21 seconds, and the next is asked for after four; the connection goes on.
  await becomes(() => tokens >= 7, true, 'the first one has ended');
  await bob.say('still there?');
  await alice.sees(2);
  assert.equal(sockets.length, 1, 'a renewal made another connection');

  // A reload, another window and another process, with tokens that live as long as usual: nobody is asked again.
  await alice.page.reload();
  await chats(alice);
  const second = await visit(t, server, 'alice', { context: alice.page.context() });
  await chats(second);
  await server.kill();
  for (const person of [alice, second, bob]) await person.state('offline');
  await server.start(...usual);
  for (const person of [alice, second, bob]) await person.state('live');
  await alice.say('back');
  await bob.sees(3);

  // Signed out in one window, and at the provider, and in the other window.
  await alice.find('sign-out').click();
  await alice.page.locator('button[name=logout]').click();
  await button(alice).waitFor();
  await second.page.getByRole('alert').getByText('Your session has ended.').waitFor();
  await second.photograph('signin-ended');
  await alice.page.reload();
  await button(alice).waitFor();
  await bob.say('bob goes on');
  await bob.sees(4);

  // The next one in this browser is asked who they are.
  await signIn(alice, 'carol');
  await chats(alice);
  await becomes(() => alice.find('self').textContent(), 'carol');
  for (const person of [alice, second, bob]) assert.deepEqual(person.faults, []);
});

test('a provider that is down is waited for, and its refusals are shown', { timeout: 180_000 }, async (t) => {
  const provider = await IdentityProvider.listen(t);
  const server = await Server.start(t, ...flagsFor(provider), '--oidc.rights', 'groups staff rooms=*');
  const alice = await visit(t, server, 'alice');
  await alice.page.getByRole('status').getByText('Example does not answer at the moment.').waitFor();
  await becomes(() => button(alice).isDisabled(), true);
  await alice.photograph('signin-down');
  provider.serve(server.address);
  await alice.page.locator('[data-testid=join-button]:enabled').waitFor();

  await button(alice).click();
  await alice.page.getByText('Cancel').click();
  await alice.page.getByRole('alert').getByText('You did not let this chat know').waitFor();

  await signIn(alice, 'guest');
  await alice.page.getByRole('alert').getByText('Your account may not use this chat.').waitFor();
  await alice.photograph('signin-refused');
  assert.deepEqual(alice.faults, []);

  // Addresses that nobody began, as from an old tab or from somebody else's page.
  await alice.page.goto(`${server.address}/oidc/callback?code=x&state=y`);
  await alice.page.getByRole('alert').getByText('Signing in took too long').waitFor();
  await alice.page.goto(`${server.address}/?signin=%3Cb%3Eevil`);
  await alice.page.getByRole('alert').getByText('Example could not tell who you are.').waitFor();
});

test('who signs in in another window takes the browser over at once', { timeout: 180_000 }, async (t) => {
  const provider = await IdentityProvider.listen(t);
  const server = await Server.start(t, ...flagsFor(provider));
  provider.serve(server.address);
  const alice = await visit(t, server, 'alice');
  await signIn(alice);
  await chats(alice);

  // The provider has forgotten alice, the chat has not.
  const context = alice.page.context();
  await context.clearCookies({ domain: 'localhost' });
  const carol = new Person(await context.newPage(), 'carol', server.address);
  await carol.page.goto(`${server.address}/oidc/login`);
  await authorize(carol);
  await chats(carol);
  await alice.page.getByRole('alert').getByText('carol has signed in in this browser.').waitFor(); // long before alice's token is renewed
  await carol.page.reload();
  await chats(carol);
  await becomes(() => carol.find('self').textContent(), 'carol', 'the end of the first window signed the second one out');
  for (const person of [alice, carol]) assert.deepEqual(person.faults, []);
});

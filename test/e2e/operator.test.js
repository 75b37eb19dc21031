// The operator's page on the admin listener, in Chromium: what it shows of real users, and what is done to them from there.

import test from 'node:test';
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { becomes } from './becomes.js';
import { DESK, PHONE, Person, closeBrowser, newContext, openBrowser } from './person.js';
import { Server } from './server.js';

test.before(openBrowser);
test.after(closeBrowser);

const SECRET = 'jA0wUQ3mXyXm2r5kq1hVbXo6f3Vt8mPpZJf3c1m0b9Q=';
const READER = '0c1pYw8Vq7sTn4Zr6kLx2hJd9fGm3bNvEoRu5iWyAtM=';

/** A server with keys and an audit log. */
async function withKeys(t) {
  const folder = await mkdtemp(join(tmpdir(), 'rookery-operator-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const keys = join(folder, 'keys');
  await writeFile(keys, `ops users,trace ${SECRET}\nreader read ${READER}\n`);
  await chmod(keys, 0o600);
  const audit = join(folder, 'audit.log');
  return { server: await Server.start(t, '--api.keys-file', keys, '--audit-file', audit), audit };
}

/** An operator's window. */
async function look(t, server, { viewport = { ...DESK, height: 900 }, colorScheme = 'light' } = {}) {
  const context = await newContext({ viewport, colorScheme });
  t.after(() => context.close());
  const person = new Person(await context.newPage(), 'operator');
  await person.page.goto(`http://127.0.0.1:${server.adminPort}/ops/`);
  await person.find('state').filter({ hasText: 'serving' }).waitFor();
  return person;
}

/** The value of a figure. */
const figure = (operator, list, name) => operator.find(list).locator('div', { has: operator.page.getByText(name, { exact: true }) }).locator('dd').first();

test('an operator sees who is there, traces a user and bans them', { timeout: 180_000 }, async (t) => {
  const { server, audit } = await withKeys(t);
  const operator = await look(t, server);
  const alice = await Person.arrive(t, server, 'alice');
  const bob = await Person.arrive(t, server, 'bob');
  await figure(operator, 'connections', 'Sessions').filter({ hasText: /^2$/ }).waitFor();
  await operator.find('largest').locator('tr', { hasText: 'lobby' }).filter({ hasText: '2' }).waitFor();

  // Acting needs a key, and its scope; what the server says about that is shown.
  await operator.find('user').fill('bob');
  await operator.find('trace-start').click();
  await operator.find('act-error').filter({ hasText: 'Enter a key' }).waitFor();
  await operator.find('key').fill(READER);
  await operator.find('trace-start').click();
  await operator.find('act-error').filter({ hasText: 'lacks the scope trace' }).waitFor();

  await operator.find('key').fill(SECRET);
  await operator.find('trace-start').click();
  await operator.find('trace-rows').locator('tr', { hasText: 'The trace begins.' }).waitFor();
  // A room is among the busiest until the next survey, two seconds later: a page that was held up meanwhile has not shown it.
  await becomes(async () => {
    await bob.say('nobody else may read this');
    return operator.find('busiest').locator('tr', { hasText: 'lobby' }).waitFor({ timeout: 5_000 }).then(() => true, () => false);
  }, true);
  await alice.sees(1);
  const line = (...words) => words.reduce((rows, hasText) => rows.filter({ hasText }), operator.find('trace-rows').locator('tr'));
  await line('publish', 'lobby', 'in').first().waitFor();
  await line('message 1', 'lobby', 'out').first().waitFor();
  await operator.photograph('operator-desk', { fullPage: true });
  assert.doesNotMatch(await operator.page.content(), /nobody else may read this/);
  const written = (line) => becomes(async () => line.test(await readFile(audit, 'utf8')), true, `${line} is in the audit log`);
  await written(/"operation":"trace-user","key":"ops".*bob/); // while it goes on

  // Nothing is done without a question, and Escape is an answer.
  await operator.find('ban').click();
  await operator.page.getByText('Ban “bob” from the server for an hour?').waitFor();
  await operator.photograph('operator-confirm');
  await operator.page.keyboard.press('Escape');
  await operator.find('confirm').waitFor({ state: 'hidden' });
  await bob.state('live');
  await operator.find('ban').click();
  await operator.find('confirm-yes').click();
  await operator.find('act-done').filter({ hasText: 'is banned' }).waitFor();
  await line('session ended: banned').waitFor();
  await figure(operator, 'connections', 'Sessions').filter({ hasText: /^1$/ }).waitFor();
  await operator.find('limits').locator('tr', { hasText: 'banned' }).first().waitFor();
  await operator.find('unban').click();
  await operator.find('confirm-yes').click();
  await operator.find('act-done').filter({ hasText: 'may come back' }).waitFor();
  await operator.find('trace-stop').click();

  // Whose name turns the text around is shown as who they are.
  await operator.find('user').fill('bob\u202e');
  await operator.find('ban').click();
  await operator.page.getByText('Ban “bob[U+202E]” from the server for an hour?').waitFor();
  await operator.page.keyboard.press('Escape');
  await operator.find('trace-start').click();
  await operator.page.getByText('What “bob[U+202E]” does').waitFor();
  await operator.find('trace-stop').click();

  await operator.find('user').fill('..');
  await operator.find('kick').click();
  await operator.find('act-error').filter({ hasText: 'curl --path-as-is' }).waitFor();
  await operator.find('user').fill('alice');
  await operator.find('kick').click();
  await operator.find('confirm-yes').click();
  await operator.find('act-done').filter({ hasText: 'is being disconnected' }).waitFor();
  await operator.find('settings').locator('summary').click();
  await operator.find('settings-text').filter({ hasText: 'admin_hosts' }).waitFor();
  assert.doesNotMatch(await operator.page.content(), new RegExp(SECRET.slice(0, 20)));
  await written(/"operation":"ban-user","key":"ops"/);
  assert.deepEqual(operator.faults.filter((fault) => !/403/.test(fault)), []);
});

test('on a phone, in the dark, and while the server is away', { timeout: 180_000 }, async (t) => {
  const { server } = await withKeys(t);
  const operator = await look(t, server, { viewport: PHONE, colorScheme: 'dark' });
  await Person.arrive(t, server, 'alice');
  await operator.find('largest').locator('tr', { hasText: 'lobby' }).waitFor();
  const { scrollWidth, clientWidth } = await operator.page.evaluate(() => (({ scrollWidth, clientWidth }) => ({ scrollWidth, clientWidth }))(document.documentElement));
  assert.ok(scrollWidth <= clientWidth, `the page is ${scrollWidth} wide in a window of ${clientWidth}`);
  await operator.photograph('operator-phone', { fullPage: true });
  // By keyboard: the first stop leads past the figures.
  await operator.page.evaluate(() => document.activeElement.blur());
  await operator.page.keyboard.press('Tab');
  await becomes(() => operator.page.evaluate(() => document.activeElement.textContent), 'Skip to acting on a user');
  await server.kill();
  await operator.find('state').filter({ hasText: 'no answer' }).waitFor();
  await becomes(() => operator.find('board').getAttribute('data-live'), 'false');
  await server.start();
  await operator.find('state').filter({ hasText: 'serving' }).waitFor();
  assert.deepEqual(operator.faults.filter((fault) => !/ERR_|EventSource/.test(fault)), []);
});

// What was there when a test failed is told in its error: of a failure on another machine nothing else is known.

import test from 'node:test';

/** Of each thing that is told, the last so many characters. */
const MOST = 3_000;

let tellers = [];

/** Has what a function gives told if the test that is running fails. */
export function tellOfFailure(teller) {
  tellers.push(teller);
}

// It runs before what the test's own t.after ends.
test.afterEach(async (t) => {
  const asked = tellers;
  tellers = [];
  const error = t.error?.cause instanceof Error ? t.error.cause : t.error; // the runner wraps what was thrown
  if (!error) return;
  for (const teller of asked) error.message += `\n\n${(await teller()).slice(-MOST)}`;
});

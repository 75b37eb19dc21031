// Waiting for the very state that a test asserts.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

/** After so long nothing comes any more, however slow the machine. It is less than the time limit of any test, so that what is there is said. */
export const BACK_MS = 60_000;
const POLL_MS = 25;

/**
 * Waits until what is read is that. What was seen elsewhere, at another person's page or in another element, says nothing of it: each
 * page hears by itself, in no order. What is there instead at the end is in the error.
 */
export async function becomes(read, wanted, message) {
  const end = Date.now() + BACK_MS;
  let got = await read();
  while (!isDeepStrictEqual(got, wanted) && Date.now() < end) {
    await pause(POLL_MS);
    got = await read();
  }
  assert.deepEqual(got, wanted, message);
}

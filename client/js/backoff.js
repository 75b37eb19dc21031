// How long to wait before trying again. docs/client.md, "How long to wait".

export const BACKOFF_BASE_MS = 500;
export const BACKOFF_CAP_MS = 30_000;

/**
 * Full jitter: anything from nothing to the ceiling, so that clients which were cut off
 * together do not come back together. A hint of the server is a floor, and the jitter comes
 * on top of it.
 *
 * @param {() => number} random  from 0 up to 1
 * @param {number} failures  in a row before this one
 * @param {{hintMs?: number, baseMs?: number, capMs?: number}} [settings]
 */
export function retryDelay(random, failures, { hintMs = 0, baseMs = BACKOFF_BASE_MS, capMs = BACKOFF_CAP_MS } = {}) {
  const ceiling = Math.min(capMs, baseMs * 2 ** failures);
  return hintMs + random() * ceiling;
}

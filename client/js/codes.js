// What the end of a connection means. The table is proto/codes.go; docs/protocol.md has the
// reasons.

/** The client's own codes, and the server's on which it acts by name. */
export const CLOSE_NORMAL = 1000;
export const CLOSE_NO_STATUS = 1005;
export const CLOSE_ABNORMAL = 1006;
export const CLOSE_TOKEN_EXPIRED = 4006;
export const CLOSE_BAD_FRAME = 4500;

/** After these the same bytes would end the same way. */
const useless = new Set([1002, 1003, 1007, 1009]);

/**
 * Whether a client should come back by itself after a connection ended with this code. Codes
 * that it has never heard of count as a lost connection.
 */
export function shouldReconnect(code) {
  return !(code >= 4500 && code <= 4999) && !useless.has(code);
}

/**
 * What a promise of this client is rejected with. `code` is what a program branches on:
 * a name of the server's table of errors (docs/protocol.md), the name or number of a close
 * code, or one of the client's own: closed, queue_full, too_large, outcome_unknown, epoch_changed,
 * already_joined.
 */
export class RookeryError extends Error {
  /**
   * @param {string} code
   * @param {string} message one sentence: what happened, where, what to do
   * @param {{status?: number, retry?: boolean, retryAfterMs?: number, key?: string, cause?: unknown}} [more]
   */
  constructor(code, message, { status = 0, retry = false, retryAfterMs = 0, key, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'RookeryError';
    this.code = code;
    /** Class of the server's error in the manner of HTTP, or the close code; 0 for the client's own. */
    this.status = status;
    this.retry = retry;
    this.retryAfterMs = retryAfterMs;
    /** Of a publish: give it to the next publish of the same content, so that it is stored once. */
    this.key = key;
  }

  /** The error of a reply. */
  static fromReply({ code, name, message, retry, retryAfterMs }) {
    return new RookeryError(name, message, { status: code, retry, retryAfterMs });
  }
}

/** Bytes that are no frame. */
export class FrameError extends Error {
  constructor(message) {
    super(message);
    this.name = 'FrameError';
  }
}

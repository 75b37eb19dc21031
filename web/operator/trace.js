// The frames of one user, as the server API tells them: lines of JSON that come in pieces.

import { visible } from './names.js';

/** How many lines are kept; older ones go. */
export const KEPT = 500;

/** Cuts a stream of text into values, one a line. What is no whole line yet waits for its rest. */
export class Lines {
  #rest = '';

  /** @returns {object[]} the lines that became whole */
  take(text) {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop();
    return parts.filter((line) => line !== '').map((line) => JSON.parse(line));
  }
}

/** What was traced, bounded. */
export class TraceLog {
  rows = [];
  missed = 0;
  #next = 0;

  add(line) {
    if (line.kind === 'dropped') this.missed += line.count;
    const row = described(line);
    if (row === null) return;
    this.rows.push({ key: String(this.#next++), ...row });
    if (this.rows.length > KEPT) this.rows.splice(0, this.rows.length - KEPT);
  }

  clear() {
    this.rows = [];
    this.missed = 0;
  }
}

/** A line in words, null for one that is not shown. */
export function described(line) {
  const at = line.at ? new Date(line.at) : null;
  switch (line.kind) {
    case 'begin':
      return { at, direction: '', what: 'The trace begins.', room: '', detail: '', tone: 'note' };
    case 'end':
      return { at, direction: '', what: 'The server is shutting down: the trace has ended.', room: '', detail: '', tone: 'note' };
    case 'dropped':
      return { at, direction: '', what: `${line.count} frames are missing: they came faster than they were taken.`, room: '', detail: '', tone: 'wait' };
    case 'frame':
      break;
    default:
      return null;
  }
  const detail = [];
  if (line.id) detail.push(`request ${line.id}`);
  if (line.seq) detail.push(`message ${line.seq}`);
  if (line.bytes) detail.push(`${line.bytes} bytes`);
  if (line.direction === 'ended') return { at, direction: 'ended', what: `session ended: ${line.error}`, room: '', detail: line.session, tone: 'note' };
  return {
    at, direction: line.direction, what: line.error ? `${line.operation}: ${line.error}` : line.operation, room: visible(line.room ?? ''),
    detail: [...detail, line.session].join(', '), tone: line.error ? 'bad' : '',
  };
}

/** Follows an answer of the API to its end, a value at a time. */
export async function follow(response, told) {
  const lines = new Lines();
  const text = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const line of lines.take(text.decode(value, { stream: true }))) told(line);
  }
}

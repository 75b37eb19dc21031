// What was said about a message later: edits, pins, reactions, its thread, and what it answers.

import { element } from './elements.js';
import { inShort } from './long-text.js';

/** More characters than this have no place in a line. */
const LINE = 200;

/** What a message answers or the thread that it is in, by a line of its own; about is that message, as far as it is known. */
export function quoteView({ replyTo, thread }, about, actions) {
  const quote = element('button', { class: 'message-quote', type: 'button', dir: 'auto', data: { testid: 'quote' } },
    `${replyTo ? 'In reply to' : 'In the thread of'} ${quoteWords(about)}`);
  quote.addEventListener('click', () => (replyTo ? actions?.goTo(replyTo) : actions?.thread({ seq: thread })));
  return quote;
}

/** A message in a line; of one that is not here nothing is known but its number. */
export function quoteWords(message) {
  if (message?.from === undefined) return 'an earlier message';
  return `${message.from}: ${message.deleted ? 'deleted' : inShort(message.text ?? 'data', LINE)}`;
}

/** The parts behind the content; none for most messages. What the server has not answered yet stands back. */
export function changesView(message, actions) {
  const parts = [];
  const marks = [];
  const mark = (testid, pending, words) => marks.push(element('span', { class: pending ? 'pending' : '', data: { testid } }, words));
  const [edits, pins] = [asks(message, 'edit'), asks(message, 'pin')];
  if (message.edits && !message.deleted) mark('edited', edits, edits ? 'Sending the edit…' : 'Edited');
  if (message.pinned) mark('pinned', pins, pins ? 'Pinning…' : 'Pinned');
  else if (pins && !message.deleted) mark('pinned', pins, 'Unpinning…');
  if (marks.length > 0) parts.push(element('p', { class: 'message-marks' }, ...marks));
  const below = (message.reactions ?? []).map((reaction) => reactionView(message, reaction, actions));
  if (message.replies) below.push(repliesView(message, actions));
  if (below.length > 0) parts.push(element('div', { class: 'message-below' }, ...below));
  return parts;
}

function reactionView(message, { reaction, count, users, own }, actions) {
  const others = count - users.length;
  const pending = asks(message, 'react', reaction);
  const who = `${users.join(', ')}${others > 0 ? ` and ${others} more` : ''}`;
  const chip = element('button', {
    class: `reaction${pending ? ' pending' : ''}`, type: 'button', title: who,
    attributes: { 'aria-pressed': String(own === true), 'aria-label': `${reaction}, ${count}: ${who}${pending ? ', sending' : ''}` },
    data: { testid: 'reaction', reaction },
  }, `${reaction} ${count}`);
  chip.addEventListener('click', () => actions?.react(message, reaction));
  return chip;
}

function repliesView(message, actions) {
  const { count } = message.replies;
  const button = element('button', { class: 'replies', type: 'button', data: { testid: 'replies' } }, count === 1 ? '1 reply' : `${count} replies`);
  button.addEventListener('click', () => actions?.thread(message));
  return button;
}

/** The message has a change of that kind in it that the server has not answered yet. */
export function asks({ asked = [] }, kind, reaction) {
  return asked.some(({ change }) => change[kind] && change[kind].reaction === reaction);
}

// What one line of the timeline looks like: a message, a message on its way, a heading.

import { element, visuallyHidden } from './elements.js';
import { asks, changesView, quoteView } from './changes-view.js';
import { textWithMentions } from './mentions.js';
import { hueOf, initialOf } from './names.js';
import { dayOf, fullTimeOf, timeOf } from './times.js';

/**
 * A message that the server has given its place. grouped: it follows one of the same author; about: the message that it
 * answers, or that began its thread, as far as it is known; listed: the thread that is listed, which its messages need not name;
 * folding: see long-text.js; actions: see message-actions.js.
 */
export function messageView(message, { grouped, own, user, about, listed, folding, actions }) {
  const { seq, at, from } = message;
  const line = element('li', {
    class: `${lineClass(grouped, own)}${asks(message, 'edit') ? ' message-pending' : ''}`,
    data: { testid: 'message', seq, from },
  }, authorView(from, at, grouped), bodyView(message, { key: seq, user, about, listed, folding, actions }));
  if (grouped) line.append(timeView(at, 'message-side-time'));
  if (message.mentions?.includes(user)) line.classList.add('message-to-me');
  // Of what was deleted nothing is left that anybody could read.
  if (own && !message.deleted) line.append(element('span', { class: 'ticks', hidden: true, data: { testid: 'ticks' } }));
  return line;
}

/** Shows what has become of an own message; of the room that keeps no receipts nothing is known. */
export function showTicks(line, standing) {
  const ticks = line.querySelector('.ticks');
  ticks.hidden = standing === undefined;
  if (standing === undefined || ticks.title === standing.words) return;
  ticks.dataset.state = standing.state;
  ticks.title = standing.words;
  ticks.replaceChildren(visuallyHidden(standing.words));
}

/** A message of an ephemeral room: it has no place, and is gone with the page. */
export function passingView(message, { grouped, own, folding }) {
  const { id, at, from } = message;
  const line = element('li', {
    class: `${lineClass(grouped, own)} message-passing`,
    data: { testid: 'message', passing: id, from },
  }, authorView(from, at, grouped), bodyView(message, { key: id, folding }));
  if (grouped) line.append(timeView(at, 'message-side-time'));
  return line;
}

/**
 * A message of this page that has no place yet.
 *
 * @param {Record<'retry'|'edit'|'discard', (entry: object) => void>} actions  and those of message-actions.js
 */
export function outgoingView(entry, { grouped, from, about, folding }, actions) {
  const { key, text, more } = entry;
  const body = bodyView({ ...more, text }, { key, about, folding, actions });
  const line = element('li', {
    class: `${lineClass(grouped, true)} message-${entry.state}`,
    data: { testid: 'message', state: entry.state, key, from },
  }, authorView(from, entry.at, grouped), body);
  if (entry.state === 'failed') {
    const button = (words, action) => {
      const made = element('button', { class: 'button button-quiet', type: 'button', data: { testid: action } }, words);
      made.addEventListener('click', () => actions[action](entry));
      return made;
    };
    body.append(element('p', { class: 'message-fault', attributes: { role: 'alert' } }, `Not sent. ${entry.error} `,
      button('Try again', 'retry'), button('Edit', 'edit'), button('Discard', 'discard')));
  } else {
    line.append(element('span', { class: 'message-side-time' }, entry.state === 'sent' ? 'Sent' : 'Sending…'));
  }
  return line;
}

export function dayView(at) {
  return element('li', { class: 'day' }, element('span', {}, dayOf(at)));
}

export function newMessagesView() {
  return element('li', { class: 'day day-new', data: { testid: 'new-divider' } }, element('span', {}, 'New'));
}

function bodyView(message, { key, user, about, listed, folding, actions }) {
  const body = element('div', { class: 'message-body' });
  if (message.replyTo || (message.thread && message.thread !== listed)) body.append(quoteView(message, about, actions));
  body.append(...contentViews(message, { key, user, folding }));
  body.append(...changesView(message, actions));
  return body;
}

function contentViews(message, { key, user, folding }) {
  const { text, data, deleted, mentions } = message;
  if (deleted && asks(message, 'delete')) return [element('p', { class: 'message-gone', data: { testid: 'deleting' } }, 'Deleting this message…')];
  if (deleted) return [element('p', { class: 'message-gone', data: { testid: 'deleted' } }, 'This message was deleted.')];
  if (text === undefined) return [element('p', { class: 'message-data' }, `${data?.length ?? 0} bytes of data`)];
  return folding.views(key, text, (end) => textView(text, mentions, user, end));
}

function lineClass(grouped, own) {
  return `message${grouped ? ' message-grouped' : ''}${own ? ' message-own' : ''}`;
}

function authorView(from, at, grouped) {
  if (grouped) return visuallyHidden(`${from}: `); // seen by its place, heard by its name
  return element('div', { class: 'message-head' },
    element('span', { class: `disc hue-${hueOf(from)}`, attributes: { 'aria-hidden': 'true' } }, initialOf(from)),
    element('span', { class: 'message-author', dir: 'auto', data: { testid: 'author' } }, from),
    timeView(at, 'message-time'));
}

function timeView(at, className) {
  return element('time', { class: className, dateTime: new Date(at).toISOString(), title: fullTimeOf(at) }, timeOf(at));
}

/** Text, up to its end or before, with its web addresses as links, and those whom it mentions marked. Nothing else in it means anything. */
function textView(text, mentions = [], user = undefined, end = text.length) {
  const view = element('p', { class: 'message-text', dir: 'auto', data: { testid: 'text' } });
  let at = 0;
  for (const { index, 0: address } of text.matchAll(/https?:\/\/[^\s<>"]+[^\s<>".,;:!?')\]}]/g)) {
    if (index + address.length > end) break; // half an address leads elsewhere
    view.append(...textWithMentions(text.slice(at, index), mentions, user), linkView(address));
    at = index + address.length;
  }
  view.append(...textWithMentions(text.slice(at, end), mentions, user));
  if (end < text.length) view.append(' …');
  return view;
}

function linkView(address) {
  // noopener: the other page gets no hold on this one; noreferrer: nor learns the room's name.
  return element('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, address);
}

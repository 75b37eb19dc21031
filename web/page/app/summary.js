// What the service worker does: a summary of docs/push.md in words, and which page a notification opens. It also has the words for
// the notifications of an open page. It knows nothing of the document.

import { hashOfRoom } from './names.js';

/** Of the one notification that tells of what came while nobody was there: a later one takes the place of the earlier. */
const SUMMARY_TAG = 'summary';

const ICON = '/app/icon.svg';
const DIRECT = 'direct:';

/**
 * A push has to be shown whatever is in it, or the browser takes the permission away.
 * @param {PushMessageData|null} data
 */
export function noticeOf(data) {
  const summary = read(data);
  const options = { tag: SUMMARY_TAG, renotify: true, icon: ICON };
  if (summary === null) return { title: 'New messages', options };
  const { messages, conversations, more, newest } = summary;
  const count = messages === 1 && !more ? '1 new message' : `${messages} new messages`;
  options.body = bodyOf(conversations, newest);
  options.data = { room: newest.room };
  options.timestamp = newest.at;
  return { title: more ? `More than ${count}` : count, options };
}

function bodyOf(conversations, { room, from, text }) {
  if (text) return `${from}: ${text}`;
  if (conversations > 1) return `In ${conversations} conversations, the newest from ${from}`;
  return room.startsWith(DIRECT) ? `From ${from}` : `From ${from} in ${room}`;
}

/** The summary, null if it is none that this page knows. */
function read(data) {
  try {
    const { type, messages, conversations, more, newest } = data.json();
    const known = type === 'push.summary' && [messages, conversations].every(Number.isSafeInteger);
    const { room, from, at, text } = newest;
    if (!known || typeof room !== 'string' || typeof from !== 'string') return null;
    return { messages, conversations, more: more === true, newest: { room, from, at, text: typeof text === 'string' ? text : '' } };
  } catch {
    return null;
  }
}

/** What an open page shows of a message, by the worker or without. */
export function messageNotice(title, body, room) {
  return { title, options: { body, tag: `room:${room}`, icon: ICON, data: { room } } };
}

/** The room that a notification is about, '' for none. */
export function roomOf({ data }) {
  return typeof data?.room === 'string' ? data.room : '';
}

/** Brings a page to the room: the one that was looked at last, or a new one. */
export async function openRoom(clients, room) {
  const windows = await clients.matchAll({ type: 'window', includeUncontrolled: true }); // the last one used comes first
  const page = windows.find(({ url }) => new URL(url).pathname === '/');
  if (page === undefined) {
    await clients.openWindow(room === '' ? '/' : `/${hashOfRoom(room)}`);
    return;
  }
  page.postMessage({ type: 'open', room });
  await page.focus().catch(() => {}); // the browser has its reasons; the page is in the room all the same
}

/**
 * The push service has given another address, or wants that somebody asks for one. The page tells the server, since only it can sign
 * in: at once if it is open, else when it is opened again.
 */
export async function renew({ pushManager }, clients, { oldSubscription, newSubscription }) {
  if (!newSubscription && oldSubscription) await pushManager.subscribe(oldSubscription.options);
  for (const page of await clients.matchAll({ type: 'window', includeUncontrolled: true })) page.postMessage({ type: 'renewed' });
}

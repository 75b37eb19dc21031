// The page's service worker: shows the summaries that the server sends while no page is open (docs/push.md), and opens the page in the
// room that somebody has chosen. It keeps nothing and answers no requests, so nothing of the page is ever out of date because of it.

import { noticeOf, openRoom, renew, roomOf } from './app/summary.js';

// A new one takes over at once: there is nothing that the one before has begun.
self.addEventListener('install', () => self.skipWaiting());

self.addEventListener('push', (event) => {
  const { title, options } = noticeOf(event.data);
  event.waitUntil(self.registration.showNotification(title, options));
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(openRoom(self.clients, roomOf(event.notification)));
});

self.addEventListener('pushsubscriptionchange', (event) => event.waitUntil(renew(self.registration, self.clients, event)));

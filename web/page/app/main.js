// The page's beginning: who is there decides between the two views, signing in and chatting.

import { Rookery } from '../client/rookery.js'; // below the version that this file is below: web/embed.go

import { Chat } from './chat.js';
import { hashOfRoom, roomOfHash } from './names.js';
import { Session, SessionOver } from './session.js';
import { Settings } from './settings.js';
import { SignIn } from './signin.js';

/** The close code of a connection whose session was signed out of elsewhere, or taken back. */
const TOKEN_REVOKED = 4504;

const settings = Settings.of(window);
const asked = new URLSearchParams(location.search);

/** What this server is like. One that does not say is taken for what every server was once. */
const server = {
  settings: { development: true },
  async read() {
    try {
      const response = await fetch('/settings.json');
      if (response.ok) this.settings = await response.json();
    } catch {
      // It is away; whatever comes next finds out too.
    }
  },
};

const signIn = new SignIn(server, enter, () => {
  settings.wanted = roomOfHash(location.hash) || asked.get('room') || '';
});

/** The session with a provider, null without one; and the chat, null while nobody is in it. */
let session = null;
let chat = null;

/** Opens the chat as somebody: {name} in development mode, or {token}, text or a function. */
function enter(identity) {
  if (session === null) settings.claim('');
  settings.name = identity.name ?? '';
  settings.token = typeof identity.token === 'string' ? identity.token : '';
  signIn.hide();
  const client = new Rookery({ ...identity, watchRooms: true });
  session?.keep(client);
  chat = new Chat({ client, settings, left });
  chat.open(asked.get('room'));
  asked.delete('room'); // it was asked for once; from now on the fragment says the room
}

/** Opens the chat with the session of this browser. What ends it later comes through left. */
async function enterSession() {
  session = new Session((error) => chat.end(error));
  settings.claim(await session.begin());
  settings.signedIn = true;
  if (location.hash === '' && settings.wanted !== '') location.hash = hashOfRoom(settings.wanted);
  settings.wanted = '';
  enter({ token: () => session.token() });
}

/** Back from the chat: the person signed out, or the server does not want this identity. */
async function left(error) {
  const ended = session;
  session = chat = null;
  if (ended !== null) {
    await leftSession(ended, error);
  } else if (error === null) {
    settings.forgetPerson();
    signIn.show({});
  } else {
    signIn.show({ name: settings.name, token: settings.token, error: error.message });
    settings.token = '';
  }
}

/** Somebody else has signed in in another window: the browser's session and what is remembered are theirs now. */
function replaced({ user }) {
  return settings.person !== '' && settings.person !== user;
}

async function leftSession(ended, error) {
  ended.close();
  if (!replaced(ended)) settings.signedIn = false;
  if (error !== null) {
    signIn.show({ error: error.status === TOKEN_REVOKED || error.code === 'token_revoked' ? 'Your session has ended. Sign in again.' : error.message });
    return;
  }
  settings.forgetPerson();
  try {
    const elsewhere = await ended.end();
    if (elsewhere === '') signIn.show({});
    else location.assign(elsewhere);
  } catch (fault) {
    signIn.show({ error: `Signing out failed, and this browser may still be signed in: ${fault.message}.` });
  }
}

// Before this window writes into the memory of the other, or takes the browser's push from them.
window.addEventListener('storage', () => {
  if (session !== null && replaced(session)) chat?.end(new Error(`${settings.person} has signed in in this browser.`));
});

// A notification was chosen: whoever is here, or will be, sees that room.
navigator.serviceWorker?.addEventListener('message', ({ data }) => {
  if (data?.type === 'open' && data.room !== '') location.hash = hashOfRoom(data.room);
});

await server.read();
const word = asked.get('signin');
if (word !== null) {
  asked.delete('signin');
  history.replaceState(null, '', `${location.pathname}${asked.size > 0 ? `?${asked}` : ''}${location.hash}`);
}
const name = asked.get('name') ?? settings.name;
const { token } = settings;
if (server.settings.signIn && (word === 'done' || settings.signedIn)) {
  try {
    await enterSession();
  } catch (error) {
    session = null;
    const over = error instanceof SessionOver;
    if (over) settings.signedIn = false;
    if (word !== null && word !== 'done') signIn.showReason(word);
    else if (!over) signIn.show({ error: `Signing in failed: ${error.message}. Load the page again.` });
    else if (word === null) signIn.show({ error: error.message });
    else signIn.show({ error: 'This browser did not keep that you signed in. Allow cookies for this page, and try again.' });
  }
} else if (word !== null) signIn.showReason(word);
else if (token !== '') enter({ token });
else if (settings.name !== '' && name === settings.name) enter({ name });
else signIn.show({ name });

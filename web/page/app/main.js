// The page's beginning: who is there decides between the two views, signing in and chatting.

import { Rookery } from '/client/rookery.js';

import { Chat } from './chat.js';
import { hashOfRoom } from './names.js';
import { Settings } from './settings.js';
import { SignIn } from './signin.js';

const settings = new Settings(localStorage, sessionStorage);
const asked = new URLSearchParams(location.search);

const signIn = new SignIn(enter);

/** Opens the chat as somebody: {name} in development mode, or {token}. */
function enter(identity) {
  settings.name = identity.name ?? '';
  settings.token = identity.token ?? '';
  signIn.hide();
  const client = new Rookery({ ...identity, watchRooms: true });
  const chat = new Chat({ client, settings, left });
  chat.open(asked.get('room'));
  asked.delete('room'); // it was asked for once; from now on the fragment says the room
}

/** Back from the chat: the person signed out, or the server does not want this identity. */
function left(error) {
  if (error === null) {
    settings.forgetPerson();
    signIn.show({});
  } else {
    signIn.show({ name: settings.name, token: settings.token, error: error.message });
    settings.token = '';
  }
}

// A notification was chosen: whoever is here, or will be, sees that room.
navigator.serviceWorker?.addEventListener('message', ({ data }) => {
  if (data?.type === 'open' && data.room !== '') location.hash = hashOfRoom(data.room);
});

const name = asked.get('name') ?? settings.name;
const { token } = settings;
if (token !== '') enter({ token });
else if (settings.name !== '' && name === settings.name) enter({ name });
else signIn.show({ name });

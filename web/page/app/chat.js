// The chat of one person: owns the client, the conversations and which of them is looked at,
// and tells the views. It lives from signing in to signing out.

import { Announcer } from './announcer.js';
import { AwayView } from './away-view.js';
import { Away, browserOf } from './away.js';
import { quoteWords } from './changes-view.js';
import { Composer } from './composer.js';
import { ConnectionView } from './connection-view.js';
import { CreateDialog } from './create-dialog.js';
import { byId } from './elements.js';
import { MembersView } from './members-view.js';
import { mentionsIn } from './mentions.js';
import { MessageActions } from './message-actions.js';
import { isModerator } from './membership.js';
import { hashOfRoom, nameFault, roomOfHash } from './names.js';
import { Notifications } from './notifications.js';
import { Panel } from './panel.js';
import { PeopleView } from './people-view.js';
import { Rooms } from './rooms.js';
import { RoomsView } from './rooms-view.js';
import { Shortcuts } from './shortcuts.js';
import { SilenceView } from './silence-view.js';
import { Timeline } from './timeline.js';

const EDITING = 'Editing your message';

export class Chat {
  // Set at construction.
  #client;
  #left;
  #actions;
  #timeline;
  #composer;
  #panel;
  #messageActions;
  #notifications;
  #away;
  #silence;
  #members;
  #rooms;
  #roomsView;
  #announcer = new Announcer();
  #people = new PeopleView();
  /** Ends every listener of this chat at once. */
  #listening = new AbortController();

  #current = null;
  #scheduled = false;
  #unread = 0;

  /**
   * @param {{client: object, settings: object, left: (error: Error|null) => void}} options
   *   left is called when the chat is over: with null when the person signed out
   */
  constructor({ client, settings, left }) {
    const { signal } = this.#listening;
    this.#client = client;
    this.#left = left;
    this.#composer = new Composer((text, purpose) => this.#send(text, purpose), () => this.#known(), settings, signal);
    this.#actions = this.#makeActions();
    const actions = this.#actions;
    this.#messageActions = new MessageActions((seq) => this.#current?.get(seq), (message) => this.#may(message), actions, signal);
    this.#timeline = new Timeline(client, {
      edit: (entry) => this.#writeAnew(entry),
      rendered: () => this.#messageActions.rendered(),
      messageActions: actions,
    }, signal);
    this.#silence = new SilenceView(this.#composer, signal);
    this.#away = new Away(client, settings, browserOf(window), () => {
      awayView.render();
      this.#notifications.renderAllow();
      if (!document.hidden) this.#away.seen();
    }, signal);
    const awayView = new AwayView(this.#away, signal);
    this.#notifications = new Notifications(() => client.user, settings, this.#away, (name) => this.#goTo(name), () => this.#renderRooms(), signal);
    this.#panel = new Panel(client, actions, () => this.#composer.leaveThread(), signal);
    byId('pins-open').addEventListener('click', () => this.#panel.open(this.#current, { pinned: true }, 'Pinned'), { signal });
    this.#rooms = new Rooms(client, settings, (change) => this.#changed(change), (ended) => this.#listed(ended));
    this.#roomsView = new RoomsView({
      compose: (name) => this.#compose(name),
      open: (name) => this.#goTo(name),
      leave: (name) => this.#leave(name),
      isMuted: (name) => settings.muted.includes(name),
    }, signal);
    this.#members = new MembersView(client, (name) => this.#leave(name), signal);
    byId('members-open').addEventListener('click', () => this.#members.open(this.#current), { signal });
    new CreateDialog(client, (name, asking) => this.#enter(name, asking), signal);
    new ConnectionView(client, signal);
    new Shortcuts({
      step: (by) => this.#step(by),
      compose: () => this.#composer.focus(),
      newest: () => this.#timeline.jump(),
      find: () => this.#find(),
    }, signal);
    client.on('state', (event) => this.#clientState(event));

    window.addEventListener('hashchange', () => this.#show(roomOfHash(location.hash)), { signal });
    // Neither is believed: a server on this machine goes on, and behind the network there may be none.
    for (const network of ['online', 'offline']) window.addEventListener(network, () => client.wake(), { signal });
    byId('composer-text').addEventListener('input', ({ target }) => this.#current?.people.wrote(target.value), { signal });
    client.setAway(document.hidden);
    document.addEventListener('visibilitychange', () => {
      client.setAway(document.hidden);
      if (document.hidden) {
        this.#timeline.unseen();
      } else {
        client.wake(); // the browser may have stopped our timers while nobody looked
        this.#timeline.seen();
        this.#away.seen();
        for (const conversation of this.#rooms.all) conversation.refresh();
      }
    }, { signal });
    byId('sign-out').addEventListener('click', async () => {
      await this.#away.signOut();
      if (!signal.aborted) this.#close(null); // the server may have ended it meanwhile
    }, { signal });
    byId('back').addEventListener('click', () => this.#openPane('rooms'), { signal });
    byId('skip').addEventListener('click', (event) => {
      event.preventDefault(); // the fragment names the room
      this.#composer.focus();
    }, { signal });
  }

  /** Shows the chat with the room of the address, which a reload keeps, of the link, or the first one. */
  open(asked) {
    byId('chat').hidden = false;
    this.#client.connect().catch(() => {}); // the state says it
    const wanted = [roomOfHash(location.hash), asked].find((name) => name && nameFault(name) === null);
    this.#goTo(wanted ?? this.#rooms.all[0].name);
  }

  // Rooms.

  #compose(name) {
    this.#goTo(name);
    this.#composer.focus();
  }

  /** Shows a room once it is known that it can be entered, if it is still asked for. */
  async #enter(name, asking) {
    const conversation = this.#rooms.open(name);
    if (!conversation.begun || conversation.status !== 'ready') await conversation.begin();
    if (conversation.status === 'failed') {
      if (conversation !== this.#current) this.#leave(name);
      throw conversation.error;
    }
    if (asking.aborted) return;
    this.#goTo(name);
    this.#composer.focus();
  }

  #goTo(name) {
    location.hash = hashOfRoom(name);
    // Its event comes later, or not at all when the room was there already.
    this.#show(name);
  }

  #show(name) {
    if (name === '' || nameFault(name) !== null || name === this.#current?.name) {
      this.#openPane('room');
      return;
    }
    const conversation = this.#rooms.open(name);
    if (this.#current?.status === 'removed') this.#rooms.leave(this.#current.name);
    this.#panel.close();
    this.#members.close();
    this.#current?.people.wrote('');
    this.#current?.people.watch(false);
    this.#current = conversation;
    conversation.people.watch(true);
    conversation.look();
    this.#people.render(conversation.people);
    if (!conversation.begun || conversation.status === 'failed') conversation.begin();
    this.#announcer.clear();
    this.#timeline.show(conversation);
    this.#composer.enter(name);
    this.#notifications.show(conversation);
    this.#silence.render(conversation);
    this.#openPane('room');
    this.#renderRooms();
  }

  #leave(name) {
    if (this.#rooms.size === 1) return; // the last one stays: a page without a room is of no use
    const names = this.#rooms.all.map((conversation) => conversation.name);
    const position = names.indexOf(name);
    this.#rooms.leave(name);
    if (this.#current.name === name) this.#goTo(names[position + 1] ?? names[position - 1]);
    else this.#renderRooms();
  }

  #step(by) {
    const names = this.#rooms.all.map((conversation) => conversation.name);
    const position = names.indexOf(this.#current.name) + by;
    this.#goTo(names[(position + names.length) % names.length]);
  }

  /** To the field that finds a room, in the other pane on a phone; false: there is none. */
  #find() {
    if (!this.#roomsView.isLong) return false;
    this.#openPane('rooms');
    this.#roomsView.find();
    return true;
  }

  #send(text, { reply, thread, edit }) {
    const mentions = mentionsIn(text, this.#known());
    const named = mentions.length > 0 ? { mentions } : {};
    if (edit) {
      this.#current.changes.edit(edit.seq, text, mentions);
      return;
    }
    const more = { ...named };
    if (reply) {
      more.replyTo = reply.seq;
      if (reply.thread) more.thread = reply.thread;
    }
    if (thread) more.thread = thread.seq;
    this.#current.send(text, more);
    this.#timeline.jump();
  }

  /** What was not sent is in the box again, for what it was for. */
  #writeAnew({ text, more = {} }) {
    this.#composer.edit(text);
    const { replyTo, thread } = more;
    if (replyTo) this.#actions.reply(this.#current.get(replyTo) ?? { seq: replyTo, thread });
    else if (thread) this.#actions.thread({ seq: thread });
  }

  /** Who is known in this room: whoever is there, or wrote something that is here. */
  #known() {
    const names = new Set(this.#current?.messages.map(({ from }) => from));
    for (const { user } of this.#current?.people.there.named ?? []) names.add(user);
    return [...names].sort();
  }

  /** Moderators take away what others said; nobody edits it. */
  #may({ from }) {
    const own = from === this.#client.user;
    return { edit: own, remove: own || isModerator(this.#current.membership) };
  }

  #makeActions() {
    return {
      react: ({ seq, reactions }, reaction) => {
        const own = reactions?.some((r) => r.reaction === reaction && r.own) === true;
        this.#current.changes.react(seq, reaction, own);
      },
      pin: ({ seq, pinned }) => this.#current.changes.pin(seq, pinned === true),
      remove: ({ seq }) => this.#current.changes.delete(seq),
      reply: (message) => this.#composer.begin({ reply: message }, `In reply to ${quoteWords(message)}`),
      edit: (message) => this.#composer.begin({ edit: message }, EDITING),
      thread: (message) => {
        const root = message.thread ? { seq: message.thread } : message;
        this.#panel.open(this.#current, { thread: root.seq }, 'Thread');
        this.#composer.begin({ thread: root }, 'In the thread');
      },
      goTo: (seq) => this.#timeline.goTo(seq),
    };
  }

  /**
   * What could not be changed is said where it was asked for, until something is asked for again: what was asked for beside it may
   * well be made. The text of an edit is in the box again.
   */
  #tell({ name }, answered) {
    if (this.#listening.signal.aborted) return; // the box is another person's by now
    if (answered === undefined) this.#composer.say(name, '');
    if (!answered?.error) return;
    const { change, text, error, gone } = answered;
    this.#composer.say(name, error.message);
    if (change.edit) this.#composer.giveBack(name, text, gone ? {} : { edit: { seq: change.target } }, EDITING);
  }

  /** Numbers of messages are those of others now, or of none: what was begun about one does not go on. */
  #begunAnew(conversation) {
    if (this.#composer.beginAnew()) this.#composer.say(conversation.name, 'The room has begun anew, and the message that you were writing about is gone. What you wrote is still here.');
    this.#panel.close();
    this.#timeline.show(conversation);
  }

  /** Ends the chat for a reason that the server's connection does not know. */
  end(error) {
    if (!this.#listening.signal.aborted) this.#close(error);
  }

  // What happens.

  #changed({ conversation, arrived, altered, asked, answered, people, anew }) {
    if (people) {
      if (conversation !== this.#current) return;
      this.#people.render(conversation.people);
      this.#members.changed(conversation);
      return;
    }
    if (arrived) this.#notifications.arrived(conversation, arrived);
    if (asked) this.#tell(conversation, answered);
    if (anew && conversation === this.#current) this.#begunAnew(conversation);
    if (conversation === this.#current) {
      this.#silence.render(conversation);
      this.#timeline.changed();
      this.#members.changed(conversation);
      if (arrived || altered) this.#panel.changed(conversation);
      if (asked) this.#panel.render();
      if (altered?.deleted) this.#announcer.clear(); // what was said aloud stands there still
      if (arrived && arrived.from !== this.#client.user) this.#announcer.say(arrived);
    }
    this.#renderRooms();
  }

  /** What the person has lost stays as long as they look at it, and says why. */
  #listed(ended) {
    if (ended !== null && ended !== this.#current) this.#rooms.leave(ended.name);
    this.#renderRooms();
  }

  /** Many changes, as of a page of rooms, make one rendering. */
  #renderRooms() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#current !== null && !this.#listening.signal.aborted) this.#showRooms();
    });
  }

  #showRooms() {
    this.#roomsView.render(this.#rooms.all, this.#current);
    const unread = this.#rooms.all.reduce((sum, conversation) => sum + conversation.unread, 0);
    if (unread === 0 && this.#unread > 0) this.#away.seen(); // here, or on another device
    this.#unread = unread;
    const { title, membership, status } = this.#current;
    byId('members-open').hidden = membership === null || status === 'removed';
    if (byId('room-title').textContent === title) return;
    byId('room-title').textContent = title;
    byId('composer-text').placeholder = `Message ${title}`;
  }

  #clientState({ state, error }) {
    if (state === 'connected') {
      byId('self').textContent = this.#client.user;
    }
    if (state === 'closed' && !this.#listening.signal.aborted) this.#close(error);
  }

  /** On a phone either the rooms or the room are seen; on a desk both. What had the focus may be out of sight then. */
  #openPane(pane) {
    byId('chat').dataset.pane = pane;
    if (document.activeElement?.checkVisibility?.() !== false) return;
    if (pane === 'room') byId('room-title').focus({ preventScroll: true });
    else this.#roomsView.focus();
  }

  #close(error) {
    this.#listening.abort();
    this.#client.close();
    byId('chat').hidden = true;
    byId('messages').replaceChildren();
    this.#announcer.clear();
    if (error === null) history.replaceState(null, '', location.pathname);
    this.#left(error);
  }
}

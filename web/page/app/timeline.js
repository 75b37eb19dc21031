// The messages of the room that is looked at. It shows a conversation's window as lines and
// keeps the reader's place: at the end when they follow, else at the line they were reading,
// whatever is put in above or cut off below.

import { byId } from './elements.js';
import { Folding } from './long-text.js';
import { dayView, messageView, newMessagesView, outgoingView, passingView, showTicks } from './message-view.js';
import { dayNumber, dayOf } from './times.js';

/** Nearer to the end than this is at the end. Pixels. */
const AT_END = 40;
/** Nearer to the window's edge than this, the next page is fetched. Pixels. */
const NEAR_EDGE = 400;
/** Messages of one author further apart than this stand apart. */
const GROUP_MS = 5 * 60_000;
/** How soon a hidden page is brought up to date: nobody looks, and frames don't come. */
const HIDDEN_MS = 250;

export class Timeline {
  // Set at construction.
  #client;
  #actions;
  #rendered;
  #scroller = byId('scroller');
  #list = byId('messages');
  #top = byId('timeline-top');
  #jump = byId('jump');
  #folding = new Folding((button) => this.#folded(button));

  #conversation = null;
  /** Line key to {node, signature}: a line is made again only when it has changed. */
  #lines = new Map();
  #scheduled = false;
  /** As high as the list was when the end was last kept in sight. */
  #height = 0;
  /** The line "New" stands after this sequence number; null: nowhere. */
  #newAfter = null;

  /**
   * @param {object} owner
   * @param {(entry: object) => void} owner.edit  takes a message that was not sent, see outgoing.js
   * @param {() => void} owner.rendered  the lines may be others
   * @param {object} owner.messageActions  see message-actions.js
   */
  constructor(client, { edit, rendered, messageActions }, signal) {
    this.#client = client;
    this.#rendered = rendered;
    this.#actions = {
      ...messageActions,
      retry: ({ key }) => this.#conversation.retry(key),
      discard: ({ key }) => this.#conversation.discard(key),
      edit: (entry) => {
        this.#conversation.discard(entry.key);
        edit(entry);
      },
    };
    this.#list.replaceChildren();
    this.#scroller.addEventListener('scroll', () => this.#scrolled(), { signal, passive: true });
    this.#jump.addEventListener('click', () => this.jump(), { signal });
    const resized = new ResizeObserver(() => this.#resized());
    resized.observe(this.#scroller);
    signal.addEventListener('abort', () => {
      resized.disconnect();
      this.#conversation = null;
    });
  }

  show(conversation) {
    this.#conversation = conversation;
    conversation.following = true;
    this.#newAfter = conversation.unread > 0 ? conversation.lastRead : null;
    this.#lines.clear();
    this.#folding.clear();
    this.#list.replaceChildren();
    conversation.jumpToNewest(); // its window may have been left further back
    this.#render();
  }

  /** The conversation has changed. Many changes make one rendering. */
  changed() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const render = () => {
      this.#scheduled = false;
      this.#render();
    };
    if (document.hidden) setTimeout(render, HIDDEN_MS);
    else requestAnimationFrame(render);
  }

  /** To the end of the room. */
  jump() {
    this.#newAfter = null;
    this.#conversation.jumpToNewest();
    this.#render();
  }

  /** Shows a message, wherever in the room it is. */
  async goTo(seq) {
    const conversation = this.#conversation;
    if (conversation.get(seq) === undefined) await conversation.goTo(seq);
    if (conversation !== this.#conversation) return;
    this.#render();
    const line = this.#lines.get(`seq ${seq}`)?.node;
    line?.scrollIntoView({ block: 'center' });
    line?.animate({ background: ['var(--current)', 'transparent'] }, 2_000);
  }

  /** Nobody looks at the page any more: what comes now is new. */
  unseen() {
    this.#newAfter = null;
  }

  /** Somebody looks at the page again. */
  seen() {
    if (this.#conversation) this.#markRead();
  }

  // Rendering.

  #render() {
    const conversation = this.#conversation;
    if (conversation === null) return;
    if (document.hidden && this.#newAfter === null && conversation.unread > 0) this.#newAfter = conversation.lastRead;
    const place = this.#place();
    this.#reconcile(this.#wantedLines());
    this.#rendered();
    this.#renderTop();
    this.#restore(place);
    this.#markRead();
    this.#renderJump();
    this.#fill();
  }

  /**
   * The lines that should be there, in order: {key, signature, make, update}. What changes often is left to update,
   * since a line that is made again loses what is selected or focused in it.
   */
  #wantedLines() {
    const conversation = this.#conversation;
    const folding = this.#folding;
    const lines = [];
    let previous = null;
    let previousSeq = 0;
    const step = (from, at) => {
      const newDay = previous === null || dayNumber(previous.at) !== dayNumber(at);
      if (newDay) lines.push({ key: `day ${dayNumber(at)}`, signature: dayOf(at), make: () => dayView(at) });
      const grouped = !newDay && previous.from === from && at - previous.at < GROUP_MS;
      previous = { from, at };
      return grouped;
    };
    for (const { seq } of conversation.messages) {
      const message = conversation.get(seq);
      let grouped = step(message.from, message.at);
      if (this.#newAfter !== null && previousSeq <= this.#newAfter && message.seq > this.#newAfter) {
        lines.push({ key: 'new', signature: '', make: newMessagesView });
        grouped = false;
      }
      previousSeq = message.seq;
      const { user } = this.#client;
      const own = message.from === user;
      const about = conversation.get(message.replyTo || message.thread);
      lines.push({
        key: `seq ${message.seq}`,
        signature: `${grouped} ${message.revision} ${message.asked?.map(({ key }) => key)} ${message.replies?.last} ${about?.seq} ${about?.revision}`,
        make: () => messageView(message, { grouped, own, user, about, folding, actions: this.#actions }),
        update: own && !message.deleted ? (line) => showTicks(line, conversation.receipts?.of(message.seq)) : undefined,
      });
    }
    for (const message of conversation.passing) {
      const grouped = step(message.from, message.at);
      const own = message.from === this.#client.user;
      lines.push({
        key: `passing ${message.id}`,
        signature: `${grouped} ${message.version}`,
        make: () => passingView(message, { grouped, own, folding }),
      });
    }
    if (conversation.attached) {
      const from = this.#client.user ?? 'You';
      for (const entry of conversation.shownOutgoing) {
        const grouped = step(from, Math.max(entry.at, previous?.at ?? 0)); // by this machine's clock, which may be behind
        const about = conversation.get(entry.more?.replyTo || entry.more?.thread);
        lines.push({
          key: `out ${entry.key}`,
          signature: `${grouped} ${entry.state}`,
          make: () => outgoingView(entry, { grouped, from, about, folding }, this.#actions),
        });
      }
    }
    return lines;
  }

  #reconcile(wanted) {
    const keys = new Set(wanted.map((line) => line.key));
    for (const [key, { node }] of this.#lines) {
      if (keys.has(key)) continue;
      if (node.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true }); // a message that was not sent is discarded
      node.remove();
      this.#lines.delete(key);
    }
    let next = this.#list.firstChild;
    for (const { key, signature, make, update } of wanted) {
      let line = this.#lines.get(key);
      if (line?.signature !== signature) {
        const node = make();
        if (line !== undefined) {
          if (next === line.node) next = node;
          line.node.before(node);
          // Before the old one goes, so that the focus does not leave the list.
          if (line.node.contains(document.activeElement)) {
            node.tabIndex = -1;
            node.focus({ preventScroll: true });
          }
          line.node.remove();
        }
        line = { node, signature };
        this.#lines.set(key, line);
      }
      update?.(line.node);
      if (line.node === next) next = next.nextSibling;
      else this.#list.insertBefore(line.node, next);
    }
  }

  #renderTop() {
    const { status, error, title, atBeginning, ephemeral, messages, moving } = this.#conversation;
    let text = '';
    if (status === 'failed') text = `This room can't be shown: ${error.message}`;
    else if (status === 'loading' && messages.length === 0) text = 'Loading…';
    else if (ephemeral) text = `Nothing is kept in ${title}: what is said here is seen by who is here now.`;
    else if (atBeginning) text = messages.length === 0 ? `Nothing in ${title} yet. Say something.` : `The beginning of ${title}`;
    else if (moving === 'older') text = 'Loading older messages…';
    else if (error !== null) text = `Older messages can't be shown: ${error.message}`;
    if (this.#top.textContent !== text) this.#top.textContent = text;
    const label = `Messages in ${title}`;
    if (this.#scroller.getAttribute('aria-label') !== label) this.#scroller.setAttribute('aria-label', label);
    this.#top.dataset.state = atBeginning ? 'beginning' : status;
  }

  #renderJump() {
    const { following, attached, unread } = this.#conversation;
    this.#jump.hidden = following && attached;
    const text = unread > 0 ? `${unread} new` : 'Newest';
    if (byId('jump-text').textContent !== text) byId('jump-text').textContent = text;
  }

  // The reader's place.

  /**
   * The first message in sight and where its lower edge is, since a message may lose the
   * author's name above it when older ones come. null is the end of the room.
   */
  #place() {
    if (this.#conversation.following) return null;
    const top = this.#scroller.scrollTop;
    for (const node of this.#list.children) {
      if (node.dataset.seq !== undefined && bottomOf(node) > top) {
        return { key: `seq ${node.dataset.seq}`, below: bottomOf(node) - top };
      }
    }
    return null;
  }

  #restore(place) {
    if (this.#conversation.following) {
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
      return;
    }
    const line = place && this.#lines.get(place.key);
    if (line) this.#scroller.scrollTop = bottomOf(line.node) - place.below;
  }

  /** What grew has its end out of sight, so nobody follows any more; what shrank is not left behind above. */
  #folded(button) {
    if (button.ariaExpanded === 'false') button.scrollIntoView({ block: 'nearest' });
    this.#rendered();
    this.#scrolled();
  }

  /** A keyboard opens, the composer grows: the end stays in sight. On a phone the room itself may come into sight. */
  #resized() {
    this.#height = this.#scroller.clientHeight;
    if (this.#conversation === null || this.#height === 0) return; // out of sight, nobody scrolls: the reader's place stays
    if (this.#conversation.following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#scrolled();
  }

  #scrolled() {
    const conversation = this.#conversation;
    if (conversation === null) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight !== this.#height) return; // nobody has scrolled away from the end: #resized comes next, and keeps it
    conversation.following = conversation.attached && scrollHeight - scrollTop - clientHeight < AT_END;
    this.#markRead();
    this.#renderJump();
    this.#fill();
  }

  /** Fetches the next page when the reader is near the window's edge. */
  #fill() {
    const conversation = this.#conversation;
    if (conversation.status !== 'ready' || conversation.moving !== null || conversation.error !== null) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight === 0) return; // not in sight: on a phone the list of rooms may be
    if (scrollTop < NEAR_EDGE && !conversation.atBeginning) conversation.loadOlder();
    else if (scrollHeight - scrollTop - clientHeight < NEAR_EDGE && !conversation.attached) conversation.loadNewer();
  }

  #markRead() {
    const { following } = this.#conversation;
    if (following && !document.hidden && this.#scroller.clientHeight > 0) this.#conversation.markRead();
  }
}

function bottomOf(node) {
  return node.offsetTop + node.offsetHeight;
}

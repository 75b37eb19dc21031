// Rooms with members: what may be done in them by whom, and the words for what they are. docs/rooms.md has the rules;
// the server enforces them, the page does not show what it would refuse.

import { dayNumber, fullTimeOf, timeOf } from './times.js';

const ROLES = ['guest', 'member', 'moderator', 'owner'];
const rank = (role) => ROLES.indexOf(role);

/** The server's "for ever". */
const FOR_EVER = Number.MAX_SAFE_INTEGER;

/** What a room is called: a direct one by the other user. */
export function titleOf(name, membership) {
  return membership?.peer || membership?.title || name;
}

export function isModerator(membership) {
  return rank(membership?.role) >= rank('moderator');
}

/** Members of groups and channels invite; who is in a direct room is in its name. */
export function mayInvite(membership) {
  return membership?.kind !== 'direct' && rank(membership?.role) >= rank('member');
}

export function mayLeave(membership) {
  return membership?.kind !== 'direct' && rank(membership?.role) >= 0;
}

/**
 * What a person may do to a member of the room, as what client.changeMember takes, with words.
 *
 * @returns {{name: string, words: string, action: object}[]}
 */
export function actionsOn(member, membership, user) {
  const own = rank(membership?.role);
  if (membership?.kind === 'direct' || member.user === user || !isModerator(membership) || rank(member.role) >= own) return [];
  const roles = ROLES.filter((role) => role !== member.role && (membership.role === 'owner' || rank(role) < rank('moderator')));
  const muted = member.mutedUntil > Date.now();
  return [
    ...roles.map((role) => ({ name: `role-${role}`, words: `Make ${role}`, action: { action: 'role', role } })),
    muted
      ? { name: 'unmute', words: 'Unmute', action: { action: 'unmute' } }
      : { name: 'mute', words: 'Mute for 1 hour', action: { action: 'mute', forMs: 3_600_000 } },
    { name: 'kick', words: 'Remove', action: { action: 'kick' } },
    { name: 'ban', words: 'Ban', action: { action: 'ban' } },
  ];
}

/**
 * Why a person can't write in a room now, and until when if that ends by itself; null when they can.
 *
 * @param {{membership: object|null, lastOwnAt: number}} room  lastOwnAt: when they last wrote there, 0 for never
 * @returns {{reason: 'role'|'muted'|'slow', until: number}|null}
 */
export function silence({ membership, lastOwnAt }, now) {
  if (membership === null) return null;
  if (rank(membership.role) < rank(membership.speak)) return { reason: 'role', until: FOR_EVER };
  if (membership.mutedUntil > now) return { reason: 'muted', until: membership.mutedUntil };
  if (isModerator(membership) || !membership.slowModeMs) return null;
  const until = lastOwnAt + membership.slowModeMs;
  return until > now ? { reason: 'slow', until } : null;
}

/** How a membership has ended. The end may have been found out later, without its reason. */
export function removalWords(title, { action, until, reason } = {}, now = Date.now()) {
  const because = reason ? `: ${reason}` : '';
  switch (action) {
    case 'leave':
      return `You have left ${title}.`;
    case 'kick':
      return `You were removed from ${title}${because}.`;
    case 'ban':
      return `You are banned from ${title} ${untilWords(until || FOR_EVER, now)}${because}.`;
    default:
      return `You are no longer a member of ${title}.`;
  }
}

/** Until when somebody is muted or banned. */
export function untilWords(until, now = Date.now()) {
  if (until >= FOR_EVER) return 'for ever';
  return `until ${momentWords(until, now)}`;
}

/** A moment in as few words as tell it. */
export function momentWords(at, now = Date.now()) {
  return dayNumber(at) === dayNumber(now) ? timeOf(at) : fullTimeOf(at);
}

// Times as people read them, in the language of the browser.

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });

export const timeOf = (at) => time.format(at);
export const fullTimeOf = (at) => full.format(at);

/** A number that is the same for all moments of one local day. */
export function dayNumber(at) {
  const date = new Date(at);
  // Through UTC, since local days have 23 to 25 hours.
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
}

/** The heading of a day, seen from now. */
export function dayOf(at, now = Date.now()) {
  const distance = dayNumber(now) - dayNumber(at);
  if (distance === 0) return 'Today';
  if (distance === 1) return 'Yesterday';
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return (sameYear ? day : dayOfYear).format(at);
}

/** A wait in whole seconds, never less than one as long as it lasts. */
export function secondsUntil(at, now = Date.now()) {
  return Math.max(1, Math.ceil((at - now) / 1_000));
}

// Names as an operator reads them. Whoever chose one may want to be taken for somebody else, or for a part of the sentence around it.

/** Marks and overrides of direction (Unicode, UAX #9), which can't be seen and have what follows them read in another order. */
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A name with the numbers of such characters in their places. */
export const visible = (name) => name.replace(TURNS, (turn) => `[U+${turn.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`);

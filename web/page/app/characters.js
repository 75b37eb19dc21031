// Characters as people see them: an emoji of several parts is one, and so is a letter with its marks.

/** undefined in browsers of before 2024, which cut between code points. */
const segmenter = Intl.Segmenter && new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** No emoji takes more places. Letters under heaps of marks may, and are cut. */
const LONGEST = 40;

/** Where the character begins that a place in a text is in: there the text may be cut. */
export function startOfCharacter(text, at) {
  // What comes later has no say in where a character begins, and a text may be long.
  const start = segmenter?.segment(text.slice(0, at + 2)).containing(at)?.index ?? at;
  if (start < at && at - start <= LONGEST) return start;
  return /[\uDC00-\uDFFF]/.test(text[at] ?? '') ? at - 1 : at; // the second half of a code point
}

/** The first one of a text that has one. */
export function firstCharacter(text) {
  return segmenter?.segment(text.slice(0, LONGEST)).containing(0).segment ?? [...text][0];
}

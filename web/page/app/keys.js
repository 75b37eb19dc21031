// What is asked of keys in more than one place.

/**
 * Whether a key is about a word that is being composed (Japanese, Chinese), which Enter ends. Safari says it by the number alone: there the
 * composing is over before the key.
 */
export function composes({ isComposing, keyCode }) {
  return isComposing || keyCode === 229;
}

// Making elements. Text goes in as text, never as markup, so that nothing anybody writes can
// become a part of the page; the content security policy forbids the other way altogether.

/** The element of index.html with that id; its absence is a mistake of ours. */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`BUG: index.html has no element #${id}`);
  return found;
}

/**
 * @param {string} tag
 * @param {object} properties  class, data (dataset), attributes; anything else is set as property
 * @param {...(Node|string)} children
 */
export function element(tag, { class: className, data, attributes, ...properties } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

export function visuallyHidden(text) {
  return element('span', { class: 'visually-hidden' }, text);
}

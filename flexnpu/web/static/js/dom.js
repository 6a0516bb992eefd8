// SPDX-License-Identifier: Apache-2.0
// Elements, without a framework: what is made from data is never read as markup.

// h("button", {class: "quiet", onclick: f, disabled: true}, "Apply"): null and false leave an attribute out.
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else set(made, name, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

// Leaves what is there where it says the same, so that readers and selections are not disturbed.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One child per item, in their order; those that stay are updated, and keep focus and scroll position.
// make(item) gives an element; update(element, item) fills it.
export function keyed(parent, items, key, make, update) {
  const there = new Map([...parent.children].map(child => [child.dataset.key, child]));
  items.forEach((item, at) => {
    const name = String(key(item));
    let element = there.get(name);
    there.delete(name);
    if (!element) {
      element = make(item);
      element.dataset.key = name;
    }
    update(element, item);
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
  for (const gone of there.values()) gone.remove();
}

export const byId = id => document.getElementById(id);

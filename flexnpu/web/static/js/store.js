// SPDX-License-Identifier: Apache-2.0
// What the page knows. Views are told at once, and then ten times a second at most, however much changes.

const AT_ONCE_MS = 16;
const EVERY_MS = 100;

export class Store {
  state = {
    connection: { state: "connecting", since: null, problem: null },
    version: null,
    devices: [],
    vnpus: [],
    tenants: [],
    controllers: [],
    decisions: [], // the newest first
    events: [], // the newest first
    models: [],
    chosen: null, // id of the decision that is open
  };

  #views = new Set();
  #due = false;
  #toldAt = 0;
  #after = [];

  // The view is told at once, and of each change.
  watch(view) {
    this.#views.add(view);
    view(this.state);
  }

  set(changes) {
    Object.assign(this.state, changes);
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => this.#tell(), Math.max(AT_ONCE_MS, this.#toldAt + EVERY_MS - performance.now()));
  }

  // Once, after the views have been told of what is set by now.
  settled(then) {
    this.#after.push(then);
    this.set({});
  }

  #tell() {
    this.#due = false;
    this.#toldAt = performance.now();
    for (const view of this.#views) view(this.state);
    for (const then of this.#after.splice(0)) then();
  }
}

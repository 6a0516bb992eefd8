// SPDX-License-Identifier: Apache-2.0
// What the page knows. Views are told at once, and then five times a second at most, however much changes.

const AT_ONCE_MS = 16;
const EVERY_MS = 200;

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

  // The view is told at once, and of each change.
  watch(view) {
    this.#views.add(view);
    view(this.state);
  }

  set(changes) {
    Object.assign(this.state, changes);
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => this.#due && this.#tell(), Math.max(AT_ONCE_MS, this.#toldAt + EVERY_MS - performance.now()));
  }

  // What the reader does is shown without delay: when this returns, it is.
  setNow(changes) {
    Object.assign(this.state, changes);
    this.#tell();
  }

  #tell() {
    this.#due = false;
    this.#toldAt = performance.now();
    for (const view of this.#views) attempt(view, this.state);
  }
}

// What one part of the page cannot show keeps no other from showing what it can.
function attempt(view, state) {
  try {
    view(state);
  } catch (error) {
    reportError(error);
  }
}

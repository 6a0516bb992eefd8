// SPDX-License-Identifier: Apache-2.0
// Keeps the store up to date: everything at the beginning and after each interruption, then what events tell of, and once
// a second what changes without an event. A page that nobody sees asks nothing.

import { announce } from "./announce.js";
import { get, list } from "./api.js";
import { now } from "./clock.js";
import { follow } from "./stream.js";

const LOOK_EVERY_MS = 1000;
const EVENTS_SILENT_MS = 40_000; // they say something every 15 s
const STEPS_SILENT_MS = 10_000; // they do every second
const MOST_EVENTS = 200;
const MOST_DECISIONS = 300;
const NEWEST_DECISIONS = 20; // that are read again: what came of them is told later
const CONTROLLERS_EVERY_MS = 2000;
const REST = 4; // times as long as an answer takes nothing is asked
const SOON_MS = 200; // after an event; others that come meanwhile are of the same look
const MOST_FOLLOWED = 64; // what the API takes

// Read out; what controllers do all the time is not.
const ANNOUNCED = new Set(["created", "deleted", "denied", "refused"]);

export class Live {
  #store;
  #activity;
  #gaps;
  #history;
  #rates;
  #stop = null; // of what runs while the page is seen
  #steps = { names: "", stop: null };
  #reading = null;
  #newest = null; // id of the newest event
  #due = new Set(); // what is read soon

  constructor(store, { activity, gaps, history, rates }) {
    this.#store = store;
    this.#activity = activity;
    this.#gaps = gaps;
    this.#history = history;
    this.#rates = rates;
  }

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#resume()));
    this.#resume();
  }

  // With another token, say.
  restart() {
    this.#pause();
    this.#store.set({ connection: { state: "connecting", since: null, problem: null } });
    this.#resume();
  }

  // Reads what changes; who calls while it is being read gets that.
  look() {
    this.#reading ??= this.#look().finally(() => (this.#reading = null));
    return this.#reading;
  }

  #resume() {
    if (this.#stop || document.hidden) return;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    follow("/api/v1/events", {
      signal,
      silentMs: EVENTS_SILENT_MS,
      told: {
        open: () => this.#begin(),
        message: message => this.#event(message.data),
        lost: problem => this.#lost(problem),
      },
    });
    this.#every(LOOK_EVERY_MS, signal, this.#readNow);
    this.#every(CONTROLLERS_EVERY_MS, signal, this.#readNewest);
  }

  #pause() {
    this.#stop?.abort();
    this.#stop = null;
    this.#followSteps([]);
  }

  // Less often where answers take long: a page is to be no load for its daemon. What fails is lost, and the events' stream
  // says so.
  async #every(milliseconds, signal, read) {
    while (!signal.aborted) {
      const began = performance.now();
      if (this.#isLive()) await read().catch(() => {});
      const took = performance.now() - began;
      await new Promise(done => setTimeout(done, Math.max(milliseconds - took, REST * took)));
    }
  }

  #isLive() {
    return this.#store.state.connection.state === "live";
  }

  async #begin() {
    const again = this.#store.state.connection.state === "lost";
    try {
      await this.#readAll();
    } catch (problem) {
      this.#lost(problem);
      return;
    }
    this.#store.set({ connection: { state: "live", since: now(), problem: null } });
    if (again) announce("Connected again");
  }

  #lost(problem) {
    const { connection } = this.#store.state;
    const state = problem?.status === 401 ? "unknown" : "lost";
    if (state === "lost" && connection.state === "live") announce("The connection is lost");
    const since = connection.state === "live" ? now() : connection.since;
    this.#store.set({ connection: { state, since, problem } });
    this.#followSteps([]);
  }

  async #readAll() {
    const [version, { items: models }] = await Promise.all([get("/version"), get("/api/v1/forecast")]);
    await Promise.all([this.#readController(MOST_DECISIONS), this.look()]);
    this.#store.set({ version, models });
  }

  async #look() {
    const lists = ["devices", "vnpus", "tenants"].map(noun => list(`/api/v1/${noun}`));
    const [devices, vnpus, tenants] = await Promise.all(lists);
    this.#activity.count(tenants);
    this.#history.see(devices, vnpus, now());
    this.#store.set({ devices, vnpus, tenants });
    this.#followSteps(vnpus.filter(vnpu => vnpu.tenants).map(vnpu => vnpu.name).slice(0, MOST_FOLLOWED));
  }

  // And the newest decisions; older ones that were read before stay.
  async #readController(most) {
    const [{ items: controllers }, { items: newest }] = await Promise.all([
      get("/api/v1/controller"),
      get(`/api/v1/controller/decisions?limit=${most}`),
    ]);
    const known = new Map([...this.#store.state.decisions, ...newest].map(each => [each.id, each]));
    const decisions = [...known.values()].sort((one, other) => other.id - one.id).slice(0, MOST_DECISIONS);
    this.#history.tell(decisions);
    this.#rates.see(controllers);
    this.#store.set({ controllers, decisions });
  }

  #event(event) {
    if (event.kind === "resync") {
      this.#store.set({ events: [] });
      this.#newest = event.id;
      if (this.#isLive()) this.#soon(this.#readNow);
      return;
    }
    if (this.#newest !== null && event.id <= this.#newest) return;
    this.#newest = event.id;
    this.#store.set({ events: [event, ...this.#store.state.events].slice(0, MOST_EVENTS) });
    if (!this.#isLive()) return; // it was before: everything is read after it
    this.#soon(this.#readNow);
    if (event.kind === "decided") this.#soon(this.#readNewest);
    else if (ANNOUNCED.has(event.kind) && event.at > this.#store.state.connection.since) announce(event.text);
  }

  #readNow = () => this.look();
  #readNewest = () => this.#readController(NEWEST_DECISIONS);

  #soon(read) {
    if (this.#due.has(read)) return;
    this.#due.add(read);
    setTimeout(() => {
      this.#due.delete(read);
      if (this.#isLive()) read().catch(() => {});
    }, SOON_MS);
  }

  // names: all vNPUs that have programs.
  #followSteps(names) {
    const wanted = [...names].sort().join(" ");
    if (wanted === this.#steps.names) return;
    this.#steps.stop?.abort();
    this.#steps = { names: wanted, stop: null };
    if (!names.length) return;
    const stop = (this.#steps.stop = new AbortController());
    const query = names.map(name => `vnpu=${encodeURIComponent(name)}`).join("&");
    follow(`/api/v1/steps?${query}`, {
      signal: stop.signal,
      silentMs: STEPS_SILENT_MS,
      told: { open: () => {}, message: message => this.#step(message.data), lost: () => {} },
    });
  }

  #step(step) {
    const { devices, vnpus, controllers } = this.#store.state;
    const vnpu = vnpus.find(each => each.name === step.vnpu);
    const device = devices.find(each => each.index === vnpu?.device);
    const service = controllers
      .flatMap(each => each.services)
      .find(each => [...each.decode, ...each.engines].includes(step.vnpu));
    this.#activity.step(step);
    this.#gaps.step(step, device?.scale ?? 1, service?.itl_s ?? null);
  }
}

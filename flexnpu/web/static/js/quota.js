// SPDX-License-Identifier: Apache-2.0
// The dialog that changes a quota: the forecast before, "applied" after.

import { announce } from "./announce.js";
import { changeQuota, operation, rebalance, tryRebalance } from "./api.js";
import { byId, h, keyed, say, set } from "./dom.js";
import { counted, duration, percent } from "./format.js";
import { makeCurve } from "./quota_chart.js";
import { makeForm } from "./quota_form.js";
import { WhatIf, loadOf } from "./what_if.js";

const SETTLE_MS = 150; // after the last move of the slider, the forecast is asked for
const NOBODY = ""; // where cores come from and go to: those that nobody is guaranteed

// look: reads what has become of a change.
export function makeQuota(store, look) {
  const form = makeForm();
  const dialog = h("dialog", { class: "wide", "aria-labelledby": "quota-title" }, form.element);
  byId("dialogs").append(dialog);
  let current = null;
  const open = name => {
    current = new Dialog(name, { store, look, form, dialog });
    current.open();
  };
  store.watch(() => current?.refresh());
  form.element.addEventListener("submit", event => {
    event.preventDefault();
    current?.apply();
  });
  form.close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    current?.end();
    current = null;
  });
  for (const field of [form.slider, form.source]) field.addEventListener("input", () => current?.moved());
  for (const field of [form.model, form.phase, form.requests, form.tokens]) field.addEventListener("change", () => current?.asked());
  return { open };
}

let drawCurve = null; // the chart is made when the dialog is first seen: it needs its width

// One opening of the dialog.
class Dialog {
  #name;
  #store;
  #look;
  #form;
  #dialog;
  #whatIf = new WhatIf();
  #timer = null;
  #asking = new AbortController();
  #ended = false;
  #touched = false; // the slider is where the reader has put it
  #forecastOf = ""; // cores now and then

  constructor(name, { store, look, form, dialog }) {
    this.#name = name;
    this.#store = store;
    this.#look = look;
    this.#form = form;
    this.#dialog = dialog;
  }

  open() {
    const { vnpus, tenants, models } = this.#store.state;
    const vnpu = this.#vnpu();
    const load = loadOf(vnpu, tenants);
    const form = this.#form;
    say(form.title, `Quota of ${this.#name}`);
    form.source.replaceChildren(
      h("option", { value: NOBODY }, ""),
      ...vnpus.filter(other => other.name !== this.#name && movesWith(vnpu, other)).map(other => h("option", { value: other.name }, other.name)),
    );
    form.source.value = NOBODY;
    form.model.replaceChildren(...models.map(({ name }) => h("option", {}, name)));
    const served = models.find(({ architecture }) => architecture === this.#service()?.model);
    if (served) form.model.value = served.name;
    form.phase.value = load.phase;
    form.requests.value = load.requests;
    form.tokens.value = load.tokens;
    say(form.loadSaid, load.seen ? "What its engine's last step was; change it to ask for another load." : "No step of an engine has been seen here; say what load to ask for.");
    form.reason.value = "";
    say(form.result, "");
    set(form.result, "data-good", null);
    form.slider.max = this.#most();
    form.slider.value = vnpu.cores;
    this.refresh();
    this.#dialog.showModal();
    drawCurve ??= makeCurve(form.place);
    form.slider.focus();
    this.asked();
  }

  end() {
    this.#ended = true;
    this.#asking.abort();
    clearTimeout(this.#timer);
  }

  // What the dialog says of the vNPU is as it is now, so that a change is of what the reader sees.
  refresh() {
    const vnpu = this.#vnpu();
    const form = this.#form;
    if (!vnpu) {
      this.#dialog.close();
      return;
    }
    say(form.now, `${counted(vnpu.cores, "core")} now, revision ${vnpu.revision}${vnpu.applied ? ", applied" : ", not applied yet"}`);
    form.slider.max = this.#most();
    if (!this.#touched) form.slider.value = vnpu.cores;
    say(form.most, form.slider.max);
    say(form.source.firstChild, `cores that nobody is guaranteed (${this.#free()})`);
    this.#showValue();
    if (this.#forecastOf !== `${vnpu.cores} ${this.#cores}`) this.asked();
    const controller = this.#controller();
    form.warning.hidden = !controller;
    if (controller) say(form.warning, `Controller ${controller.name} moves the cores of this vNPU, and will do so again as it sees fit; flexnpu controller --mode pinned holds a split.`);
  }

  // The slider, or where cores come from.
  moved() {
    this.#touched = true;
    this.#form.slider.max = this.#most();
    say(this.#form.most, this.#form.slider.max);
    this.#showValue();
    this.asked();
  }

  asked() {
    this.#forecastOf = `${this.#vnpu().cores} ${this.#cores}`;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#forecast(), SETTLE_MS);
  }

  async apply() {
    const form = this.#form;
    const vnpu = this.#vnpu();
    form.apply.disabled = true;
    this.#tell("Asking the daemon…", null);
    try {
      const other = this.#other();
      const done = other ? await this.#move(vnpu, other) : await changeQuota(this.#name, vnpu.revision, { cores: this.#cores }, form.reason.value);
      await this.#follow(done);
    } catch (problem) {
      const meanwhile = problem.status === 412 ? " What is shown is read again; apply once more if it still holds." : "";
      this.#tell(`Not changed: ${problem.sentence ?? problem.message}.${meanwhile}`, false);
    } finally {
      form.apply.disabled = false;
      await this.#look().catch(() => {});
    }
  }

  async #move(vnpu, other) {
    const moves = [{ vnpu: vnpu.name, cores: this.#cores }, { vnpu: other.name, cores: other.cores + vnpu.cores - this.#cores }];
    const { revisions } = await tryRebalance(moves);
    // A rebalance takes no If-Match; what the dry run would bring tells whether the reader's picture is still true.
    if ([vnpu, other].some(each => revisions[each.name] > each.revision + 1)) throw changedMeanwhile();
    return rebalance(moves, this.#form.reason.value);
  }

  // Until it is applied, or the dialog is closed.
  async #follow(answer) {
    let { applied, applied_after_s: after } = answer;
    while (!applied && answer.operation && !this.#ended) {
      this.#tell("Accepted. A program still runs work that was cut for the older quota; waiting until it has acknowledged the new one…", null);
      const now = await operation(answer.operation);
      [applied, after] = [now.done, now.applied_after_s];
    }
    if (!applied) return;
    const took = after === null || after === undefined ? "" : ` after ${duration(after)}`;
    this.#touched = false;
    this.#tell(`Applied${took}: nothing that was cut for the older quota can be launched any more.`, true);
    announce(`The quota of ${this.#name} is applied${took}`);
  }

  #tell(text, good) {
    if (this.#ended) return;
    say(this.#form.result, text);
    set(this.#form.result, "data-good", good === null ? null : String(good));
  }

  async #forecast() {
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    const form = this.#form;
    const vnpu = this.#vnpu();
    if (!vnpu || !form.requests.checkValidity() || !form.tokens.checkValidity()) return;
    const load = { phase: form.phase.value, requests: Number(form.requests.value), tokens: Number(form.tokens.value) };
    try {
      const lines = [await this.#line(vnpu, vnpu.cores, this.#cores, load, signal)];
      const other = this.#other();
      if (other) {
        const cores = other.cores + vnpu.cores - this.#cores;
        lines.push(await this.#line(other, other.cores, cores, loadOf(other, this.#store.state.tenants), signal));
      }
      showLines(form.forecast, lines);
      const curve = await this.#whatIf.curve(this.#question(vnpu, load), this.#device().cores, [vnpu.cores, this.#cores], signal);
      drawCurve(curve, vnpu.cores, this.#cores, lines[0].target);
    } catch (problem) {
      if (!signal.aborted) showLines(form.forecast, [{ text: `No forecast: ${problem.sentence ?? problem.message}` }]);
    }
  }

  async #line(vnpu, now, then, load, signal) {
    const question = this.#question(vnpu, load);
    const before = await this.#whatIf.ask(question, now, signal);
    const after = await this.#whatIf.ask(question, then, signal);
    const target = this.#target(vnpu.name, load.phase);
    const what = load.phase === "decode" ? "a decode step" : "the prompts";
    return { name: vnpu.name, what, now, then, before, after, target };
  }

  #question(vnpu, load) {
    return { model: this.#form.model.value, soc: this.#device().soc, parallel: vnpu.devices.length, load };
  }

  #target(name, phase) {
    const service = this.#serviceOf(name);
    return service ? (phase === "decode" ? service.itl_s : service.ttft_s) : null;
  }

  #showValue() {
    const vnpu = this.#vnpu();
    const change = this.#cores - vnpu.cores;
    say(this.#form.value, change ? `${this.#cores} (${change > 0 ? "+" : "−"}${Math.abs(change)})` : String(this.#cores));
    set(this.#form.slider, "aria-valuetext", counted(this.#cores, "core"));
    this.#form.apply.disabled = !change;
  }

  get #cores() {
    return Number(this.#form.slider.value);
  }

  #vnpu() {
    return this.#store.state.vnpus.find(each => each.name === this.#name);
  }

  #other() {
    const name = this.#form.source.value;
    return name === NOBODY ? null : this.#store.state.vnpus.find(each => each.name === name);
  }

  #device() {
    return this.#store.state.devices.find(each => each.index === this.#vnpu().device);
  }

  #free() {
    const { devices } = this.#store.state;
    return Math.min(...this.#vnpu().devices.map(index => devices.find(each => each.index === index).cores_free));
  }

  #most() {
    const vnpu = this.#vnpu();
    if (vnpu.share_percent !== null) return this.#device().cores;
    const other = this.#other();
    return vnpu.cores + (other ? other.cores - 1 : this.#free());
  }

  #serviceOf(name) {
    return this.#store.state.controllers.flatMap(each => each.services).find(each => serves(each, name));
  }

  #service() {
    return this.#serviceOf(this.#name);
  }

  #controller() {
    return this.#store.state.controllers.find(each => each.live && each.moves && each.services.some(one => serves(one, this.#name)));
  }
}

const serves = (service, name) => [...service.prefill, ...service.decode, ...service.engines].includes(name);

const movesWith = (one, other) =>
  one.share_percent === null && other.share_percent === null && String(one.devices) === String(other.devices);

const changedMeanwhile = () => Object.assign(new Error("somebody else has changed it"), { status: 412 });

function showLines(place, lines) {
  keyed(place, lines, line => line.name ?? line.text, () => h("p"), (element, line) => {
    element.replaceChildren(...(line.text ? [line.text] : sentence(line)));
  });
}

function sentence({ name, what, now, then, before, after, target }) {
  const change = after.seconds / before.seconds - 1;
  const holds = target === null ? "" : after.seconds <= target ? `, within the target of ${duration(target)}` : `, over the target of ${duration(target)}`;
  return [
    h("b", {}, `${name}: `),
    `${what} on ${counted(now, "core")} ${duration(before.seconds)}`,
    now === then ? "" : h("b", {}, `, on ${then} ${duration(after.seconds)}`),
    now === then ? "" : ` (${change > 0 ? "+" : "−"}${percent(Math.abs(change))})`,
    `${holds}. `,
    h("span", { class: "soft" }, `Modelled${after.calibrated ? "" : ", not calibrated"}, ± ${percent(after.uncertainty)}.`),
  ];
}

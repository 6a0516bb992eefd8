// SPDX-License-Identifier: Apache-2.0
// The dialog that changes a quota: the forecast before, "applied" after.

import { announce } from "./announce.js";
import { change } from "./change.js";
import { byId, h, say, set } from "./dom.js";
import { counted, duration } from "./format.js";
import { Outlook } from "./outlook.js";
import { makeCurve } from "./quota_chart.js";
import { makeForm } from "./quota_form.js";
import { serviceOf, subject } from "./subject.js";
import { loadOf } from "./what_if.js";

const SETTLE_MS = 150; // after the last move of the slider, the forecast is asked for

// look: reads what has become of a change. Answers {open(name)}.
export function makeQuota(store, look) {
  const form = makeForm();
  const dialog = h("dialog", { class: "wide", "aria-labelledby": "quota-title" }, form.element);
  byId("dialogs").append(dialog);
  let draw = null; // the chart is made when the dialog is first seen: it needs its width
  let current = null;
  const open = name => {
    current = new Opened(name, { store, look, form, dialog, draw: (...curve) => draw(...curve) });
    dialog.showModal();
    draw ??= makeCurve(form.place);
    form.slider.focus();
  };
  store.watch(() => current?.refresh());
  form.element.addEventListener("submit", event => {
    event.preventDefault();
    current?.apply();
  });
  form.close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    current.end();
    current = null;
  });
  for (const field of [form.slider, form.source]) field.addEventListener("input", () => current?.moved());
  for (const field of [form.model, form.phase, form.requests, form.tokens]) field.addEventListener("change", () => current?.forecast());
  return { open };
}

// One opening of the dialog.
class Opened {
  #name;
  #parts;
  #outlook = new Outlook();
  #timer = null;
  #end = new AbortController();
  #touched = false; // the slider is where the reader has put it
  #applying = false;
  #forecastOf = ""; // cores now and then

  constructor(name, parts) {
    this.#name = name;
    this.#parts = parts;
    this.#fill();
    this.refresh();
  }

  end() {
    this.#end.abort();
    this.#outlook.stop();
    clearTimeout(this.#timer);
  }

  // What is said of the vNPU is as it is now, so that a change is of what the reader sees.
  refresh() {
    const { form, dialog } = this.#parts;
    const about = this.#about();
    if (!about) {
      dialog.close();
      return;
    }
    const { vnpu, free, controller } = about;
    say(form.now, `${counted(vnpu.cores, "core")} now, revision ${vnpu.revision}${vnpu.applied ? ", applied" : ", not applied yet"}`);
    say(form.source.firstChild, `cores that nobody is guaranteed (${free})`);
    this.#showSlider(about);
    if (this.#forecastOf !== `${vnpu.cores} ${this.#cores}`) this.forecast();
    form.warning.hidden = !controller;
    if (controller) say(form.warning, `Controller ${controller.name} moves the cores of this vNPU, and will do so again as it sees fit; flexnpu controller --mode pinned holds a split.`);
  }

  // The slider, or where cores come from.
  moved() {
    this.#touched = true;
    this.#showSlider(this.#about());
    this.forecast();
  }

  // Soon, of what is asked for by then.
  forecast() {
    const { form, store, draw } = this.#parts;
    this.#forecastOf = `${this.#about().vnpu.cores} ${this.#cores}`;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (!form.requests.checkValidity() || !form.tokens.checkValidity()) return;
      const load = { phase: form.phase.value, requests: Number(form.requests.value), tokens: Number(form.tokens.value) };
      const asked = { about: this.#about(), cores: this.#cores, load, model: form.model.value, state: store.state };
      this.#outlook.show(form.forecast, draw, asked);
    }, SETTLE_MS);
  }

  async apply() {
    const { form, look } = this.#parts;
    const { vnpu, other } = this.#about();
    this.#tell("Asking the daemon…");
    this.#applying = form.apply.disabled = true;
    try {
      const waits = () => this.#tell("Accepted. A program still runs work that was cut for the older quota; waiting until it has acknowledged the new one…");
      const asked = { vnpu, cores: this.#cores, other, reason: form.reason.value };
      const after = await change(asked, { signal: this.#end.signal, waits });
      const took = after === null ? "" : ` after ${duration(after)}`;
      this.#touched = false;
      this.#tell(`Applied${took}: nothing that was cut for the older quota can be launched any more.`, true);
      announce(`The quota of ${this.#name} is applied${took}`);
    } catch (problem) {
      const again = problem.status === 412 ? " What is shown is read again; apply once more if it still holds." : "";
      this.#tell(`Not changed: ${problem.sentence ?? problem.message}.${again}`, false);
    } finally {
      this.#applying = false;
      await look().catch(() => {});
      if (!this.#end.signal.aborted) this.refresh();
    }
  }

  #fill() {
    const { form, store } = this.#parts;
    const { vnpus, tenants, models, controllers } = store.state;
    const load = loadOf(vnpus.find(each => each.name === this.#name), tenants);
    const option = name => h("option", { value: name }, name);
    say(form.title, `Quota of ${this.#name}`);
    form.source.replaceChildren(option(""), ...this.#about().partners.map(option));
    form.model.replaceChildren(...models.map(({ name }) => option(name)));
    const served = models.find(({ architecture }) => architecture === serviceOf(controllers, this.#name)?.model);
    form.model.value = (served ?? models[0]).name;
    form.phase.value = load.phase;
    form.requests.value = load.requests;
    form.tokens.value = load.tokens;
    say(form.loadSaid, load.seen ? "What its engine's last step was; change it to ask for another load." : "No step of an engine has been seen here; say what load to ask for.");
    form.reason.value = "";
    form.forecast.replaceChildren();
    this.#tell("");
  }

  #showSlider({ vnpu, most }) {
    const { form } = this.#parts;
    set(form.slider, "max", most);
    if (!this.#touched) form.slider.value = vnpu.cores;
    say(form.most, String(most));
    const change = this.#cores - vnpu.cores;
    say(form.value, change ? `${this.#cores} (${change > 0 ? "+" : "−"}${Math.abs(change)})` : String(this.#cores));
    set(form.slider, "aria-valuetext", counted(this.#cores, "core"));
    form.apply.disabled = !change || this.#applying;
  }

  #tell(text, good = null) {
    if (this.#end.signal.aborted) return;
    say(this.#parts.form.result, text);
    set(this.#parts.form.result, "data-good", good === null ? null : String(good));
  }

  get #cores() {
    return Number(this.#parts.form.slider.value);
  }

  #about() {
    const { store, form } = this.#parts;
    return subject(store.state, this.#name, form.source.value);
  }
}

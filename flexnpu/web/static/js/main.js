// SPDX-License-Identifier: Apache-2.0
// Puts the page together: what is known, who keeps it up to date, and who shows it.

import { Activity } from "./activity.js";
import { showConnection } from "./connection.js";
import { makeDecisions } from "./decisions.js";
import { showDevices } from "./devices.js";
import { makeEvents } from "./events.js";
import { Gaps } from "./gaps.js";
import { History } from "./history.js";
import { Live } from "./live.js";
import { makeQuota } from "./quota.js";
import { Rates } from "./rates.js";
import { makeServices } from "./services.js";
import { makeSignIn } from "./signin.js";
import { makeSplit } from "./split.js";
import { Store } from "./store.js";
import { makeVNpus } from "./vnpus.js";

const store = new Store();
const knowledge = { activity: new Activity(), gaps: new Gaps(), history: new History(), rates: new Rates() };
const live = new Live(store, knowledge);

// Opens a decision, and brings the reader to it.
function choose(id) {
  store.setNow({ chosen: id });
  document.getElementById("decision-title").focus();
}

const quota = makeQuota(store, () => live.look());
const showVNpus = makeVNpus(quota.open);

store.watch(showConnection);
store.watch(makeSignIn(() => live.restart()));
store.watch(state => showDevices(state, knowledge.activity));
store.watch(makeServices(knowledge));
store.watch(makeSplit(knowledge.history, choose));
store.watch(makeDecisions(choose));
store.watch(state => showVNpus(state, knowledge.activity));
store.watch(makeEvents());
live.start();

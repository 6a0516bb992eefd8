// SPDX-License-Identifier: Apache-2.0
// Whether the page is up to date, and where it is not, since when.

import { byId, say, set } from "./dom.js";
import { clock } from "./format.js";

const SAID = { connecting: "connecting", live: "live", lost: "connection lost", unknown: "token needed" };

export function showConnection({ connection, version, devices }) {
  const pill = byId("connection");
  set(pill, "data-state", connection.state);
  say(pill, SAID[connection.state]);
  const lost = connection.state === "lost";
  document.body.classList.toggle("lost", lost);
  byId("lost").hidden = !lost;
  say(byId("lost"), lost ? lostFor(connection) : "");
  say(byId("version"), version ? version.version : "");
  showModelled(devices);
}

function lostFor({ since, problem }) {
  const why = problem?.status ? ` (${problem.sentence})` : "";
  const what = since === null ? "Nothing is known yet" : `What is shown is as of ${clock(since)}`;
  return `The daemon does not answer${why}. ${what}; it is asked again until it does.`;
}

function showModelled(devices) {
  const software = devices.filter(device => device.kind === "software");
  const banner = byId("modelled");
  banner.hidden = !software.length;
  if (!software.length) return;
  const scale = software[0].scale ?? 1;
  const paced = software[0].clock === "paced";
  const slowed = scale === 1 ? "" : `; ${scale} wall seconds make one device second`;
  const clockSaid = paced ? "operators take the time that the model of the SoC gives them" : "operators take as long as the CPU does";
  say(
    banner,
    `Software NPU: device time is modelled, not measured on an Ascend NPU (clock ${software[0].clock}: ${clockSaid}${slowed}). ` +
      "Programs, vNPUs, moves of cores and how long they take to be applied are real.",
  );
}

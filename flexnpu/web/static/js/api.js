// SPDX-License-Identifier: Apache-2.0
// Requests to the daemon that this page came from.

import * as clock from "./clock.js";
import * as session from "./session.js";

const MOST_ITEMS = 500;

// What the daemon answered instead (RFC 9457). status 0: it did not answer.
export class Problem extends Error {
  constructor(status, fields = {}) {
    super(fields.detail ?? (status ? `the daemon answered ${status}` : "the daemon does not answer"));
    this.status = status;
    this.code = fields.code ?? "";
    this.nextStep = fields.next_step ?? "";
  }

  get sentence() {
    return this.nextStep ? `${this.message}; ${this.nextStep}` : this.message;
  }
}

// The raw answer; a Problem where it is none of 2xx.
export async function send(method, path, { body, headers = {}, signal } = {}) {
  const known = session.token();
  const sent = { ...headers, ...(known && { Authorization: `Bearer ${known}` }) };
  if (body !== undefined) sent["Content-Type"] ??= "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0);
  }
  clock.hear(answer.headers.get("Date"));
  if (answer.ok) return answer;
  throw new Problem(answer.status, await answer.json().catch(() => ({})));
}

export async function get(path, options) {
  return (await send("GET", path, options)).json();
}

export async function post(path, body, options = {}) {
  return (await send("POST", path, { ...options, body })).json();
}

// All items of a list.
export async function list(path) {
  const items = [];
  let cursor = null;
  do {
    const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page = await get(`${path}?limit=${MOST_ITEMS}${after}`);
    items.push(...page.items);
    cursor = page.next_cursor ?? null;
  } while (cursor !== null);
  return items;
}

// A quota change of that revision; answers when it is applied, or after two seconds.
export async function changeQuota(name, revision, fields, reason) {
  const path = `/api/v1/vnpus/${encodeURIComponent(name)}/quota?wait=2s`;
  const headers = { "If-Match": `"${revision}"`, "Content-Type": "application/merge-patch+json", ...because(reason) };
  return (await send("PATCH", path, { body: fields, headers })).json();
}

// Moves of one transaction; answers when all are applied, or after two seconds.
export function rebalance(moves, reason) {
  const headers = { "Idempotency-Key": key(), ...because(reason) };
  return post("/api/v1/rebalances?wait=2s", { moves }, { headers });
}

export const tryRebalance = moves => post("/api/v1/rebalances?dry_run=true", { moves });

// What became of a change, once it is applied or after two more seconds.
export const operation = id => get(`/api/v1/operations/${encodeURIComponent(id)}?wait=2s`);

function because(reason) {
  const text = reason.replace(/[^\x20-\x7e]/g, "?").trim();
  return text ? { "X-Reason": text } : {};
}

// crypto.randomUUID is there on secure origins alone, and a listener may be told to do without TLS.
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

// SPDX-License-Identifier: Apache-2.0
// Server-sent events. Not EventSource, which can send no token and tells nothing of why it failed.

import { send } from "./api.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;

// The messages of a stream as {id, event, data}; null for a sign of life. Ends when the stream does.
// silent_ms: a stream that says nothing for so long is taken for dead.
async function* messages(path, { headers, signal, silentMs }) {
  const silence = new AbortController();
  const both = AbortSignal.any([signal, silence.signal]);
  let timer = setTimeout(() => silence.abort(), silentMs);
  try {
    const answer = await send("GET", path, { headers, signal: both });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), silentMs);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield parse(part);
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

export function parse(text) {
  const message = { id: null, event: "message", data: [] };
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const field = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") message.data.push(value);
    else if (field === "id" || field === "event") message[field] = value;
  }
  return message.data.length ? { ...message, data: JSON.parse(message.data.join("\n")) } : null;
}

// Follows a stream until `signal` is aborted or the daemon does not know who asks, and takes it up again after the message
// that was read last.
// told.open(), told.message(message), told.lost(problem): problem is what ended it, or null.
export async function follow(path, { signal, silentMs, told }) {
  let last = null;
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    let problem = null;
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      let open = false;
      for await (const message of messages(path, { headers, signal, silentMs })) {
        if (!open) told.open();
        open = true;
        wait = FIRST_WAIT_MS;
        if (message === null) continue;
        last = message.id ?? last;
        told.message(message);
      }
    } catch (error) {
      problem = error;
    }
    if (signal.aborted) return;
    told.lost(problem);
    if (problem?.status === 401) return; // asking again brings nothing new
    await new Promise(done => setTimeout(done, wait * (0.75 + Math.random() / 2)));
    wait = Math.min(LONGEST_WAIT_MS, wait * 2);
  }
}

// SPDX-License-Identifier: Apache-2.0
// Asks for a token where the daemon does not know who asks.

import { byId, h, say } from "./dom.js";
import * as session from "./session.js";

export function makeSignIn(retry) {
  const field = h("input", { type: "password", id: "token-field", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help token-wrong" });
  const wrong = h("p", { id: "token-wrong", class: "bad", role: "alert" });
  const form = h(
    "form",
    {},
    h("h2", { id: "signin-title" }, "Who asks?"),
    h("label", { for: "token-field" }, "Token"),
    field,
    h("p", { id: "token-help", class: "soft" }, "One that ", h("code", {}, "flexnpu token NAME --scope write"), " has made. It stays in this tab, until the tab is closed."),
    wrong,
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Use it")),
  );
  const dialog = h("dialog", { "aria-labelledby": "signin-title" }, form);
  byId("dialogs").append(dialog);

  form.addEventListener("submit", event => {
    event.preventDefault();
    session.keep(field.value.trim());
    field.value = "";
    dialog.close();
    retry();
  });
  byId("token").addEventListener("click", () => {
    session.forget();
    location.reload(); // what it has let the reader see is gone too
  });
  return ({ connection }) => {
    byId("token").hidden = session.token() === null;
    if (connection.state !== "unknown" || dialog.open) return;
    say(wrong, session.token() === null ? "" : "The daemon does not know that token (any more).");
    session.forget();
    dialog.showModal();
    field.focus();
  };
}

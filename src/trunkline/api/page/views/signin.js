// Asks people in: by the link that the server printed, or by a token.

import { post } from "/page/api.js";
import { h, show } from "/page/dom.js";

export function signIn(main, used, done) {
  const wrong = h("p", { class: "failed", role: "alert" });
  const token = h("input", { id: "token", type: "password", autocomplete: "off", required: true, "aria-describedby": "token-help" });
  const form = h("form", {
    class: "card narrow",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      try {
        await post("/api/v1/session", { token: token.value });
        done();
      } catch (error) {
        wrong.textContent = error.message;
        token.focus();
      }
    },
  },
  h("label", { for: "token" }, "Token"), token,
  h("p", { class: "muted", id: "token-help" }, "Operators' systems and people have tokens in the settings file."),
  wrong, h("button", { type: "submit", class: "strong" }, "Sign in"));
  show(main,
    h("h1", { tabindex: "-1" }, "Sign in"),
    used ? h("p", { class: "empty failed", role: "alert" }, "This sign-in link was used before or is too old. A link works once.") : null,
    h("p", {}, "Open the sign-in link that ", h("code", {}, "trunkline run"), " printed when it started, or ask an administrator for a new one. With a token you can sign in here:"),
    form);
  token.focus();
}

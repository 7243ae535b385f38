// Calls that are told in parts and not over, of all accounts. They are read out of the accounts when asked for, not as they
// move, so the view says of when it is.

import { get, query } from "/page/api.js";
import { failure, h, heading, show, table } from "/page/dom.js";
import { age, count, iso, moneyColumn, quantity, words } from "/page/format.js";
import { person } from "/page/views/person.js";

const PAGE = 50;
const NONE = "No call is under way. A call stands here while a switch tells it in several records: from its first part until the last one and all before it have come.";
const NO_GAP = "No part is missing: of every call under way all parts before its newest have come.";
const NOT_HERE = "None among the accounts that were read. There are more: go further.";

export function calls(main, session) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const told = h("span", { class: "muted", role: "status" }), old = h("span", { class: "muted" });
  const missing = h("input", { id: "calls-missing", type: "checkbox", onchange: () => begin() });
  const again = h("button", { type: "button", onclick: () => load() }, "Look again");
  const first = h("button", { type: "button", onclick: () => begin() }, "From the beginning");
  const further = h("button", { type: "button", onclick: () => { after = next; load(); } }, "Further");
  let after = null, next = null, readAt = 0, asked = 0;
  show(main,
    heading("Calls", h("p", { class: "muted" }, "Under way and told in parts: what came of each until now and was charged, and which parts a switch still owes.")),
    h("section", { class: "card flow", "aria-label": "Calls under way" },
      h("div", { class: "find" }, missing, h("label", { for: "calls-missing" }, "Only those that miss a part"), again, old),
      list, h("div", { class: "pager" }, told, first, further)));

  function begin() {
    after = null;
    load();
  }

  async function load() {
    const mine = ++asked;
    try {
      const said = await get(`/api/v1/calls${query({ limit: PAGE, after: after || "", missing: missing.checked ? "true" : "" })}`);
      if (mine !== asked) return;
      next = said.next;
      readAt = Date.now();
      draw(said);
    } catch (error) {
      if (mine === asked) show(list, failure(error, load));
    }
    tick();
  }

  function draw(said) {
    const charged = moneyColumn(said.items.map((row) => row.charged_micros));
    const empty = said.next ? NOT_HERE : missing.checked ? NO_GAP : NONE;
    show(list, table("Calls under way", [
      { name: "Subscriber", cell: (row) => person(session, row.subscriber) },
      { name: "Kind", cell: (row) => words(row.kind) },
      { name: "Since (UTC)", cell: (row) => iso(row.begun) },
      { name: "Known until (UTC)", cell: (row) => iso(row.ended) },
      { name: "Used", number: true, cell: (row) => quantity(row.used, row.unit, said.currency) },
      { name: `Charged (${said.currency})`, number: true, cell: (row) => charged(row.charged_micros) },
      { name: "Parts", number: true, cell: (row) => (row.parts ? count(row.parts) : "counters") },
      { name: "Missing", wrap: true, cell: (row) => (row.missing.length ? h("span", { class: "failed" }, `part ${row.missing.join(", ")}`) : "–") },
    ], said.items, empty, { rowHeads: true }));
    told.textContent = `${count(said.items.length)} ${said.items.length === 1 ? "call" : "calls"}${said.next ? ", there are more accounts" : ""}`;
    // Whoever pressed a button that goes is left at the one that stays.
    const pressed = document.activeElement;
    first.hidden = !after;
    further.hidden = !said.next;
    if (pressed.hidden) (pressed === first ? further : first).focus();
  }

  function tick() {
    old.textContent = readAt ? `Read ${age((Date.now() - readAt) / 1000)} ago` : "";
  }

  const timer = setInterval(tick, 1000);
  begin();
  return () => { clearInterval(timer); asked += 1; };
}

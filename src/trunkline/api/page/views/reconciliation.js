// The books recomputed from the raw records, and every difference by its cause.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, moment, money, sentence } from "/page/format.js";
import { live } from "/page/live.js";

export function reconciliation(main, session) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const state = h("p", { class: "muted", "aria-live": "polite" });
  let timer = 0, ended = false, wasRunning = false;
  const button = session.may("reconcile") ? h("button", { type: "button", class: "strong", onclick: begin }, "Reconcile now") : null;
  show(main, heading("Reconciliation", h("p", { class: "muted" }, "Everything is recomputed from the raw records, by code that shares nothing with the stream, and compared to the micro-unit."), button), state, list);

  async function begin() {
    try {
      await post("/api/v1/reconciliations");
      wasRunning = true;
      await load();
    } catch (error) {
      say(error.message, true);
    }
  }

  async function load() {
    clearTimeout(timer);
    try {
      const said = await get("/api/v1/reconciliations?limit=20");
      if (ended) return;
      state.textContent = said.running ? "Under way. It reads every raw record and may take minutes; you may leave this view." : "";
      if (button) button.disabled = said.running;
      if (wasRunning && !said.running) say("The reconciliation is done.");
      wasRunning = said.running;
      draw(said.items);
      timer = setTimeout(load, said.running ? 1000 : 10000);
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  function draw(items) {
    if (items.length === 0) {
      show(list, h("p", { class: "empty" }, "No reconciliation yet. Start one here, or run `trunkline reconcile`."));
      return;
    }
    show(list, result(items[0]), items.length > 1 ? h("section", { class: "card", "aria-label": "Earlier" }, h("h2", {}, "Earlier"), table("Earlier reconciliations", [
      { name: "When (UTC)", cell: when },
      { name: "Records", number: true, cell: (row) => count(row.records ?? 0) },
      { name: "Differences", number: true, cell: (row) => count(row.differences ?? 0) },
      { name: "Money", number: true, cell: (row) => money(row.difference_micros ?? 0, currency()) },
    ], items.slice(1), "None.")) : null);
  }

  load();
  return () => { ended = true; clearTimeout(timer); };
}

const currency = () => (live.sample ? live.sample.accounting.currency : "");

function when(row) {
  const us = row.time_us ?? row.started_us ?? row.finished_us;
  return us ? moment(us) : "–";
}

function result(row) {
  const good = row.differences === 0;
  return h("section", { class: "card", "aria-labelledby": "result-title" },
    h("h2", { id: "result-title" }, `Last result, ${when(row)} UTC`),
    h("p", { class: "equation" },
      h("span", { class: "term" }, h("strong", {}, count(row.records ?? 0)), h("span", {}, "records")),
      row.accounts !== undefined ? h("span", { class: "term" }, h("strong", {}, count(row.accounts)), h("span", {}, "accounts")) : null,
      h("span", { class: "term" }, h("strong", {}, count(row.differences ?? 0)), h("span", {}, "differences")),
      h("span", { class: "term" }, h("strong", {}, money(row.difference_micros ?? 0, currency())), h("span", {}, "difference")),
      good ? h("span", { class: "verdict good" }, "✓ the books agree") : h("span", { class: "verdict bad" }, "✕ the books differ: see the causes")),
    causes(row));
}

function causes(row) {
  const said = row.causes || row.by_cause || {};
  const rows = Object.entries(said).map(([cause, value]) => (typeof value === "object" && value ? { cause, ...value } : { cause, count: value }));
  if (row.accounts !== undefined) rows.push({ cause: "balances of accounts", count: row.account_differences, difference_micros: row.account_difference_micros });
  return table("Differences by cause", [
    { name: "Cause", cell: (each) => sentence(String(each.cause)) },
    { name: "Differences", number: true, cell: (each) => count(each.count ?? each.records ?? each.differences ?? 0) },
    { name: "Money", number: true, cell: (each) => (each.micros ?? each.difference_micros) === undefined ? "–" : money(each.micros ?? each.difference_micros, currency()) },
  ], rows, "No causes were told.", { rowHeads: true });
}

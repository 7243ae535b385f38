// Re-rating: what a corrected tariff or contract changes of a period, looked at first and booked by a second hand.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, iso, money, moneyColumn } from "/page/format.js";

export function rerating(main, session, chosen) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const place = h("div", { class: "flow" });
  let ended = false;
  show(main, heading("Re-rating", h("p", { class: "muted" }, "A period is charged once more under the tariff and the contracts as they are now. Nothing is booked before you say so.")),
    h("div", { class: "split" }, h("div", {}, form(), h("section", { class: "card", "aria-labelledby": "previews-title" }, h("h2", { id: "previews-title" }, "Previews"), list)), place));

  async function load() {
    try {
      const said = await get("/api/v1/rerates?limit=50");
      if (ended) return;
      show(list, table("Previews", [
        { name: "When (UTC)", cell: (row) => h("a", { href: `#/rerating/${row.rerate_id}`, "aria-current": row.rerate_id === chosen ? "true" : null }, iso(row.made)) },
        { name: "Days", cell: days },
        { name: "State", cell: (row) => row.state },
        { name: "Difference", number: true, cell: (row) => signed(row.difference_micros, row.currency) },
      ], said.items, "No preview yet. Make one here, or run trunkline rerate preview."));
      if (!chosen) show(place, h("p", { class: "empty" }, said.items.length ? "Choose a preview to see it." : "The preview is shown here."));
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  async function one() {
    show(place, h("p", { class: "loading" }, "Loading…"));
    try {
      const found = await get(`/api/v1/rerates/${encodeURIComponent(chosen)}`);
      if (!ended) show(place, summary(found, book), plans(found), accounts(found));
    } catch (error) {
      show(place, failure(error, one));
    }
  }

  async function book(found) {
    if (!confirm(`Correct ${count(found.records_differing)} records of ${count(found.accounts_differing)} accounts by ${signed(found.difference_micros, found.currency)}? It is booked in the ledger.`)) return;
    try {
      const done = await post(`/api/v1/rerates/${found.rerate_id}/bookings`, {});
      say(done.moved ? `${count(done.booked)} accounts are booked; ${count(done.moved)} moved since the preview and stay as they are. Make a new preview for them.` : `${count(done.booked)} accounts are booked.`, done.moved > 0);
      await Promise.all([load(), one()]);
    } catch (error) {
      say(error.message, true);
    }
  }

  load();
  if (chosen) one();
  return () => { ended = true; };
}

function form() {
  const first = h("input", { id: "rerate-from", type: "date", required: true }), last = h("input", { id: "rerate-to", type: "date", required: true });
  const plan = h("input", { id: "rerate-plan", autocomplete: "off" });
  const wrong = h("p", { class: "failed", role: "alert" });
  const button = h("button", { type: "submit", class: "strong" }, "Preview");
  return h("section", { class: "card", "aria-labelledby": "rerate-title" }, h("h2", { id: "rerate-title" }, "A period"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "Under way. It reads every raw record and may take minutes.";
      button.disabled = true;
      try {
        const made = await post("/api/v1/rerates", { from: first.value, to: last.value, plan: plan.value.trim() || null });
        wrong.textContent = "";
        location.hash = `#/rerating/${made.rerate_id}`;
      } catch (error) {
        wrong.textContent = error.message;
      } finally {
        button.disabled = false;
      }
    },
  }, h("div", {}, h("label", { for: "rerate-from" }, "First day (UTC)"), first),
  h("div", {}, h("label", { for: "rerate-to" }, "Last day (UTC)"), last),
  h("div", {}, h("label", { for: "rerate-plan" }, "Plan; empty: all"), plan), wrong, button));
}

const days = (row) => `${row.from.slice(0, 10)} to ${new Date(Date.parse(row.until) - 1).toISOString().slice(0, 10)}`;
const signed = (micros, currency = "") => (micros > 0 ? "+" : "") + money(micros, currency);

function summary(found, book) {
  const term = (figure, name) => h("span", { class: "term" }, h("strong", {}, figure), h("span", {}, name));
  const waits = found.state === "preview" || found.state === "partly booked";
  const left = Object.values(found.left_out).reduce((sum, each) => sum + each, 0);
  return h("section", { class: "card", "aria-labelledby": "rerated-title" }, h("h2", { id: "rerated-title" }, `${days(found)}: ${found.state}`),
    h("p", { class: "equation" }, term(count(found.records_differing), `of ${count(found.records)} records`), term(count(found.accounts_differing), `of ${count(found.accounts)} accounts`), term(signed(found.difference_micros, found.currency), "difference")),
    h("p", {}, `${signed(found.more_micros)} more is taken, ${signed(found.less_micros)} is given back; ${count(found.accounts_booked)} accounts are booked (${signed(found.booked_micros)}).`),
    left ? h("p", { class: "failed" }, `${count(left)} accounts are left out: ${count(found.left_out.raw_gone)} have lost raw records, ${count(found.left_out.not_priced)} used what the tariff has no price for, ${count(found.left_out.other_periods)} have other periods since their time zone was corrected.`) : null,
    found.draft ? h("p", { class: "muted" }, "Made with a tariff that was not in force then: it is booked only when that tariff is in force.") : null,
    h("p", {}, h("a", { href: `/api/v1/rerates/${found.rerate_id}/records`, download: `rerate-${found.rerate_id}.csv` }, "Every record as CSV")),
    waits ? h("button", { type: "button", class: "strong", onclick: () => book(found) }, "Book it") : null);
}

function plans(found) {
  const more = moneyColumn(found.by_plan.map((row) => row.more_micros)), less = moneyColumn(found.by_plan.map((row) => row.less_micros));
  return h("section", { class: "card", "aria-labelledby": "plans-title" }, h("h2", { id: "plans-title" }, "By plan"),
    table("By plan", [
      { name: "Plan", cell: (row) => row.plan || "–" },
      { name: "Records", number: true, cell: (row) => count(row.records) },
      { name: "Accounts", number: true, cell: (row) => count(row.accounts) },
      { name: `More (${found.currency})`, number: true, cell: (row) => more(row.more_micros) },
      { name: `Less (${found.currency})`, number: true, cell: (row) => less(row.less_micros) },
    ], found.by_plan, "Nothing differs.", { rowHeads: true }));
}

function accounts(found) {
  if (found.top.length === 0) return null;
  const between = moneyColumn(found.top.map((row) => row.difference_micros));
  return h("section", { class: "card", "aria-labelledby": "top-title" }, h("h2", { id: "top-title" }, "Who is corrected most"),
    table("Who is corrected most", [
      { name: "Subscriber", cell: (row) => row.subscriber },
      { name: "Records", number: true, cell: (row) => count(row.records) },
      { name: `Difference (${found.currency})`, number: true, cell: (row) => between(row.difference_micros) },
    ], found.top, "None.", { rowHeads: true }));
}

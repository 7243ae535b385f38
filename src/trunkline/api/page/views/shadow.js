// Shadow run: another system's charges beside ours, by cause, day, price and bill, and the gate before it is switched off.

import { get } from "/page/api.js";
import { bars } from "/page/bars.js";
import { failure, h, heading, show, table } from "/page/dom.js";
import { count, moment, money, moneyColumn, sentence, words } from "/page/format.js";

export function shadow(main, session, chosen) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…")), place = h("div", { class: "flow" });
  let ended = false, chart = null;
  show(main, heading("Shadow run", h("p", { class: "muted" }, "What another system charged, held record by record against what is charged here. ", h("code", {}, "trunkline shadow compare"), " makes a comparison.")),
    h("div", { class: "split" }, h("section", { class: "card", "aria-labelledby": "comparisons-title" }, h("h2", { id: "comparisons-title" }, "Comparisons"), list), place));

  async function load() {
    try {
      const said = await get("/api/v1/shadows?limit=50");
      if (ended) return;
      show(list, table("Comparisons", [
        { name: "When (UTC)", cell: (row) => h("a", { href: `#/shadow/${row.id}`, "aria-current": row.id === chosen ? "true" : null }, moment(row.time_us)) },
        { name: "Equal", number: true, cell: (row) => share(row.gate.equal_millionths) },
        { name: "Gate", cell: (row) => (row.gate.passes ? "✓ passed" : "✕ not passed") },
      ], said.items, "No comparison yet. Run trunkline shadow compare with the other system's rated file."));
      if (!chosen) show(place, h("p", { class: "empty" }, said.items.length ? "Choose a comparison to see it." : "A comparison is shown here."));
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  async function one() {
    show(place, h("p", { class: "loading" }, "Loading…"));
    try {
      const answer = await get(`/api/v1/shadows/${encodeURIComponent(chosen)}`);
      if (ended) return;
      if (chart) chart.end();
      const last = answer.days.length - 1;
      chart = bars("Money apart by day", answer.days.map((row) => row.absolute_micros / 1e6), last, [[0, day(answer.days[0])], ...(last > 0 ? [[last, day(answer.days[last])]] : [])]);
      show(place, summary(answer), trend(answer, chart.element),
        section(answer, "By cause", [{ name: "Cause", cell: (row) => sentence(row.cause) }, { name: "Detail", cell: (row) => words(row.detail) || "–" }], answer.causes, "Both systems charge the same."),
        section(answer, "Other prices", [{ name: "Plan", cell: (row) => words(row.plan) }, { name: "Destination", cell: (row) => words(row.destination) }], answer.lines, "No price differs."),
        section(answer, "Bills that differ most", [{ name: "Subscriber", cell: (row) => h("a", { href: `#/subscriber/${row.subscriber.ref}` }, row.subscriber.number) }, { name: "Month", cell: (row) => row.period }], answer.bills_most, "Every bill is equal."));
    } catch (error) {
      show(place, failure(error, one));
    }
  }

  load();
  if (chosen) one();
  return () => { ended = true; if (chart) chart.end(); };
}

const share = (millionths) => `${(millionths / 1e4).toFixed(4)} %`;
const day = (row) => moment(row.day_us).slice(0, 10);

function summary(answer) {
  const gate = answer.gate, counts = answer.counts;
  const term = (figure, name) => h("span", { class: "term" }, h("strong", {}, figure), h("span", {}, name));
  return h("section", { class: "card", "aria-labelledby": "shadow-title" }, h("h2", { id: "shadow-title" }, answer.file),
    h("p", { class: "equation" },
      ["equal", "differing", "missing_here", "missing_there", "duplicate_there"].map((name) => term(count(counts[name]), words(name))),
      h("span", { class: gate.passes ? "verdict good" : "verdict bad" }, gate.passes ? "✓ the gate is passed" : "✕ the gate is not passed")),
    h("p", {}, `${share(gate.equal_millionths)} of records are equal (at least ${share(gate.equal_least_millionths)}); ${(gate.money_millionths / 1e3).toFixed(3)} ‰ of money is apart (at most ${(gate.money_most_millionths / 1e3).toFixed(3)} ‰). `
      + `Here ${money(answer.money.here_micros, answer.currency)}, there ${money(answer.money.there_micros, answer.currency)}. ${count(answer.bills.equal)} of ${count(answer.bills.compared)} bills are equal.`),
    Object.entries(answer.unreadable).map(([reason, rows]) => h("p", { class: "failed" }, `${count(rows)} rows of the file could not be read: ${words(reason)}.`)),
    h("p", {}, h("a", { href: `/api/v1/shadows/${answer.id}/file`, download: `shadow-${answer.id}.csv` }, "As CSV")));
}

function trend(answer, chart) {
  const apart = moneyColumn(answer.days.map((row) => row.absolute_micros));
  return h("section", { class: "card", "aria-labelledby": "trend-title" }, h("h2", { id: "trend-title" }, `Money apart by day (${answer.currency})`),
    h("figure", {}, chart),
    table("Trend by day", [
      { name: "Day (UTC)", cell: day },
      { name: "Records", number: true, cell: (row) => count(row.records) },
      { name: "Equal", number: true, cell: (row) => share(Math.floor((row.equal * 1e6) / row.records)) },
      { name: `Apart (${answer.currency})`, number: true, cell: (row) => apart(row.absolute_micros) },
    ], answer.days, "None.", { rowHeads: true }));
}

function section(answer, title, columns, rows, empty) {
  const amounts = ["here", "there", "difference"].map((name) => {
    const shown = moneyColumn(rows.map((row) => row[`${name}_micros`]));
    return { name: `${sentence(name)} (${answer.currency})`, number: true, cell: (row) => shown(row[`${name}_micros`]) };
  });
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title),
    table(title, [...columns, { name: "Records", number: true, cell: (row) => count(row.records) }, ...amounts], rows, empty));
}

// How the platform is doing, at one glance and then in detail.

import { chart } from "/page/chart.js";
import { h, heading, show, showCalmly, table } from "/page/dom.js";
import { age, count, money, moneyColumn, moneyRate, percent, quantity, rate, time, words } from "/page/format.js";
import { listen, live } from "/page/live.js";
import { alertRow } from "/page/views/alerts.js";
import { person } from "/page/views/person.js";

export function overview(main, session) {
  const figures = h("dl", { class: "figures", "aria-label": "Now" });
  const line = h("section", { class: "card", "aria-labelledby": "accounting-title" });
  const sources = h("div"), usage = h("div"), newest = h("div");
  const holder = h("div");
  let drawing = null;

  show(main,
    heading("Overview"),
    figures,
    h("section", { class: "card", "aria-label": "Rates" }, holder),
    line,
    h("div", { class: "pair" },
      h("section", { class: "card", "aria-labelledby": "usage-title" }, h("h2", { id: "usage-title" }, "Newest usage"), usage),
      h("section", { class: "card", "aria-labelledby": "newest-title" }, h("h2", { id: "newest-title" }, "Newest alerts"), newest)));
  show(figures, h("p", { class: "loading" }, "Waiting for the first sample…"));
  show(usage, h("p", { class: "loading" }, "Waiting…"));

  function draw(sample) {
    const { currency } = sample.accounting;
    if (!drawing) {
      drawing = chart(currency);
      show(holder, drawing.element);
    }
    drawing.draw(live.history);
    show(figures, now(sample, currency));
    show(line, h("h2", { id: "accounting-title" }, "Accounting"), equation(sample.accounting), sources);
    show(sources, bySource(sample.accounting));
    if (sample.usage) showCalmly(usage, newestUsage(sample, session));
    showCalmly(newest, table("Newest alerts", alertRow(session, true), sample.alerts.slice(0, 8), "No alerts yet. Thresholds are set in the tariff's balances and counters."));
  }

  const end = listen((what, value) => { if (what === "sample") draw(value); });
  if (live.sample) draw(live.sample);
  return () => { end(); if (drawing) drawing.end(); };
}

function now(sample, currency) {
  const newest = sample.status.newest_us;
  const seconds = newest ? (sample.time_us - newest) / 1e6 : null;
  return [
    figure("Records", rate(sample.records_per_s), "/ s"),
    figure("Money", moneyRate(sample.money_micros_per_s), `${currency} / s`),
    figure("Charged in all", money(sample.accounting.total.charged_micros).replace(/(\.\d\d)\d*$/, "$1"), currency),
    figure("Newest usage began", seconds === null ? "–" : age(seconds), seconds === null ? "none yet" : seconds < -1 ? "of our clock" : "ago", committed(sample)),
  ];
}

function committed(sample) {
  const us = sample.status.committed_us;
  return us ? `last commit ${age(Math.max(0, (sample.time_us - us) / 1e6))} ago` : "nothing committed yet";
}

function figure(name, value, unit, more = "") {
  return h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, value), " ", h("span", { class: "muted" }, unit), more ? h("div", { class: "muted small" }, more) : null));
}

// received = rated + duplicate + rejected + held, with the check that it is so.
function equation(accounting) {
  const { total, balanced } = accounting;
  const missing = total.received - total.rated - total.duplicate - total.rejected - total.held;
  const part = (name, sign) => [
    sign ? h("span", { class: "sign", "aria-hidden": "true" }, sign) : null,
    h("span", { class: "term" }, h("strong", {}, count(total[name])), h("span", {}, name)),
  ];
  return h("p", { class: "equation", id: "equation" },
    part("received"), part("rated", "="), part("duplicate", "+"), part("rejected", "+"), part("held", "+"),
    balanced
      ? h("span", { class: "verdict good" }, "✓ adds up")
      : h("span", { class: "verdict bad" }, `✕ ${count(Math.abs(missing))} unaccounted for: call the engineer on duty`));
}

function bySource(accounting) {
  const charged = moneyColumn(accounting.sources.map((row) => row.charged_micros));
  return table("Accounting by source", [
    { name: "Source", cell: (row) => row.source },
    { name: "Received", number: true, cell: (row) => count(row.received) },
    { name: "Rated", number: true, cell: (row) => count(row.rated) },
    { name: "Duplicate", number: true, cell: (row) => count(row.duplicate) },
    { name: "Rejected", number: true, cell: (row) => count(row.rejected) },
    { name: "Held", number: true, cell: (row) => count(row.held) },
    { name: "Rejected share", number: true, cell: (row) => percent(row.rejected, row.received) },
    { name: `Charged (${accounting.currency})`, number: true, cell: (row) => charged(row.charged_micros) },
  ], accounting.sources, "Nothing received yet. Put a file into the watched folder, or POST to /api/v1/events.", { rowHeads: true });
}

function newestUsage(sample, session) {
  const { currency } = sample.accounting;
  const charged = moneyColumn(sample.usage.map((row) => row.charged_micros));
  return table("Newest usage", [
    { name: "Began (UTC)", cell: (row) => time(row.start_us) },
    { name: "Kind", cell: (row) => row.kind },
    { name: "Subscriber", cell: (row) => person(session, row.subscriber) },
    { name: "To", cell: (row) => words(row.destination || row.service || "–") },
    { name: "Used", number: true, cell: (row) => quantity(row.units, row.unit) },
    { name: `Charged (${currency})`, number: true, cell: (row) => charged(row.charged_micros) },
  ], sample.usage, "No usage charged yet.");
}

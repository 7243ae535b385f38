// Thresholds that were crossed, as they are crossed.

import { get } from "/page/api.js";
import { failure, h, heading, show, showCalmly, table } from "/page/dom.js";
import { moment, money, sentence, time, words } from "/page/format.js";
import { listen, live } from "/page/live.js";
import { deliveries } from "/page/views/deliveries.js";
import { person } from "/page/views/person.js";

const KEPT = 500;

export function alerts(main, session) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const rows = new Map();
  let behind = false;
  show(main, heading("Alerts", h("p", { class: "muted" }, "Newest first; new ones appear by themselves. Each crossing is told once, and so is each incident that hits a customer.")),
    h("section", { class: "card", "aria-label": "Delivery" }, deliveries(session)),
    h("section", { class: "card", "aria-label": "Alerts" }, legend(), list));

  function draw() {
    const newest = [...rows.values()].sort((a, b) => b.number - a.number).slice(0, KEPT);
    return showCalmly(list, table("Alerts, newest first", alertRow(session, false), newest, "No alerts yet. They appear here when an allowance, a low balance or a spend cap is crossed, or an incident hits customers."));
  }
  async function load() {
    try {
      const last = live.sample && live.sample.alerts.length ? live.sample.alerts[0].number : 0;
      const said = await get(`/api/v1/alerts?limit=${KEPT}&after=${Math.max(0, last - KEPT)}`);
      for (const row of said.items) rows.set(row.number, row);
      draw();
    } catch (error) {
      show(list, failure(error, load));
    }
  }
  const end = listen((what, value) => {
    if (what !== "sample") return;
    const known = rows.size;
    for (const row of value.alerts) rows.set(row.number, row);
    if (rows.size !== known || behind) behind = !draw();
  });
  load();
  return end;
}

function legend() {
  return h("p", { class: "legend" }, ["critical", "warning", "info"].map((name) => [severity(name), h("span", {}, name)]));
}

export function severity(name) {
  return h("span", { class: `severity ${name}`, title: name }, name.charAt(0).toUpperCase(), h("span", { class: "unseen" }, name.slice(1)));
}

export function alertRow(session, short) {
  return [
    { name: "Severity", unseen: short, cell: (row) => severity(row.severity) },
    { name: short ? "Time (UTC)" : "Usage or incident began (UTC)", cell: (row) => (short ? time(row.time_us) : moment(row.time_us)) },
    { name: "Subscriber", cell: (row) => person(session, row.subscriber) },
    { name: "What", wrap: true, cell: what },
  ];
}

const SERVICE = {
  service_issue: () => ["Service trouble where they were lately: ", "incident"],
  service_restored: (row) => [`Service is back after ${row.value} min: `, "incident"],
  service_goes_on: (row) => [`Over after ${row.value} min, while another goes on: `, "incident"],
};

function what(row) {
  if (SERVICE[row.kind]) {
    const [said, name] = SERVICE[row.kind](row);
    return [said, h("a", { href: `#/network/incident/${encodeURIComponent(row.balance)}` }, name)];
  }
  const name = words(row.balance);
  if (row.kind === "low_balance") return `${sentence(row.balance)} below ${money(row.threshold, row.currency)}, now ${money(row.value, row.currency)}`;
  if (row.kind === "spend_cap") return `${row.threshold} % of the cap ${name}, now ${money(row.value, row.currency)}`;
  return `${row.threshold} % of ${name} used`;
}

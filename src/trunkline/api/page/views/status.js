// How the machinery is: the workers of a cluster by their own last words, or what one process keeps.

import { get } from "/page/api.js";
import { failure, h, heading, show, showCalmly, table } from "/page/dom.js";
import { age, count, octets, rate } from "/page/format.js";

const EVERY_MS = 2000;

export function status(main) {
  const figures = h("dl", { class: "figures", "aria-label": "Now" });
  const workers = h("div"), waiting = h("div"), kept = h("div");
  let timer = 0, ended = false;
  show(main,
    heading("Status", h("p", { class: "muted" }, "What carries the records, how far behind it is, and what it keeps. The same figures stand in /metrics and in “trunkline status”.")),
    figures,
    h("section", { class: "card", "aria-labelledby": "workers-title" }, h("h2", { id: "workers-title" }, "Workers"), workers),
    h("div", { class: "pair" },
      h("section", { class: "card", "aria-labelledby": "waiting-title" }, h("h2", { id: "waiting-title" }, "Waiting, by partition"), waiting),
      h("section", { class: "card", "aria-labelledby": "kept-title" }, h("h2", { id: "kept-title" }, "Kept"), kept)));
  show(workers, h("p", { class: "loading" }, "Loading…"));

  async function load() {
    clearTimeout(timer);
    try {
      const [told, said] = await Promise.all([get("/api/v1/workers"), get("/api/v1/status")]);
      if (ended) return;
      show(figures, now(told.items, said.status));
      showCalmly(workers, workersTable(told.items));
      showCalmly(waiting, waitingTable(told.items));
      showCalmly(kept, keptTable(said.status));
    } catch (error) {
      if (ended) return;
      show(workers, failure(error, load));
    }
    timer = setTimeout(load, EVERY_MS);
  }

  load();
  return () => { ended = true; clearTimeout(timer); };
}

function now(items, said) {
  // What a silent worker had may long be another's: it is not counted twice.
  const heard = items.filter((worker) => !worker.silent);
  const sum = (key, of = heard) => of.reduce((all, worker) => all + (worker[key] || 0), 0);
  const engines = heard.filter((worker) => worker.engine !== "delivery");
  const silent = items.length - heard.length;
  const committed = said.committed_us ? age(Math.max(0, Date.now() / 1000 - said.committed_us / 1e6)) : "–";
  if (items.length === 0) return [
    figure("Workers", "1", "process carries everything"),
    figure("Last commit", committed, said.committed_us ? "ago" : "nothing yet"),
    figure("Taken and not yet charged", octets(said.spool_octets || 0), ""),
    figure("Commits", count(said.commits || 0), ""),
  ];
  return [
    figure("Workers", count(engines.length), silent ? `${count(silent)} silent` : "all heard of", silent > 0),
    figure("Behind", count(sum("lag_messages")), "messages"),
    figure("Throughput", rate(sum("records_per_s", engines)), "records / s"),
    figure("State", octets(sum("state_octets")), "in all buckets"),
  ];
}

function figure(name, value, unit, bad = false) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, value), " ", h("span", { class: bad ? "failed" : "muted" }, unit)));
}

function workersTable(items) {
  return table("Workers", [
    { name: "Worker", cell: (row) => row.name },
    { name: "Engine", cell: (row) => row.engine },
    { name: "Heard of", cell: (row) => [`${age(row.silent_s)} ago `, row.silent ? h("span", { class: "tag" }, "silent") : null] },
    { name: "Records", number: true, cell: (row) => count(row.records) },
    { name: "Records / s", number: true, cell: (row) => rate(row.records_per_s) },
    { name: "Messages behind", number: true, cell: (row) => count(row.lag_messages) },
    { name: "State", number: true, cell: (row) => row.state_octets === null ? "–" : octets(row.state_octets) },
    { name: "Durable", number: true, cell: (row) => row.checkpoint_age_s === null ? "–" : `${age(row.checkpoint_age_s)} ago` },
    { name: "Rebalances", number: true, cell: (row) => row.rebalances === null ? "–" : count(row.rebalances) },
  ], items, "There are none to watch: one process takes, charges and serves.", { rowHeads: true });
}

function waitingTable(items) {
  const rows = items.flatMap((worker) => Object.entries(worker.lag).filter(([, messages]) => messages > 0)
    .map(([place, messages]) => ({ worker: worker.name, place, messages })));
  rows.sort((one, other) => other.messages - one.messages);
  return table("Waiting, by partition", [
    { name: "Partition", cell: (row) => row.place },
    { name: "Messages", number: true, cell: (row) => count(row.messages) },
    { name: "Worker", cell: (row) => row.worker },
  ], rows, "Nothing waits.", { rowHeads: true });
}

function keptTable(said) {
  const rows = ["streams", "states", "files"].flatMap((part) =>
    Object.entries(said[part] || {}).map(([name, each]) => ({ name, held: each.rows ?? each.keys ?? each.records, octets: each.octets })));
  return table("Kept", [
    { name: "What", cell: (row) => row.name },
    { name: "Rows", number: true, cell: (row) => row.held === undefined ? "–" : count(row.held) },
    { name: "Size", number: true, cell: (row) => row.octets === undefined ? "–" : octets(row.octets) },
  ], rows, "Nothing yet.", { rowHeads: true });
}

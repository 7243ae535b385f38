// The NOC's view: the map of now or of an earlier moment, the queue of incidents, and the way to everything behind them.

import { get } from "/page/api.js";
import { failure, h, heading, show, showCalmly, table } from "/page/dom.js";
import { age, count, moment, money, sentence } from "/page/format.js";
import { heat } from "/page/heat.js";
import { map } from "/page/map.js";
import { alarmSeverity, severityColour, severityLegend } from "/page/severity.js";
import { bandwidth } from "/page/views/network_bandwidth.js";
import { cell } from "/page/views/network_cell.js";
import { incident } from "/page/views/network_incident.js";
import { maintenance } from "/page/views/network_maintenance.js";
import { settling } from "/page/views/rejects.js";

const DAY_MINUTES = 1440, STEP_MINUTES = 5, ROWS = 50, MORE_ROWS = 200;

export function network(main, session, path) {
  const [part, ...rest] = path.split("/");
  const name = rest.join("/");
  if (part === "incident") return incident(main, session, name);
  if (part === "cell") return cell(main, session, name);
  if (part === "maintenance") return maintenance(main, session);
  if (part === "rejects") return settling(main, session, { ...REJECTS, ways: ways("#/network/rejects") });
  return overview(main, session);
}

// From blue over green to red: how far a value lies between the least and the most that is shown.
const shade = (share) => `hsl(${Math.round(220 - 190 * share)} 80% ${Math.round(72 - 30 * share)}%)`;

export function ways(current) {
  const way = (href, text) => h("a", { href, class: "button", "aria-current": current === href ? "page" : null }, text);
  return h("p", { class: "actions" }, way("#/network", "Map and incidents"), way("#/network/maintenance", "Maintenance windows"), way("#/network/rejects", "Rejected telemetry"));
}

const REJECTS = {
  base: "/api/v1/network/rejects", title: "Rejected telemetry", closed: "It will not be used.",
  said: "Set aside, measured nothing and raised no alarm. Correct and offer again (what came before counts once), or close for good.",
};

function overview(main, session) {
  const figures = h("dl", { class: "figures", "aria-label": "The network now" }), queue = h("div"), alarms = h("div"), budgets = h("div");
  const canvas = h("div", { class: "map", id: "map" }), figuresOfTiles = h("div"), legend = h("div"), accounting = h("div"), state = h("p", { class: "muted small", role: "status" });
  const layer = h("select", { id: "layer" }), metric = h("select", { id: "metric" });
  const back = h("input", { id: "back", type: "range", min: String(-DAY_MINUTES), max: "0", step: String(STEP_MINUTES), value: "0", "aria-describedby": "back-said" });
  const backSaid = h("output", { id: "back-said", for: "back" }, "now");
  const more = h("button", { type: "button", hidden: true, onclick: () => { shown += MORE_ROWS; draw(); } }), counted = h("p", { class: "muted small", role: "status" });
  const twin = h("details", { class: "twin tall", open: true }, h("summary", {}, "The map as a table"), figuresOfTiles, counted, more);
  let drawn = null, line = null, tiles = new Map(), newestUs = 0, lookedUs = 0, shown = ROWS, changes = "", ended = false, loading = false, spans = [0, 1], units = {}, texts = {}, hexagons = {};

  show(main, heading("Network", h("p", { class: "muted" }, "Incidents by money at stake; the map by severity or by KPI. Times are UTC.")), ways("#/network"), figures,
    h("section", { class: "card", "aria-labelledby": "queue-title" }, h("h2", { id: "queue-title" }, "Incidents"), queue),
    h("section", { class: "card", "aria-labelledby": "map-title" }, h("h2", { id: "map-title" }, "Map"),
      h("div", { class: "find" }, h("label", { for: "layer" }, "Tiles"), layer, h("label", { for: "metric" }, "Shows"), metric),
      h("div", { class: "find" }, h("label", { for: "back" }, "Moment"), back, backSaid),
      state, canvas, legend, twin),
    h("section", { class: "card", "aria-labelledby": "alarms-title" }, h("h2", { id: "alarms-title" }, "Worst active alarms"), alarms),
    h("section", { class: "card", "aria-labelledby": "budgets-title" }, h("h2", { id: "budgets-title" }, "Service quality promised"), budgets),
    h("section", { class: "card", "aria-labelledby": "bandwidth-title" }, h("h2", { id: "bandwidth-title" }, "Bandwidth"), bandwidth()),
    h("section", { class: "card", "aria-labelledby": "telemetry-title" }, h("h2", { id: "telemetry-title" }, "Telemetry"), accounting));
  show(queue, h("p", { class: "loading" }, "Loading…"));

  // What a hexagon is to those who know the network by its cells.
  function where(tile) {
    const cells = hexagons[layer.value]?.[tile] ?? { count: 0, first: [] }, rest = cells.count - cells.first.length;
    const links = cells.first.map((name, at) => [at ? ", " : "", h("a", { href: `#/network/cell/${encodeURIComponent(name)}` }, name)]);
    return [...links, rest ? ` and ${count(rest)} more` : ""];
  }

  const paint = (tile) => {
    if (metric.value === "severity") return severityColour(tile.severity);
    if (tile.value === null) return "#808080";
    const share = spans[1] > spans[0] ? (tile.value - spans[0]) / (spans[1] - spans[0]) : 0;
    return shade(share);
  };

  // What the colours of the map mean: severities, or from which value to which.
  function key() {
    if (metric.value === "severity" || !tiles.size) return severityLegend();
    const boxes = [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const box = h("span", { class: "swatch", "aria-hidden": "true" });
      box.style.backgroundColor = shade(share);
      return box;
    });
    const unit = units[metric.value] ? ` ${units[metric.value]}` : "";
    return h("p", { class: "legend" }, h("span", {}, `${spans[0] / 1000}${unit}`), boxes, h("span", {}, `${spans[1] / 1000}${unit}`), h("span", { class: "muted" }, "grey: no value"));
  }

  function draw() {
    const values = [...tiles.values()].map((tile) => tile.value).filter((value) => value !== null);
    spans = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    if (drawn) drawn.paint(tiles, paint);
    show(legend, key());
    const rows = [...tiles].sort((a, b) => a[1].severity - b[1].severity || (b[1].value ?? 0) - (a[1].value ?? 0)).slice(0, shown);
    const rest = tiles.size - rows.length, said = `${count(rows.length)} of ${count(tiles.size)} tiles, the worst first.`;
    if (counted.textContent !== said) counted.textContent = said;
    more.hidden = rest === 0;
    more.textContent = `Show ${count(Math.min(rest, MORE_ROWS))} more`;
    const unit = units[metric.value] || "";
    showCalmly(figuresOfTiles, table(`Tiles, ${metric.value}`, [
      { name: "Severity", cell: ([, tile]) => alarmSeverity(tile.severity) },
      { name: "Tile", cell: ([name]) => texts[name] || name },
      { name: `Value${unit ? ` (${unit})` : ""}`, number: true, cell: ([, tile]) => (tile.value === null ? "–" : tile.value / 1000) },
      { name: "Cells", number: true, cell: ([, tile]) => count(tile.cells) },
      ...(layer.value === "area" ? [] : [{ name: "Where", wrap: true, cell: ([name]) => where(name) }]),
    ], rows, "No tile is known yet. Load the inventory and hand in telemetry."));
  }

  function take(message) {
    if (message.type === "lost") { state.textContent = "The line is lost; the map is old. Trying again…"; return; }
    if (Number(back.value) < 0) return;
    if (message.type === "snapshot") tiles = new Map();
    for (const [name, value, severity, cells] of message.tiles) tiles.set(name, { value, severity, cells });
    newestUs = Math.max(newestUs, message.time_us || 0);
    draw();
    tell();
    const now = `${message.alarm_changes} ${message.incident_changes}`;
    if (now !== changes) { changes = now; load(); }
  }

  function tell() {
    const old = (us) => `${moment(us)}, ${age((Date.now() * 1000 - us) / 1e6)} old`;
    if (Number(back.value) < 0) { if (lookedUs) state.textContent = `An earlier moment is shown: ${old(lookedUs)}`; return; }
    state.textContent = newestUs ? `Newest figures of ${old(newestUs)}` : "No figures yet";
  }

  async function scrub() {
    const minutes = Number(back.value);
    backSaid.textContent = minutes === 0 ? "now" : `${moment(newestUs + minutes * 60e6)} (${-minutes} min before the newest)`;
    if (minutes === 0) { lookedUs = 0; line.look(layer.value, metric.value); return; }
    const at = newestUs + minutes * 60e6;
    const said = await get(`/api/v1/network/heat?layer=${encodeURIComponent(layer.value)}&metric=${encodeURIComponent(metric.value)}&at=${at}`);
    if (Number(back.value) !== minutes) return;
    tiles = new Map(said.items.map((row) => [row.tile.replace(/^0+/, ""), { value: row.value_milli, severity: row.severity, cells: row.cells }]));
    lookedUs = at;
    tell();
    draw();
  }

  async function choose() {
    tiles = new Map();
    shown = ROWS;
    texts = layer.value === "area" ? areaNames : {};
    if (drawn) await drawn.shape(layer.value).catch((error) => { state.textContent = error.message; });
    if (!ended) await scrub();
  }
  layer.addEventListener("change", choose);
  metric.addEventListener("change", choose);
  back.addEventListener("input", scrub);
  let areaNames = {};

  async function load() {
    if (loading) return;
    loading = true;
    try {
      const [{ said }, incidents, active, promised] = await Promise.all([get("/api/v1/network"), get("/api/v1/network/incidents?open=true&limit=50"), get("/api/v1/network/alarms?active=true&limit=15"), get("/api/v1/network/budgets")]);
      if (ended) return;
      show(figures, numbers(said));
      showCalmly(queue, incidentTable(incidents.items));
      showCalmly(alarms, alarmTable(active.items));
      show(accounting, sources(said));
      showCalmly(budgets, budgetTable(promised.items));
    } catch (error) {
      show(queue, failure(error, load));
    } finally {
      loading = false;
    }
  }

  async function begin() {
    await load();
    try {
      const { said: places } = await get("/api/v1/network/places");
      if (ended) return;
      areaNames = Object.fromEntries(places.areas.map((area) => [area.object, area.name]));
      hexagons = places.tiles;
      units = Object.fromEntries(places.kpis.map((kpi) => [kpi.name, kpi.unit]));
      const layers = [...Object.keys(places.tiles).sort(), "area"];
      show(layer, layers.map((name) => h("option", { value: name }, name === "area" ? "areas" : `hexagons, size ${name.slice(3)}`)));
      layer.value = layers.includes("h3:5") ? "h3:5" : layers[0];
      show(metric, h("option", { value: "severity" }, "severity"), places.kpis.map((kpi) => h("option", { value: kpi.name }, kpi.name)));
      line = heat(take);
      await choose();
      drawn = await map(canvas, places, (kind, name) => { if (kind === "cells") location.hash = `#/network/cell/${encodeURIComponent(name)}`; });
      if (ended) { drawn.end(); return; }
      await drawn.shape(layer.value);
      draw();
      await drawn.settled();
      canvas.dataset.drawn = "yes";
    } catch (error) {
      show(canvas, failure(error));
    }
  }
  begin();
  const ticking = setInterval(tell, 1000), loadingAgain = setInterval(load, 10000);
  return () => {
    ended = true;
    clearInterval(ticking);
    clearInterval(loadingAgain);
    if (line) line.end();
    if (drawn) drawn.end();
  };
}

function numbers(said) {
  const figure = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, value), h("div", { class: "muted small" }, more)));
  const old = said.newest_kpi_us ? `${age((said.now_us - said.newest_kpi_us) / 1e6)} old` : "none yet";
  return [
    figure("Open incidents", count(said.incidents_open), `${count(said.incidents)} in all`),
    figure("Active alarms", count(said.alarms_active), `${count(said.alarms)} in all`),
    figure("Anomalies told", count(said.anomalies), `${count(said.risks)} forecasts`),
    figure("Newest KPI", said.newest_kpi_us ? moment(said.newest_kpi_us).slice(11) : "–", old),
  ];
}

export function incidentTable(rows) {
  return table("Incidents, the most expensive first", [
    { name: "Severity", cell: (row) => alarmSeverity(row.severity) },
    { name: "Root", cell: (row) => h("a", { href: `#/network/incident/${encodeURIComponent(row.incident_id)}` }, row.root_name || row.incident_id) },
    { name: "Cause", wrap: true, cell: (row) => sentence(row.cause || "–") },
    { name: "Customers", number: true, cell: (row) => count(row.subscribers) },
    { name: "Money / min", number: true, cell: (row) => money(row.micros_per_minute) },
    { name: "Owner", cell: (row) => row.owner || "–" },
    { name: "Opened", cell: (row) => moment(row.opened_us) },
  ], rows, "No incident is open.");
}

export function alarmTable(rows) {
  return table("Alarms, the worst first", [
    { name: "Severity", cell: (row) => alarmSeverity(row.severity) },
    { name: "Object", cell: (row) => h("a", { href: `#/network/cell/${encodeURIComponent(row.name)}` }, row.name) },
    { name: "What", wrap: true, cell: (row) => row.text || row.specific_problem || row.probable_cause },
    { name: "Since", cell: (row) => moment(row.raised_us) },
    { name: "Held by", wrap: true, cell: (row) => row.held_by || "" },
    { name: "Seen", cell: (row) => (row.acked ? `✓ ${row.acked_by}` : "") },
  ], rows, "No alarm is active.");
}

function budgetTable(rows) {
  return table("Agreements and their error budgets", [
    { name: "Severity", cell: (row) => alarmSeverity(row.severity) },
    { name: "Agreement", cell: (row) => row.name },
    { name: "With", cell: (row) => row.enterprise },
    { name: "KPI", cell: (row) => row.kpi },
    { name: "Budget left (%)", number: true, cell: (row) => row.left_milli / 10 },
    { name: "Burns, last hour", number: true, cell: (row) => row.fast_milli / 1000 },
    { name: "last six", number: true, cell: (row) => row.slow_milli / 1000 },
  ], rows, "No agreement is written down (agreements.yaml).");
}

function sources(said) {
  const heard = !said.listeners.length ? null : [h("h3", {}, "Listeners"), table("What listeners took and refused since the start", [
    { name: "Listener", cell: (row) => row.listener },
    { name: "Port", number: true, cell: (row) => row.port ?? "–" },
    { name: "Received", number: true, cell: (row) => count(row.received) },
    { name: "Taken", number: true, cell: (row) => count(row.messages) },
    { name: "Refused", number: true, cell: (row) => count(row.refused) },
    { name: "Because of", wrap: true, cell: (row) => Object.entries(row.reasons).map(([reason, number]) => `${reason} ${count(number)}`).join(", ") || "–" },
  ], said.listeners, "", { rowHeads: true })];
  const verdict = h("p", {}, h("span", { class: said.balanced ? "verdict good" : "verdict bad" }, said.balanced ? "✓ adds up" : "✕ does not add up: call the engineer on duty"));
  return [verdict, table("Telemetry by source", [
    { name: "Source", cell: (row) => row.source },
    ...["received", "measured", "events", "duplicate", "rejected", "held"].map((name) => ({ name: sentence(name), number: true, cell: (row) => count(row[name]) })),
  ], said.sources, "No telemetry was received yet.", { rowHeads: true }), heard].flat();
}

// One cell, router or area: its KPIs over the last day with what was expected of them, its findings and alarms.

import { get } from "/page/api.js";
import { failure, h, heading, show, table } from "/page/dom.js";
import { moment, sentence } from "/page/format.js";
import { series } from "/page/series.js";
import { alarmTable, ways } from "/page/views/network.js";

export function cell(main, session, name) {
  const place = h("div", { class: "flow" }, h("p", { class: "loading" }, "Loading…"));
  const choice = h("select", { id: "kpi" });
  const chart = h("div");
  show(main, heading(name, h("p", { class: "muted" }, "KPIs of the last day, with the range that was expected of them. While a KPI is learnt nothing is expected.")), ways(""), place);
  let drawing = null, ended = false, rows = [], found = [], units = {};

  function paint(chosen, band) {
    const opened = chart.querySelector("details[open]") !== null;
    if (drawing) drawing.end();
    const own = rows.filter((row) => row.kpi === chosen && row.slice === 0).sort((a, b) => a.end_us - b.end_us);
    drawing = series(`${chosen}${units[chosen] ? ` (${units[chosen]})` : ""}`, own, band, found.filter((row) => row.kpi === chosen));
    show(chart, drawing.element);
    drawing.draw();
    chart.querySelector("details").open = opened;
  }

  // What was measured is shown at once; what was expected of it comes a moment later.
  async function draw() {
    const chosen = choice.value;
    paint(chosen, []);
    const band = await get(`/api/v1/network/expected?object=${encodeURIComponent(name)}&kpi=${encodeURIComponent(chosen)}`).then((said) => said.items).catch(() => []);
    if (!ended && choice.value === chosen && band.length) paint(chosen, band);
  }
  choice.addEventListener("change", draw);

  async function load() {
    try {
      const of = encodeURIComponent(name);
      const [kpis, anomalies, alarms, places] = await Promise.all([
        get(`/api/v1/network/kpis?object=${of}&limit=20000`), get(`/api/v1/network/anomalies?object=${of}&limit=200`),
        get(`/api/v1/network/alarms?object=${of}&limit=100`), get("/api/v1/network/places"),
      ]);
      if (ended) return;
      rows = kpis.items;
      found = anomalies.items;
      units = Object.fromEntries(places.said.kpis.map((kpi) => [kpi.name, kpi.unit]));
      const names = [...new Set(rows.map((row) => row.kpi))].sort();
      show(choice, names.map((each) => h("option", { value: each }, each)));
      show(place,
        h("section", { class: "card", "aria-label": "KPIs" }, h("div", { class: "find" }, h("label", { for: "kpi" }, "KPI"), choice), chart),
        h("section", { class: "card", "aria-labelledby": "found-title" }, h("h2", { id: "found-title" }, "Findings"), table("Findings, newest first", [
          { name: "Seen (UTC)", cell: (row) => moment(row.time_us) },
          { name: "Kind", cell: (row) => sentence(row.kind) + (row.ended ? ", over" : "") },
          { name: "KPI", cell: (row) => row.kpi },
          { name: "Why", wrap: true, long: true, cell: (row) => row.text },
        ], found, "Nothing unusual was found.")),
        h("section", { class: "card", "aria-labelledby": "own-alarms-title" }, h("h2", { id: "own-alarms-title" }, "Alarms"), alarmTable(alarms.items)));
      if (names.length) draw();
      else show(chart, h("p", { class: "empty" }, "No KPI of it is known yet."));
    } catch (error) {
      show(place, failure(error, load));
    }
  }
  load();
  return () => { ended = true; if (drawing) drawing.end(); };
}

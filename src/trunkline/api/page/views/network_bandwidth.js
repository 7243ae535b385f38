// Bandwidth: what goes through the interfaces of routers and firewalls, the busiest first. Asked for when it is opened,
// for it looks through the KPIs of all objects.

import { get } from "/page/api.js";
import { failure, h, show, table } from "/page/dom.js";
import { moment } from "/page/format.js";

const RATES = [["IfInRate", "in"], ["IfHcInRate", "in"], ["IfOutRate", "out"], ["IfHcOutRate", "out"], ["IfErrorRate", "damaged"]];
const WITHIN_US = 10 * 60 * 1e6, ROWS_MOST = 5000, BUSIEST = 20;

export function bandwidth() {
  const place = h("div", { class: "flow" });
  const opened = h("details", {}, h("summary", {}, "What goes through interfaces"), place);

  async function load() {
    show(place, h("p", { class: "loading" }, "Loading…"));
    try {
      const newest = (await get("/api/v1/network")).said.newest_kpi_us;
      const ask = (kpi) => get(`/api/v1/network/kpis?kpi=${kpi}&from_us=${Math.max(1, newest - WITHIN_US)}&limit=${ROWS_MOST}`);
      const answers = await Promise.all(RATES.map(([kpi]) => ask(kpi)));
      const found = new Map();
      answers.forEach(({ items }, at) => {
        for (const row of items) {
          const here = found.get(row.name) || { name: row.name, end_us: row.end_us };
          const way = RATES[at][1];
          if (here[way] === undefined && row.value_milli !== null) here[way] = row.value_milli / 1000; // newest first
          here.end_us = Math.max(here.end_us, row.end_us);
          found.set(row.name, here);
        }
      });
      const through = (row) => (row.in || 0) + (row.out || 0);
      const rows = [...found.values()].sort((a, b) => through(b) - through(a)).slice(0, BUSIEST);
      const mbits = (kbits) => (kbits === undefined ? "–" : (kbits / 1000).toFixed(3));
      show(place, table("Interfaces, the busiest first", [
        { name: "Object", cell: (row) => h("a", { href: `#/network/cell/${encodeURIComponent(row.name)}` }, row.name) },
        { name: "In (Mbit/s)", number: true, cell: (row) => mbits(row.in) },
        { name: "Out (Mbit/s)", number: true, cell: (row) => mbits(row.out) },
        { name: "Damaged (%)", number: true, cell: (row) => row.damaged ?? "–" },
        { name: "Measured until", cell: (row) => moment(row.end_us) },
      ], rows, "No interface was measured within the newest ten minutes."), h("p", {}, h("button", { type: "button", onclick: load }, "Look again")));
    } catch (error) {
      show(place, failure(error, load));
    }
  }
  opened.addEventListener("toggle", () => { if (opened.open) load(); });
  return opened;
}

// One KPI over time, with the range that was expected and what was found unusual. The same stands in a table.

import uPlot from "/page/vendor/uplot.esm.js";
import { h, show, table } from "/page/dom.js";
import { moment, tick } from "/page/format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A time of day, and the date where a day begins.
function clock(second) {
  const said = moment(second * 1e6), time = said.slice(11, 16);
  return time === "00:00" ? said.slice(0, 10) : time;
}

export function series(title, rows, band, findings) {
  const place = h("div", { class: "chart", role: "img", "aria-label": `${title} over the last day; the table below holds the same figures.` });
  const figures = h("div"), twin = h("details", { class: "twin" }, h("summary", {}, "The same as a table"), figures);
  const milli = (value) => (value === null ? null : value / 1000);
  const bands = new Map(band.map((each) => [each.end_us, each]));
  const expected = rows.map((row) => bands.get(row.end_us));
  const unusual = rows.map((row) => findings.some((each) => !each.ended && each.since_us <= row.end_us && row.end_us <= each.time_us));
  const values = rows.map((row) => milli(row.value_milli));
  const low = expected.map((each) => (each ? milli(each.low_milli) : null)), high = expected.map((each) => (each ? milli(each.high_milli) : null));
  // The band is drawn first, so that it lies under what was measured.
  const columns = [rows.map((row) => row.end_us / 1e6), low, high, values, values.map((value, at) => (unusual[at] ? value : null))];
  let plot = null;

  function draw() {
    if (plot) plot.destroy();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
    plot = new uPlot({
      width: Math.max(place.clientWidth, 200), height: 240, legend: { show: false }, cursor: { drag: { x: true, y: false } },
      tzDate: (second) => uPlot.tzDate(new Date(second * 1e3), "UTC"),
      axes: [{ ...axis, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (_, ticks) => ticks.map(tick) }],
      bands: [{ series: [2, 1], fill: colour("--info-soft") }],
      series: [{}, { stroke: colour("--money"), width: 1, dash: [4, 4], points: { show: false } }, { stroke: colour("--money"), width: 1, dash: [4, 4], points: { show: false } },
        { stroke: colour("--records"), width: 2, points: { show: rows.length < 100 } },
        { stroke: colour("--bad"), width: 0, points: { show: true, size: 9, width: 2 } }],
    }, columns, place);
    tabulate();
  }
  function tabulate() {
    if (!twin.open) return;
    show(figures, table(title, [
      { name: "Until (UTC)", cell: (at) => moment(rows[at].end_us) },
      { name: "Value", number: true, cell: (at) => values[at] ?? "–" },
      { name: "Expected", cell: (at) => (expected[at] ? `${low[at]} to ${high[at]}` : "") },
      { name: "Unusual", cell: (at) => (unusual[at] ? "✕ unusual" : "") },
      { name: "Bins missing", number: true, cell: (at) => rows[at].missing || "" },
    ], rows.map((_, at) => at).reverse().slice(0, 200), "No figures yet."));
  }
  const resized = new ResizeObserver(() => { if (plot) plot.setSize({ width: Math.max(place.clientWidth, 200), height: 240 }); });
  resized.observe(place);
  twin.addEventListener("toggle", tabulate);
  window.addEventListener("theme", draw);
  return {
    element: h("figure", {}, h("figcaption", {}, h("span", { class: "key records" }, title), h("span", { class: "key money" }, "expected"), h("span", { class: "key unusual" }, "found unusual")), place, twin),
    draw,
    end() {
      resized.disconnect();
      window.removeEventListener("theme", draw);
      if (plot) plot.destroy();
    },
  };
}

// The chart of the last minutes: records a second and money a second, each with its own axis and its own line style,
// so that neither colour nor position alone tells them apart. The same figures stand in a table beside it.

import uPlot from "/page/vendor/uplot.esm.js";
import { h, table, show } from "/page/dom.js";
import { moneyRate, rate, tick, time } from "/page/format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function chart(currency) {
  const place = h("div", { class: "chart", role: "img", "aria-label": "Records and money a second over the last ten minutes; the table below holds the same figures." });
  const figures = h("div");
  const twin = h("details", { class: "twin" }, h("summary", {}, "The same as a table"), figures);
  let plot = null, drawn = [];

  function make() {
    if (plot) plot.destroy();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
    plot = new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 200,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      tzDate: (second) => uPlot.tzDate(new Date(second * 1e3), "UTC"),
      scales: { records: { range: (_, low, high) => [0, Math.max(high, 1)] }, money: { range: (_, low, high) => [0, Math.max(high, 0.01)] } },
      axes: [
        { ...axis, space: 70, size: 34, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600], values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toISOString().slice(11, 19)) },
        { ...axis, scale: "records", size: 64, values: (_, ticks) => ticks.map(tick) },
        { ...axis, scale: "money", side: 1, size: 64, grid: { show: false }, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [
        {},
        { scale: "records", stroke: colour("--records"), width: 2, points: { show: false } },
        { scale: "money", stroke: colour("--money"), width: 2, dash: [6, 4], points: { show: false } },
      ],
    }, columns(drawn), place);
  }

  function columns(samples) {
    return [samples.map((each) => each[0] / 1e6), samples.map((each) => each[1]), samples.map((each) => each[2] / 1e6)];
  }

  function tabulate() {
    if (!twin.open) return;
    const every = Math.max(1, Math.floor(drawn.length / 20));
    const rows = drawn.filter((_, at) => (drawn.length - 1 - at) % every === 0).reverse();
    show(figures, table("Records and money a second", [
      { name: "Time (UTC)", cell: (row) => time(row[0]) },
      { name: "Records / s", number: true, cell: (row) => rate(row[1]) },
      { name: `${currency} / s`, number: true, cell: (row) => moneyRate(row[2]) },
    ], rows, "No figures yet."));
  }

  const resized = new ResizeObserver(() => { if (plot) plot.setSize({ width: Math.max(place.clientWidth, 200), height: 200 }); });
  resized.observe(place);
  twin.addEventListener("toggle", tabulate);
  const recolour = () => make();
  window.addEventListener("theme", recolour);

  return {
    element: h("figure", {},
      h("figcaption", {},
        h("span", { class: "key records" }, "Records / s"), h("span", { class: "key money" }, `${currency} / s`),
        h("span", { class: "muted" }, "last 10 minutes, UTC")),
      place, twin),
    draw(samples) {
      drawn = samples;
      if (!plot) make(); else plot.setData(columns(drawn));
      tabulate();
    },
    end() {
      resized.disconnect();
      window.removeEventListener("theme", recolour);
      if (plot) plot.destroy();
    },
  };
}

// A small chart of bars over named bands. Below and above the middle differ by colour and by their place; the same figures
// stand in the table beside it, so that nobody needs the picture.

import uPlot from "/page/vendor/uplot.esm.js";
import { h } from "/page/dom.js";
import { tick } from "/page/format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function bars(label, names, counts) {
  const place = h("div", { class: "chart", role: "img", "aria-label": `${label}; the table beside it holds the same figures.` });
  const middle = (names.length - 1) / 2;
  let plot = null;

  function make() {
    if (plot) plot.destroy();
    const axis = { stroke: colour("--muted"), grid: { show: false }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
    const at = names.map((_, index) => index);
    const side = (keep) => counts.map((value, index) => (keep(index) ? value : null));
    const paths = uPlot.paths.bars({ size: [0.8, 80] });
    const series = (name) => ({ paths, points: { show: false }, fill: colour(name), stroke: colour(name), width: 1 });
    plot = new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 180,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: () => [-0.6, names.length - 0.4] }, y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      axes: [
        { ...axis, size: 34, splits: () => [0, middle, names.length - 1], values: () => ["pays less", "the same", "pays more"] },
        { ...axis, size: 64, grid: { stroke: colour("--line"), width: 1 }, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [{}, series("--records"), series("--money")],
    }, [at, side((index) => index <= middle), side((index) => index > middle)], place);
  }

  const resized = new ResizeObserver(() => { if (plot) plot.setSize({ width: Math.max(place.clientWidth, 200), height: 180 }); else make(); });
  resized.observe(place);
  window.addEventListener("theme", make);
  return {
    element: place,
    end() {
      resized.disconnect();
      window.removeEventListener("theme", make);
      if (plot) plot.destroy();
    },
  };
}

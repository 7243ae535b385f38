// A small chart of bars. Those up to the place `split` and those behind it differ by colour and by where they stand; the
// same figures stand in the table beside it, so that nobody needs the picture. `marks` are places with their words.

import uPlot from "/page/vendor/uplot.esm.js";
import { h } from "/page/dom.js";
import { tick } from "/page/format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function bars(label, counts, split, marks) {
  const place = h("div", { class: "chart", role: "img", "aria-label": `${label}; the table beside it holds the same figures.` });
  let plot = null;

  function make() {
    if (plot) plot.destroy();
    const axis = { stroke: colour("--muted"), grid: { show: false }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
    const at = counts.map((_, index) => index);
    const side = (keep) => counts.map((value, index) => (keep(index) ? value : null));
    const paths = uPlot.paths.bars({ size: [0.8, 80] });
    const series = (name) => ({ paths, points: { show: false }, fill: colour(name), stroke: colour(name), width: 1 });
    plot = new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 180,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: () => [-0.6, counts.length - 0.4] }, y: { range: (_, low, high) => [0, high || 1] } },
      axes: [
        { ...axis, size: 34, splits: () => marks.map(([place]) => place), values: () => marks.map(([, words]) => words) },
        { ...axis, size: 64, grid: { stroke: colour("--line"), width: 1 }, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [{}, series("--records"), series("--money")],
    }, [at, side((index) => index <= split), side((index) => index > split)], place);
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

// The six severities of X.733: a colour, and always a letter, so that nobody has to tell colours apart.

import { h } from "/page/dom.js";

export const SEVERITIES = [
  null,
  { name: "critical", letter: "C" },
  { name: "major", letter: "M" },
  { name: "minor", letter: "m" },
  { name: "warning", letter: "W" },
  { name: "indeterminate", letter: "I" },
  { name: "cleared", letter: "–" },
];

export function alarmSeverity(number) {
  const known = SEVERITIES[number] || SEVERITIES[6];
  return h("span", { class: `severity alarm-${known.name}`, title: known.name }, h("span", { "aria-hidden": "true" }, known.letter), h("span", { class: "unseen" }, known.name));
}

export function severityColour(number) {
  const known = SEVERITIES[number] || SEVERITIES[6];
  return getComputedStyle(document.documentElement).getPropertyValue(`--alarm-${known.name}`).trim();
}

export function severityLegend() {
  return h("p", { class: "legend" }, SEVERITIES.slice(1).map((each, at) => [alarmSeverity(at + 1), h("span", {}, each.name)]));
}

// Plans and prices as a clerk reads them, and the check of files before they are put in force.

import { get, post } from "/page/api.js";
import { failure, h, heading, show, table } from "/page/dom.js";
import { count, sentence } from "/page/format.js";

export function tariffs(main, session, chosen) {
  const plans = h("div", {}, h("p", { class: "loading" }, "Loading…")), place = h("div");
  show(main, heading("Tariffs"), h("div", { class: "split" },
    h("div", {}, h("section", { class: "card", "aria-labelledby": "plans-title" }, h("h2", { id: "plans-title" }, "Plans"), plans), session.may("check_tariffs") ? checker() : null),
    place));

  async function load() {
    try {
      const said = await get("/api/v1/tariffs");
      show(plans, h("nav", { class: "choices", "aria-label": "Plans" }, said.plans.map((plan) =>
        h("a", { class: "choice", href: `#/tariffs/${encodeURIComponent(plan.name)}`, "aria-current": plan.name === chosen ? "true" : null },
          h("strong", {}, plan.name), h("span", { class: "muted small" }, plan.versions.length === 1 ? "1 version" : `${plan.versions.length} versions`)))),
      h("p", { class: "muted small" }, `Fingerprint ${said.fingerprint.slice(0, 12)}${said.default_plan ? `; walk-ins get ${said.default_plan}` : ""}`));
      if (chosen) showPlan();
      else show(place, h("p", { class: "empty" }, "Choose a plan to see its prices."));
    } catch (error) {
      show(plans, failure(error, load));
    }
  }

  async function showPlan() {
    show(place, h("p", { class: "loading" }, "Loading…"));
    try {
      const plan = await get(`/api/v1/tariffs/${encodeURIComponent(chosen)}`);
      show(place,
        h("h2", {}, plan.name, h("span", { class: "muted" }, ` amounts in ${plan.currency}`)),
        part("Versions", plan.versions), part("Prices", plan.prices.map(since), plan.more_prices),
        part("Balances", plan.balances), part("Counters", plan.counters), part("Time bands", plan.schedules));
    } catch (error) {
      show(place, failure(error, showPlan));
    }
  }
  load();
  return () => {};
}

// A table of whatever words the tariff has. What is the same in every row is said once, above; what is empty is left out.
// A price's version is known by its date; the plan's name stands above.
const since = ({ plan, ...price }) => ({ since: plan.split("@").at(-1), ...price });

const FIRST = ["since", "usage", "to", "when", "price", "limits"];
const LONG = new Set(["for", "price", "warns", "to"]);
const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

function part(title, rows, more = 0) {
  if (rows.length === 0) return null;
  const names = Object.keys(rows[0]).filter((name) => rows.some((row) => row[name] !== "")).sort((a, b) => rank(a) - rank(b));
  const alike = rows.length > 2 ? names.filter((name) => rows.every((row) => row[name] === rows[0][name])) : [];
  const columns = names.filter((name) => !alike.includes(name));
  return h("section", { class: "card", "aria-label": title }, h("h3", {}, title),
    alike.length ? h("p", { class: "muted small" }, `In all of them: ${alike.map((name) => `${name} ${rows[0][name]}`).join(" · ")}`) : null,
    table(title, columns.map((name) => ({ name: sentence(name), wrap: true, long: LONG.has(name), cell: (row) => row[name] || "–" })), rows, "None."),
    more ? h("p", { class: "muted" }, `${count(more)} more prices; trunkline tariff show lists them all.`) : null);
}

function checker() {
  const files = h("input", { id: "files", type: "file", multiple: true, accept: ".yaml,.yml,.csv" });
  const answer = h("div", { "aria-live": "polite" });
  return h("section", { class: "card", "aria-labelledby": "check-title" }, h("h2", { id: "check-title" }, "Check a tariff"),
    h("form", {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          const texts = {};
          for (const file of files.files) texts[file.name] = await file.text();
          const said = await post("/api/v1/tariffs/check", { files: texts });
          show(answer, said.ok ? h("p", { class: "verdict good" }, "✓ no mistakes") : table("Mistakes", [
            { name: "Place", cell: (row) => `${row.file}:${row.line}` },
            { name: "Mistake", wrap: true, cell: (row) => row.text },
          ], said.mistakes, ""));
        } catch (error) {
          show(answer, failure(error));
        }
      },
    }, h("label", { for: "files" }, "All files of the tariff (YAML, CSV)"), files, h("button", { type: "submit" }, "Check"),
    h("p", { class: "muted small" }, "Nothing is put in force.")), answer);
}

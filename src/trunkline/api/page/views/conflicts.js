// Two records with one identity that say different things: a person decides.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show } from "/page/dom.js";
import { moment, money, quantity, words } from "/page/format.js";
import { listen, live } from "/page/live.js";
import { other } from "/page/views/subscriber.js";

export function conflicts(main, session) {
  const settle = session.may("settle");
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  show(main, heading("Conflicts", h("p", { class: "muted" }, "The identity was used before by a record that says something else. The first one is charged; the second one waits here.")), list);

  async function load() {
    try {
      const said = await get(`/api/v1/held?limit=50${settle ? "&raw=true" : ""}`);
      show(list, said.items.length ? said.items.map((row) => card(row, said)) : h("p", { class: "empty" }, "No conflicts. Nothing to decide."),
        said.more ? h("p", { class: "muted" }, "There are more; they appear as these are decided.") : null);
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  function card(row, said) {
    const wrong = h("p", { class: "failed", role: "alert" });
    const decide = (decision, told) => async () => {
      try {
        await post(`/api/v1/held/${row.number}/decide`, { decision });
        say(told);
        await load();
        main.querySelector("h1").focus();
      } catch (error) {
        wrong.textContent = error.message;
      }
    };
    return h("section", { class: "card", "aria-label": `Conflict ${row.number}` },
      h("h2", {}, `${row.source} · ${row.record_id}`),
      h("p", { class: "muted small" }, `Conflict ${row.number}, ${row.path ? row.path.split("/").at(-1) : "spool"} line ${row.line ?? "?"}${row.reason ? `: ${words(row.reason)}` : ""}`),
      h("dl", { class: "compare" },
        waits(row) ? null : [h("dt", {}, "Charged first"), h("dd", {}, row.first ? firstText(row.first, said.currency) : "not in the history any more")],
        h("dt", {}, waits(row) ? "Waits for its original" : "Came second"), h("dd", {}, row.raw === null ? h("span", { class: "muted" }, "Your role may not see the record.") : h("code", { class: "raw" }, row.raw))),
      wrong,
      settle ? h("div", { class: "actions" },
        h("button", { type: "button", onclick: decide("discard", `Record ${row.number} is discarded.`) }, waits(row) ? "Discard it" : "Discard the second"),
        waits(row) ? null : h("button", { type: "button", onclick: decide("charge", `Conflict ${row.number}: the second record is charged as usage of its own.`) }, "Charge the second too")) : null);
  }

  let known = live.sample ? live.sample.status.held_open : -1;
  const end = listen((what, value) => {
    if (what !== "sample" || value.status.held_open === known || list.matches(":hover, :focus-within")) return;
    known = value.status.held_open;
    load();
  });
  load();
  return end;
}

// A record that cancels or corrects another one is settled by itself when that one comes.
const waits = (row) => row.reason === "cancels" || row.reason === "corrects";

function firstText(first, currency) {
  return `${first.kind}, ${first.subscriber.number} ${first.direction === "terminating" ? "←" : "→"} ${other(first) || first.service || first.destination || "–"}, ${moment(first.start_us)} UTC, ${quantity(first.units, first.unit)}, charged ${money(first.charged_micros, currency)}`;
}

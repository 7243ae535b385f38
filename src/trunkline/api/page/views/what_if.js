// What if: a draft tariff prices what is stored; who would pay more or less, by how much, and what would come in.

import { get, post } from "/page/api.js";
import { bars } from "/page/bars.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, moment, money, moneyColumn, sentence, words } from "/page/format.js";

const AGAIN_MS = 1000;
const SHOWN = 15;

export function whatIf(main, session, chosen) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const state = h("p", { class: "muted", "aria-live": "polite" });
  const place = h("div", { class: "flow" });
  let timer = 0, ended = false, wasRunning = false, chart = null;
  const order = form(load, () => { wasRunning = true; });
  show(main, heading("What if", h("p", { class: "muted" }, "A draft tariff prices the usage that is stored. Nothing is booked, and nothing is put in force.")),
    h("div", { class: "split" }, h("div", {}, order.element, h("section", { class: "card", "aria-labelledby": "answers-title" }, h("h2", { id: "answers-title" }, "Answers"), state, list)), place));

  async function load() {
    clearTimeout(timer);
    try {
      const said = await get("/api/v1/what-ifs?limit=20");
      if (ended) return;
      order.busy(said.running);
      state.textContent = said.running ? "Under way. It reads every raw record and may take minutes; you may leave this view." : said.trouble;
      if (wasRunning && !said.running) {
        wasRunning = false;
        if (said.trouble) say(said.trouble, true);
        else if (said.items.length) {
          say("The answer is there.");
          location.hash = `#/whatif/${said.items[0].id}`;
          if (chosen === said.items[0].id) one();
        }
      }
      wasRunning = wasRunning || said.running;
      draw(said.items);
      if (said.running) timer = setTimeout(load, AGAIN_MS);
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  function draw(items) {
    if (items.length === 0) {
      show(list, h("p", { class: "empty" }, "No answer yet. Choose the files of a draft above, or run `trunkline whatif`."));
      if (!chosen) show(place, h("p", { class: "empty" }, "The answer is shown here."));
      return;
    }
    show(list, table("Answers", [
      { name: "When (UTC)", cell: (row) => h("a", { href: `#/whatif/${row.id}`, "aria-current": row.id === chosen ? "true" : null }, moment(row.time_us)) },
      { name: "Days", cell: period },
      { name: "Difference", number: true, cell: (row) => signed(row.difference_micros, row.currency) },
    ], items, "None."));
    if (!chosen) show(place, h("p", { class: "empty" }, "Choose an answer to see it."));
  }

  async function one() {
    show(place, h("p", { class: "loading" }, "Loading…"));
    try {
      const answer = await get(`/api/v1/what-ifs/${encodeURIComponent(chosen)}`);
      if (ended) return;
      if (chart) chart.end();
      const middle = (answer.bands.length - 1) / 2;
      chart = bars("Subscribers by how much less or more they would pay", answer.bands.map((row) => row.subscribers), middle, [[0, "pays less"], [middle, "the same"], [2 * middle, "pays more"]]);
      show(place, summary(answer), distribution(answer, chart.element), Object.entries(answer.segments).map(([name, rows]) => segment(answer, name, rows)),
        refused(answer), people(answer, "most_more", "Who would pay most more"), people(answer, "most_less", "Who would pay most less"));
    } catch (error) {
      show(place, failure(error, one));
    }
  }

  load();
  if (chosen) one();
  return () => { ended = true; clearTimeout(timer); if (chart) chart.end(); };
}

function form(load, started) {
  const files = h("input", { id: "draft-files", type: "file", multiple: true, required: true, accept: ".yaml,.yml,.csv" });
  const first = h("input", { id: "draft-from", type: "date" }), last = h("input", { id: "draft-to", type: "date" });
  const wrong = h("p", { class: "failed", role: "alert" });
  const button = h("button", { type: "submit", class: "strong" }, "Price it");
  const element = h("section", { class: "card", "aria-labelledby": "draft-title" }, h("h2", { id: "draft-title" }, "A draft"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      button.disabled = true;
      try {
        const texts = {};
        for (const file of files.files) texts[file.name] = await file.text();
        await post("/api/v1/what-ifs", { files: texts, from: first.value || null, to: last.value || null });
        started();
        await load();
      } catch (error) {
        wrong.textContent = error.message;
        button.disabled = false;
      }
    },
  }, h("div", {}, h("label", { for: "draft-files" }, "All files of the draft (YAML, CSV)"), files),
  h("div", {}, h("label", { for: "draft-from" }, "First day (UTC); empty: all"), first),
  h("div", {}, h("label", { for: "draft-to" }, "Last day (UTC); empty: all"), last), wrong, button));
  return { element, busy: (running) => { button.disabled = running; } };
}

const period = (row) => (row.from || row.to ? `${row.from || "…"} to ${row.to || "…"}` : "all");
const signed = (micros, currency = "") => (micros > 0 ? "+" : "") + money(micros, currency);

function summary(answer) {
  const path = `/api/v1/what-ifs/${answer.id}/file`;
  const term = (figure, name) => h("span", { class: "term" }, h("strong", {}, figure), h("span", {}, name));
  return h("section", { class: "card", "aria-labelledby": "summary-title" }, h("h2", { id: "summary-title" }, `Days: ${period(answer)}`),
    h("p", { class: "equation" }, term(money(answer.running_micros, answer.currency), "now"), term(money(answer.draft_micros, answer.currency), "draft"), term(signed(answer.difference_micros, answer.currency), "difference")),
    h("p", {}, `${count(answer.records)} records of ${count(answer.subscribers)} subscribers: ${count(answer.pays.more.subscribers)} would pay more (${signed(answer.pays.more.difference_micros)}), ${count(answer.pays.less.subscribers)} less (${signed(answer.pays.less.difference_micros)}), ${count(answer.pays.same.subscribers)} the same.`),
    answer.ledger.agrees ? null : h("p", { class: "failed" }, `The ledger holds ${money(answer.ledger.charged_micros, answer.currency)} for these days: raw records were let go, or the tariff was changed since. Reconciliation tells which.`),
    h("p", {}, h("a", { href: path, download: `what-if-${answer.id}.csv` }, "As CSV")));
}

function distribution(answer, chart) {
  return h("section", { class: "card", "aria-labelledby": "bands-title" }, h("h2", { id: "bands-title" }, "Subscribers by what they would pay"),
    h("figure", {}, chart),
    table("Subscribers by what they would pay", [
      { name: answer.currency, cell: (row) => row.band },
      { name: "Subscribers", number: true, cell: (row) => count(row.subscribers) },
      { name: "Difference", number: true, cell: (row) => signed(row.difference_micros) },
    ], answer.bands, "None.", { rowHeads: true }));
}

function amounts(answer, rows) {
  const now = moneyColumn(rows.map((row) => row.running_micros)), then = moneyColumn(rows.map((row) => row.draft_micros));
  const between = moneyColumn(rows.map((row) => row.difference_micros));
  return [
    { name: "Records", number: true, cell: (row) => count(row.records) },
    { name: `Now (${answer.currency})`, number: true, cell: (row) => now(row.running_micros) },
    { name: `Draft (${answer.currency})`, number: true, cell: (row) => then(row.draft_micros) },
    { name: `Difference (${answer.currency})`, number: true, cell: (row) => (row.difference_micros > 0 ? "+" : "") + between(row.difference_micros) },
  ];
}

function segment(answer, name, rows) {
  const title = `By ${name}`, shown = rows.slice(0, SHOWN);
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title),
    table(title, [{ name: sentence(name), cell: (row) => words(row.name) }, ...amounts(answer, shown)], shown, "None.", { rowHeads: true }),
    rows.length > SHOWN ? h("p", { class: "muted" }, `${count(rows.length - SHOWN)} more; the CSV has them.`) : null);
}

function refused(answer) {
  if (answer.refused.length === 0) return null;
  const reason = (text) => (text ? sentence(text) : "Priced");
  return h("section", { class: "card", "aria-label": "Records without a price" }, h("h2", {}, "Records without a price"),
    table("Records without a price", [
      { name: "Now", cell: (row) => reason(row.running) }, { name: "Draft", cell: (row) => reason(row.draft) }, ...amounts(answer, answer.refused),
    ], answer.refused, "None."));
}

function people(answer, key, title) {
  if (answer[key].length === 0) return null;
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title),
    table(title, [{ name: "Subscriber", cell: (row) => h("a", { href: `#/subscriber/${row.subscriber.ref}` }, row.subscriber.number) }, ...amounts(answer, answer[key])], answer[key], "None."));
}

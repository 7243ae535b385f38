// One incident: why it is held to be one, whom it hits, what was done, and by whom.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { age, count, moment, money, sentence } from "/page/format.js";
import { alarmSeverity } from "/page/severity.js";
import { alarmTable, ways } from "/page/views/network.js";

export function incident(main, session, name) {
  const place = h("div", { class: "flow" }, h("p", { class: "loading" }, "Loading…"));
  show(main, heading("Incident", h("p", { class: "muted" }, name)), ways(""), place);
  const path = `/api/v1/network/incidents/${encodeURIComponent(name)}`;
  let ended = false;

  async function load() {
    try {
      const { said } = await get(path);
      if (ended) return;
      const credit = said.customers_told && session.may("read_person") ? await get(`${path}/credits`).catch(() => null) : null;
      if (ended) return;
      show(place, facts(said), acting(said), credit ? credits(credit.said) : null, lines(said));
    } catch (error) {
      show(place, failure(error, load));
    }
  }

  function facts(said) {
    const fact = (term, ...what) => [h("dt", {}, term), h("dd", {}, ...what)];
    return h("section", { class: "card", "aria-labelledby": "facts-title" },
      h("h2", { id: "facts-title" }, alarmSeverity(said.severity), ` ${said.root_name || "Unknown root"}: ${sentence(said.cause || "cause unknown")}`),
      h("dl", { class: "compare" },
        fact("Why", said.why || "–"),
        fact("State", said.closed_us ? `closed at ${moment(said.closed_us)}` : "open"),
        fact("Began", moment(said.began_us)),
        fact("Opened", moment(said.opened_us)),
        fact("Told after", age(Math.max(0, said.told_after_us / 1e6))),
        fact("Over after", said.repaired_after_us === null ? "–" : age(said.repaired_after_us / 1e6)),
        fact("Customers", `${count(said.subscribers)} as a rule; ${count(said.customers_told)} were told of it`),
        fact("Money a minute", money(said.micros_per_minute)),
        fact("Agreements at risk", said.at_risk || "none"),
        fact("Owner", said.owner || "nobody"),
        fact("Affected", `${count(said.affected_count)}: `, said.affected.slice(0, 60).map((each, at) => [at ? ", " : "", h("a", { href: `#/network/cell/${encodeURIComponent(each)}` }, each)]), said.affected.length > 60 ? " …" : "")));
  }

  function acting(said) {
    if (!session.may("operate_network")) return null;
    const text = h("input", { id: "note", autocomplete: "off", maxlength: "2000", required: true });
    const act = async (way, body, done) => {
      try {
        await post(`${path}/${way}`, body);
        say(done);
        await load();
      } catch (error) {
        say(error.message, true);
      }
    };
    return h("section", { class: "card", "aria-label": "Act" },
      h("div", { class: "actions" },
        said.owner === session.name
          ? h("button", { type: "button", onclick: () => act("own", { owner: "" }, "Given back.") }, "Give it back")
          : h("button", { type: "button", class: "strong", onclick: () => act("own", { owner: session.name }, "It is yours.") }, "Take it")),
      h("form", { class: "find", onsubmit: (event) => { event.preventDefault(); act("notes", { text: text.value }, "Noted."); } },
        h("label", { for: "note" }, "Note"), text, h("button", { type: "submit" }, "Add")));
  }

  // What the rules give back: seen by everybody who may see persons, booked by those who may move money.
  function credits(said) {
    const sum = (micros) => money(micros, said.currency);
    const told = said.rule === null
      ? "No rule gives anything back for it."
      : `The rule “${said.rule}” gives ${count(said.credited)} customers ${sum(said.total_micros)} in all, the most ${sum(said.most_micros)}, for ${count(said.minutes)} minutes. ${count(said.booked)} are booked.`;
    const more = said.rule === null ? "" : !said.over ? " It is not over yet; this is what it comes to so far." : said.by_itself ? " The rule books by itself." : "";
    const open = said.over && said.rule !== null && said.booked < said.credited && session.may("move_money");
    const book = async () => {
      if (!confirm(`Give ${count(said.credited - said.booked)} customers ${sum(said.total_micros)} in all? It is booked in the ledger.`)) return;
      try {
        const { said: done } = await post(`${path}/credits`);
        say(`${count(done.booked)} credits are booked, ${count(done.refused)} were refused.`);
        await load();
      } catch (error) {
        say(error.message, true);
      }
    };
    return h("section", { class: "card", "aria-labelledby": "credits-title" }, h("h2", { id: "credits-title" }, "Given back"),
      h("p", {}, told + more), open ? h("p", { class: "actions" }, h("button", { type: "button", class: "strong", onclick: book }, "Book the credits")) : null,
      said.items.length ? h("details", { class: "twin" }, h("summary", {}, "Customers and amounts"), table("Customers and amounts", [
        { name: "Customer", cell: (row) => row.subscriber.number },
        { name: "Amount", number: true, cell: (row) => sum(row.amount_micros) },
        { name: "Status", cell: (row) => row.status || "–" },
      ], said.items, "")) : null);
  }

  function lines(said) {
    const story = [
      ...said.changes_seen.map((row) => ({ time_us: row.time_us, who: row.actor || "trunkline", what: `${sentence(row.action)}: ${row.why || row.cause || ""}` })),
      ...said.notes.map((row) => ({ time_us: row.time_us, who: row.actor, what: row.action === "own" ? `Owner: ${row.text || "nobody"}` : row.text })),
    ].sort((a, b) => b.time_us - a.time_us);
    return [
      h("section", { class: "card", "aria-labelledby": "line-title" }, h("h2", { id: "line-title" }, "Time line"), table("Time line, newest first", [
        { name: "Time (UTC)", cell: (row) => moment(row.time_us) },
        { name: "Who", cell: (row) => row.who },
        { name: "What", wrap: true, long: true, cell: (row) => row.what },
      ], story, "Nothing happened yet.")),
      h("section", { class: "card", "aria-labelledby": "alarms-title" }, h("h2", { id: "alarms-title" }, "Alarms of what is affected"), alarmTable(said.alarms_of_it)),
    ];
  }

  load();
  const again = setInterval(() => { if (!place.matches(":focus-within")) load(); }, 10000);
  return () => { ended = true; clearInterval(again); };
}

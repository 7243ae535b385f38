// Records that could not be charged or telemetry that could not be used: why, what it said, and the two ways out.

import { get, post, query } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, words } from "/page/format.js";
import { listen, live } from "/page/live.js";

const PAGE = 50;

const USAGE = { base: "/api/v1/rejects", title: "Rejects", said: "Set aside, nothing charged. Correct and offer again, or close for good.", closed: "It will not be charged." };

export function rejects(main, session) {
  return settling(main, session, USAGE);
}

// What is set aside by one flow: `what` says where it is asked for and what people are told.
export function settling(main, session, what) {
  const settle = session.may("settle");
  const reasons = h("div"), list = h("div"), detail = h("div");
  let reason = "", offset = 0, open = null, texts = {};
  show(main,
    heading(what.title, h("p", { class: "muted" }, what.said),
      settle ? h("a", { class: "button", id: "export", href: `${what.base}/export`, download: "rejects.ndjson" }, "Export all (NDJSON)") : null),
    what.ways || "",
    h("div", { class: "split" },
      h("section", { class: "card", "aria-labelledby": "reasons-title" }, h("h2", { id: "reasons-title" }, "By reason"), reasons),
      h("div", { class: "flow" }, detail, h("section", { class: "card", "aria-label": "Rejected records" }, list))));

  async function load() {
    try {
      const [counted, said] = await Promise.all([
        get(`${what.base}/reasons`),
        get(`${what.base}${query({ reason, limit: PAGE, offset, raw: settle ? "true" : "" })}`),
      ]);
      texts = Object.fromEntries(counted.items.map((item) => [item.reason, item.text]));
      drawReasons(counted);
      drawList(said);
    } catch (error) {
      show(list, failure(error, load));
    }
  }

  function drawReasons(counted) {
    const total = counted.items.reduce((sum, item) => sum + item.count, 0);
    const more = counted.complete ? "" : "+";
    const choose = (name, label, number, text) => h("button", {
      type: "button", class: "choice", "aria-pressed": String(reason === name),
      onclick: () => { reason = name; offset = 0; open = null; show(detail); load(); },
    }, h("span", {}, h("strong", {}, label), text ? h("span", { class: "muted small" }, text) : null), h("span", { class: "number" }, count(number) + more));
    show(reasons, total === 0 ? h("p", { class: "empty" }, "Nothing is waiting. Good.") : h("div", { class: "choices" },
      choose("", "All", total), counted.items.map((item) => choose(item.reason, words(item.reason), item.count, item.text))));
    const link = document.getElementById("export");
    if (link) link.href = `${what.base}/export${query({ reason })}`;
  }

  function drawList(said) {
    const where = (row) => (row.path ? `${row.path.split("/").at(-1)}:${row.line ?? "?"}` : "–");
    const columns = [
      { name: "No.", number: true, cell: (row) => row.number },
      { name: "Reason", cell: (row) => words(row.reason) },
      { name: "What exactly", wrap: true, cell: (row) => row.detail || "–" },
      { name: "Source", cell: (row) => row.source || "–" },
      { name: "Where", cell: (row) => h("span", { title: row.path }, where(row)) },
    ];
    if (settle) columns.push({ name: "Action", unseen: true, cell: (row) => h("button", { type: "button", onclick: () => edit(row) }, "Correct", h("span", { class: "unseen" }, ` record ${row.number}`)) });
    show(list,
      table("Rejected records", columns, said.items, reason ? "No open rejects with this reason." : "No open rejects.", { rowClass: (row) => (open === row.number ? "open" : null) }),
      pager(said));
  }

  function pager(said) {
    if (!offset && !said.more) return null;
    const go = (by) => () => { offset = Math.max(0, offset + by); load(); };
    return h("div", { class: "pager" },
      h("button", { type: "button", disabled: offset === 0, onclick: go(-PAGE) }, "Newer"),
      h("span", { class: "muted" }, `${offset + 1} to ${offset + said.items.length}`),
      h("button", { type: "button", disabled: !said.more, onclick: go(PAGE) }, "Older"));
  }

  function edit(row) {
    open = row.number;
    const text = h("textarea", { id: "corrected", rows: "5", spellcheck: "false", autocomplete: "off", value: row.raw || "" });
    const wrong = h("p", { class: "failed", role: "alert" });
    const act = async (path, body, told) => {
      wrong.textContent = "";
      try {
        await post(`${what.base}/${row.number}/${path}`, body);
        say(told);
        open = null;
        show(detail);
        await load();
        main.querySelector("h1").focus();
      } catch (error) {
        wrong.textContent = error.message;
      }
    };
    show(detail, h("section", { class: "card", "aria-labelledby": "edit-title" },
      h("h2", { id: "edit-title", tabindex: "-1" }, `Record ${row.number}: ${words(row.reason)}`),
      h("p", {}, texts[row.reason] || "", row.detail ? h("strong", {}, ` ${row.detail}`) : null),
      h("label", { for: "corrected" }, `The record as ${row.source || "its source"} sent it (mapping ${row.mapping})`), text, wrong,
      h("div", { class: "actions" },
        h("button", { type: "button", class: "strong", onclick: () => act("correct", { text: text.value }, `Record ${row.number} was offered again. If it is still wrong, it comes back with a new number.`) }, "Offer again"),
        h("button", { type: "button", onclick: () => { if (confirm(`Close record ${row.number} for good? ${what.closed}`)) act("close", undefined, `Record ${row.number} is closed.`); } }, "Close for good"),
        h("button", { type: "button", class: "quiet", onclick: () => { open = null; show(detail); load(); } }, "Cancel"))));
    document.getElementById("edit-title").focus();
  }

  // New rejects appear by themselves, but never under somebody's finger.
  let known = live.sample ? live.sample.status.rejected_open : -1;
  const end = what !== USAGE ? () => {} : listen((told, value) => {
    if (told !== "sample" || value.status.rejected_open === known || list.matches(":hover, :focus-within")) return;
    known = value.status.rejected_open;
    load();
  });
  show(list, h("p", { class: "loading" }, "Loading…"));
  load();
  return end;
}

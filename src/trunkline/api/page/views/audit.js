// Who looked at and changed whose data.

import { get } from "/page/api.js";
import { failure, h, heading, show, table } from "/page/dom.js";
import { moment, words } from "/page/format.js";
import { person } from "/page/views/person.js";

const PAGE = 100;

export function audit(main, session) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  let offset = 0;
  show(main, heading("Audit", h("p", { class: "muted" }, "Every look at a person's data and every change, newest first.")), h("section", { class: "card", "aria-label": "Audit trail" }, list));

  async function load() {
    try {
      const said = await get(`/api/v1/audit?limit=${PAGE}&offset=${offset}`);
      const go = (by) => () => { offset = Math.max(0, offset + by); load(); };
      show(list, table("Audit trail, newest first", [
        { name: "Time (UTC)", cell: (row) => moment(row.time_us) },
        { name: "Who", cell: (row) => row.actor },
        { name: "Role", cell: (row) => row.role },
        { name: "What", cell: (row) => words(row.action) },
        { name: "Whose", cell: (row) => (row.subscriber ? person(session, row.subscriber) : "–") },
        { name: "Detail", wrap: true, cell: (row) => row.detail || "–" },
      ], said.items, "Nothing yet."),
      h("div", { class: "pager" },
        h("button", { type: "button", disabled: offset === 0, onclick: go(-PAGE) }, "Newer"),
        h("button", { type: "button", disabled: said.items.length < PAGE, onclick: go(PAGE) }, "Older")));
    } catch (error) {
      show(list, failure(error, load));
    }
  }
  load();
  return () => {};
}

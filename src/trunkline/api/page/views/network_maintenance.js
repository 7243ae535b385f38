// Planned work: what a window would hold back is shown before it is saved, and what is planned can be taken back.

import { get, post, remove } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, moment, money } from "/page/format.js";
import { ways } from "/page/views/network.js";

export function maintenance(main, session) {
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…")), preview = h("div", { role: "status" }), wrong = h("p", { class: "failed", role: "alert" });
  const field = (id, label, attributes) => {
    const input = h("input", { id, autocomplete: "off", required: true, ...attributes });
    return [h("div", {}, h("label", { for: id }, label), input), input];
  };
  const [nameRow, name] = field("window-name", "Name", { maxlength: "100" });
  const [objectsRow, objects] = field("window-objects", "What is worked on (names, separated by commas)", {});
  const [beginRow, begin] = field("window-begin", "From (UTC)", { type: "datetime-local" });
  const [endRow, end] = field("window-end", "Until (UTC)", { type: "datetime-local" });
  const [reasonRow, reason] = field("window-reason", "Reason", { maxlength: "500", required: false });

  const order = () => ({
    window_id: name.value.trim(),
    objects: objects.value.split(",").map((each) => each.trim()).filter(Boolean),
    begin_us: Date.parse(`${begin.value}Z`) * 1000,
    end_us: Date.parse(`${end.value}Z`) * 1000,
    reason: reason.value,
  });
  async function act(way) {
    wrong.textContent = "";
    try {
      if (way === "preview") show(preview, shown((await post("/api/v1/network/maintenance/preview", order())).said));
      else {
        await post("/api/v1/network/maintenance", order());
        say("The window is planned.");
        show(preview);
        await load();
      }
    } catch (error) {
      wrong.textContent = error.message;
    }
  }
  const form = h("form", { class: "stack narrow", onsubmit: (event) => { event.preventDefault(); act("preview"); } },
    nameRow, objectsRow, beginRow, endRow, reasonRow, wrong,
    h("div", { class: "actions" }, h("button", { type: "submit", class: "strong" }, "Preview"), h("button", { type: "button", id: "plan", onclick: () => act("plan") }, "Plan it")), preview);

  function shown(said) {
    return h("dl", { class: "compare" },
      h("dt", {}, "Cells held back"), h("dd", {}, `${count(said.cells)}: ${said.cell_names.slice(0, 30).join(", ")}${said.cells > 30 ? " …" : ""}`),
      h("dt", {}, "Customers there"), h("dd", {}, count(said.subscribers)),
      h("dt", {}, "Money a minute"), h("dd", {}, money(said.micros_per_minute)),
      h("dt", {}, "Active alarms"), h("dd", {}, count(said.active_alarms)));
  }

  async function load() {
    try {
      const { items } = await get("/api/v1/network/maintenance");
      show(list, table("Maintenance windows, the latest end first", [
        { name: "Name", cell: (row) => row.window_id },
        { name: "What", wrap: true, cell: (row) => row.objects.join(", ") },
        { name: "From (UTC)", cell: (row) => moment(row.begin_us) },
        { name: "Until (UTC)", cell: (row) => moment(row.end_us) },
        { name: "Reason", wrap: true, cell: (row) => row.reason },
        { name: "By", cell: (row) => row.actor },
        { name: "Cancel", unseen: true, cell: (row) => (session.may("plan_maintenance") ? h("button", { type: "button", "aria-label": `Cancel ${row.window_id}`, onclick: () => cancel(row.window_id) }, "Cancel") : "") },
      ], items, "No maintenance is planned."));
    } catch (error) {
      show(list, failure(error, load));
    }
  }
  async function cancel(window) {
    try {
      await remove(`/api/v1/network/maintenance/${encodeURIComponent(window)}`);
      say("The window is cancelled.");
      await load();
    } catch (error) {
      say(error.message, true);
    }
  }

  show(main, heading("Maintenance windows", h("p", { class: "muted" }, "A window holds back alerting of what is worked on and of what hangs on it. Nothing stops being watched, and no end of an alarm is held back.")), ways("#/network/maintenance"),
    h("section", { class: "card", "aria-label": "Planned" }, list),
    session.may("plan_maintenance") ? h("section", { class: "card", "aria-labelledby": "plan-title" }, h("h2", { id: "plan-title" }, "Plan a window"), form) : null);
  load();
  return () => {};
}

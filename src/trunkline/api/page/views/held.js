// What of an account is spoken for: amounts set apart, quotas of sessions, usage that waits to be charged. Asked for with
// the person and after each release; it says of when it is, because it moves with every request of a network function.

import { get, post } from "/page/api.js";
import { failure, h, say, show, table } from "/page/dom.js";
import { iso, quantity, words } from "/page/format.js";

const WHAT = { reservation: "set apart", quota: "promised", owed: "used, not charged yet" };

export function held(session, path) {
  const place = h("div", { id: "held" });
  const section = h("section", { class: "card", "aria-labelledby": "held-title", hidden: true },
    h("div", { class: "heading" }, h("h3", { id: "held-title" }, "Set apart and promised"),
      h("button", { type: "button", class: "quiet", onclick: () => load() }, "Look again")), place);
  let numbers = "";

  async function load(full = numbers) {
    numbers = full;
    section.hidden = false;
    try {
      draw(await get(`${path}/reservations${numbers}`));
    } catch (error) {
      show(place, failure(error, () => load()));
    }
  }

  async function release(row, button) {
    button.disabled = true;
    try {
      await post(`${path}/reservations/${row.name}/release`, {});
      say(`Reservation ${row.name} was released.`);
    } catch (error) {
      say(error.message, true);
    }
    await load();
  }

  function draw(said) {
    const amount = (row, value) => (value ? quantity(value, row.unit, said.currency) : "–");
    const columns = [
      { name: "What", cell: (row) => WHAT[row.what] },
      { name: "Of", wrap: true, cell: (row) => (row.balance ? words(row.balance) : `${row.usage}, group ${row.group}`) },
      { name: "Holds", number: true, cell: (row) => amount(row, row.units) },
      { name: "Used, not charged yet", number: true, cell: (row) => amount(row, row.used) },
      { name: "Since (UTC)", cell: (row) => iso(row.since) },
      { name: "Until (UTC)", cell: (row) => iso(row.until) || "–" },
      { name: "Name", cell: (row) => row.name },
    ];
    if (said.items.some((row) => row.subscriber.ref !== said.subscriber.ref)) columns.splice(1, 0, { name: "Member", cell: (row) => row.subscriber.number });
    if (session.may("move_money") && said.items.some((row) => row.what === "reservation")) {
      columns.push({ name: "Action", unseen: true, cell: (row) => {
        if (row.what !== "reservation") return "";
        const button = h("button", { type: "button", onclick: () => release(row, button) }, "Release", h("span", { class: "unseen" }, ` reservation ${row.name}`));
        return button;
      } });
    }
    const taken = said.balances.map((each) => `${quantity(each.amount, each.unit, said.currency)} of ${words(each.balance)}`).join(", ");
    show(place,
      table("Set apart and promised, newest first", columns, said.items, "Nothing of this account is set apart or promised."),
      taken ? h("p", { class: "muted small" }, `If all of it were used now, it would take ${taken}.`) : null);
  }

  return { section, load };
}

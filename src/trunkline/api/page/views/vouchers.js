// Batches of vouchers: made, put into circulation, blocked, and what became of them. Codes are never shown here: who prints
// them takes them from the command line or over HTTP, and that is written down.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, iso, quantity, words } from "/page/format.js";
import { toUnits } from "/page/views/subscriber.js";

const DONE = { activate: "is in circulation", block: "is blocked", unblock: "is no longer blocked" };

export function vouchers(main, session) {
  const place = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const one = lookUp();
  show(main, heading("Vouchers"),
    h("section", { class: "card", "aria-labelledby": "batches-title" }, h("h2", { id: "batches-title" }, "Batches"), place),
    h("div", { class: "pair" }, maker(load), one));

  async function load() {
    try {
      draw(await get("/api/v1/vouchers"));
    } catch (error) {
      show(place, failure(error, load));
    }
  }

  async function change(batch, action) {
    try {
      await post(`/api/v1/vouchers/${batch}/change`, { action });
      say(`Batch ${batch} ${DONE[action]}.`);
      await load();
    } catch (error) {
      say(error.message, true);
    }
  }

  function draw(said) {
    const number = (name) => ({ name: words(name), number: true, cell: (row) => count(row[name]) });
    const button = (row, action, title) => h("button", { type: "button", onclick: () => change(row.batch, action) }, title, h("span", { class: "unseen" }, ` batch ${row.batch}`));
    show(place, table("Batches of vouchers, newest first", [
      { name: "Batch", cell: (row) => row.batch },
      { name: "State", cell: (row) => row.state },
      { name: "Worth", number: true, cell: (row) => quantity(row.amount, row.unit, said.currency) },
      { name: "Of", cell: (row) => words(row.balance) + (row.valid_days ? `, for ${row.valid_days} days` : "") },
      { name: "Expires (UTC)", cell: (row) => iso(row.expires) },
      number("made"), number("unused"), number("used"), number("blocked"), number("expired"),
      { name: "Made by", cell: (row) => row.actor },
      { name: "Action", unseen: true, cell: (row) => (row.state === "made" ? button(row, "activate", "Activate") : row.state === "active" ? button(row, "block", "Block") : button(row, "unblock", "Unblock")) },
    ], said.items, "There are no vouchers yet.", { rowHeads: true }));
  }
  load();
  return () => {};
}

function field(id, label, attributes) {
  const input = h("input", { id, autocomplete: "off", required: true, ...attributes });
  return { input, row: h("div", {}, h("label", { for: id }, label), input) };
}

// A batch of the main balance's money. The same order again makes nothing, so a lost answer makes nothing twice.
function maker(done) {
  const name = field("batch-name", "Name", { maxlength: "40", pattern: "[A-Za-z0-9_\\-]+", placeholder: "autumn-10" });
  const size = field("batch-size", "How many", { inputmode: "numeric", placeholder: "1000" });
  const worth = field("batch-worth", "What each is worth", { inputmode: "decimal", placeholder: "10.00" });
  const expires = field("batch-expires", "First day on which it is no longer redeemed", { type: "date" });
  const wrong = h("p", { class: "failed", role: "alert" });
  const button = h("button", { type: "submit", class: "strong" }, "Make");
  return h("section", { class: "card", "aria-labelledby": "make-title" }, h("h2", { id: "make-title" }, "Make a batch"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      const amount = toUnits(worth.input.value, "money"), many = toUnits(size.input.value, "events");
      wrong.textContent = !many ? "How many is a whole number." : !amount ? "What each is worth is an amount such as 10.00." : "";
      if (wrong.textContent) return;
      button.disabled = true;
      try {
        const said = await post("/api/v1/vouchers", { batch: name.input.value, size: many, amount, expires: `${expires.input.value}T00:00:00Z` });
        say(`${count(said.made)} vouchers of batch ${said.batch} ${said.status === "made" ? "are made; activate the batch to let them be redeemed" : "were made before"}.`);
        await done();
      } catch (error) {
        wrong.textContent = error.message;
      } finally {
        button.disabled = false;
      }
    },
  }, name.row, size.row, worth.row, expires.row, h("p", { class: "muted small" }, "Of other balances, and with an end of their own: trunkline voucher make."), wrong, button));
}

// What became of one voucher, and blocking one that was lost.
function lookUp() {
  const batch = field("one-batch", "Batch", { maxlength: "40" });
  const number = field("one-number", "Number within the batch", { inputmode: "numeric" });
  const wrong = h("p", { class: "failed", role: "alert" }), told = h("div");
  const path = () => `/api/v1/vouchers/${encodeURIComponent(batch.input.value)}/${encodeURIComponent(number.input.value)}`;

  function draw(said) {
    const action = { active: "block", made: "block", blocked: "unblock" }[said.state];
    show(told, h("p", {}, `${said.batch}-${said.number}: ${said.state}${said.used_at ? ` since ${iso(said.used_at)} UTC` : ""}`),
      action ? h("button", { type: "button", onclick: () => ask(() => post(`${path()}/change`, { action })) }, action === "block" ? "Block this voucher" : "Unblock this voucher") : null);
  }

  async function ask(question) {
    wrong.textContent = "";
    try {
      draw(await question());
    } catch (error) {
      show(told);
      wrong.textContent = error.message;
    }
  }
  return h("section", { class: "card", "aria-labelledby": "one-title" }, h("h2", { id: "one-title" }, "One voucher"), h("form", {
    class: "stack",
    onsubmit: (event) => {
      event.preventDefault();
      ask(() => get(path()));
    },
  }, batch.row, number.row, wrong, h("button", { type: "submit", class: "strong" }, "Look up"), told));
}

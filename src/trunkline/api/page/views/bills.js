// Bills: what was billed, everybody's newest, one subscriber's with the preview of the running period, and one bill whole.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, table } from "/page/dom.js";
import { count, iso, money, moneyColumn, words } from "/page/format.js";
import { toUnits } from "/page/views/subscriber.js";

const PERIOD = /^\d{4}-(0[1-9]|1[0-2])$/;

export function bills(main, session, rest) {
  const place = h("div", { class: "flow" });
  const [first, second] = rest.split("/");
  show(main, heading("Bills"), finder(), place);
  if (first === "of" && second) ofSubscriber(place, second);
  else if (first) one(place, session, first);
  else overview(place, session);
  return () => {};
}

function finder() {
  const number = h("input", { id: "bill-number", type: "search", inputmode: "tel", autocomplete: "off", placeholder: "+44 7700 900001", required: true });
  const wrong = h("p", { class: "failed", role: "alert" });
  return h("form", {
    class: "find", role: "search",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      try {
        const found = await post("/api/v1/subscribers/find", { number: number.value });
        number.value = "";
        location.hash = `#/bills/of/${found.ref}`;
      } catch (error) {
        wrong.textContent = error.message;
      }
    },
  }, h("label", { for: "bill-number" }, "Telephone number"), number, h("button", { type: "submit", class: "strong" }, "Find bills"), wrong);
}

async function overview(place, session) {
  show(place, h("p", { class: "loading" }, "Loading…"));
  try {
    const [periods, newest] = await Promise.all([get("/api/v1/bills/periods"), get("/api/v1/bills?limit=50")]);
    const total = moneyColumn(periods.items.map((row) => row.total_micros));
    const tax = moneyColumn(periods.items.map((row) => row.tax_micros));
    const abroad = periods.items.some((row) => row.payable_currency !== periods.currency);
    show(place,
      h("section", { class: "card", "aria-labelledby": "periods-title" }, h("h2", { id: "periods-title" }, "Billed periods"),
        table("Billed periods", [
          { name: "Period", cell: (row) => row.period },
          { name: "Bills", number: true, cell: (row) => count(row.bills) },
          { name: `Total (${periods.currency})`, number: true, cell: (row) => total(row.total_micros) },
          { name: `Of it taxes (${periods.currency})`, number: true, cell: (row) => tax(row.tax_micros) },
          abroad ? { name: "To be paid in", number: true, cell: (row) => money(row.payable_micros, row.payable_currency) } : null,
        ].filter(Boolean), periods.items, "No period was billed yet."),
        session.may("move_money") ? runForm(() => overview(place, session)) : null),
      h("section", { class: "card", "aria-labelledby": "newest-title" }, h("h2", { id: "newest-title" }, "Newest bills"), listed(newest.items, "Newest bills")));
  } catch (error) {
    show(place, failure(error, () => overview(place, session)));
  }
}

function runForm(done) {
  const period = h("input", { id: "run-period", autocomplete: "off", placeholder: "2026-10", required: true, "aria-describedby": "run-wrong" });
  const wrong = h("p", { class: "failed", id: "run-wrong", role: "alert" });
  const button = h("button", { type: "submit" }, "Make bills");
  return h("form", {
    class: "find",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      if (!PERIOD.test(period.value.trim())) {
        wrong.textContent = "Enter the month in which the period began, such as 2026-10.";
        period.focus();
        return;
      }
      button.disabled = true;
      try {
        const said = await post("/api/v1/bills/runs", { period: period.value.trim() });
        say(`${count(said.bills)} bills were made; ${count(said.billed)} were there, ${count(said.running)} periods are not over.`);
        await done();
      } catch (error) {
        wrong.textContent = error.message;
      } finally {
        button.disabled = false;
      }
    },
  }, h("label", { for: "run-period" }, "Period to bill"), period, button, wrong);
}

function listed(items, title) {
  const total = moneyColumn(items.map((row) => row.total_micros));
  const abroad = items.some((row) => row.payable.rate);
  return table(title, [
    { name: "Period", cell: (row) => row.period },
    { name: "Bill", cell: (row) => h("a", { href: `#/bills/${row.bill_id}` }, row.bill_id) },
    { name: "Subscriber", cell: (row) => h("a", { href: `#/bills/of/${row.ref}` }, row.subscriber) },
    { name: "Plan", cell: (row) => words(row.plan.split("@")[0]) || "–" },
    { name: "State", cell: (row) => row.state },
    { name: "Total", number: true, cell: (row) => `${total(row.total_micros)} ${row.currency}` },
    abroad ? { name: "To be paid in", number: true, cell: (row) => (row.payable.rate ? money(row.payable.total_micros, row.payable.currency) : "–") } : null,
  ].filter(Boolean), items, "No bill was made yet.");
}

async function ofSubscriber(place, reference) {
  show(place, h("p", { class: "loading" }, "Loading…"));
  const path = `/api/v1/subscribers/${encodeURIComponent(reference)}/bills`;
  try {
    const made = await get(path);
    const running = await get(`${path}/preview`).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
    show(place,
      running ? whole(running, "The running period, as it stands") : h("p", { class: "empty" }, "The running period has its bill already."),
      h("section", { class: "card", "aria-labelledby": "made-title" }, h("h2", { id: "made-title" }, "Bills so far"), listed(made.items, "Bills so far")));
  } catch (error) {
    show(place, failure(error, () => ofSubscriber(place, reference)));
  }
}

async function one(place, session, name) {
  show(place, h("p", { class: "loading" }, "Loading…"));
  const path = `/api/v1/bills/${encodeURIComponent(name)}`;
  try {
    const bill = await get(path);
    show(place, whole(bill, `Bill ${bill.bill_id}`),
      h("p", {}, ["pdf", "html", "json"].map((form) => [h("a", { href: `${path}/file?format=${form}&items=true`, download: `bill-${name}.${form}` }, `As ${form.toUpperCase()}`), " "])),
      session.may("move_money") ? h("div", { class: "pair" }, disputeForm(bill, path, () => one(place, session, name)), creditForm(bill, path, () => one(place, session, name))) : null);
  } catch (error) {
    show(place, failure(error, () => one(place, session, name)));
  }
}

function whole(bill, title) {
  const facts = [
    ["Subscriber", h("a", { href: `#/bills/of/${bill.ref}` }, bill.subscriber)], ["Plan", words(bill.plan.split("@")[0]) || "none"],
    ["Period", `${iso(bill.from)} to ${iso(bill.until)} UTC`], ["State", bill.state],
    ["To be paid", bill.payment === "postpaid" ? `${money(bill.payable.owed_micros, bill.payable.currency)} until ${iso(bill.due)} UTC` : "nothing: prepaid"],
    bill.credited_micros ? ["Credit notes", money(bill.credited_micros, bill.currency)] : null,
  ].filter(Boolean);
  const amount = moneyColumn([bill.total_micros, ...bill.lines.map((line) => line.amount_micros)]);
  const rows = [...bill.lines, { title: "Total", text: bill.currency, amount_micros: bill.total_micros, total: true }];
  const name = "bill-title";
  return h("section", { class: "card", "aria-labelledby": name }, h("h2", { id: name }, title),
    facts.map(([what, value]) => h("div", { class: "row" }, h("span", { class: "muted" }, what), h("span", {}, value))),
    bill.payable.rate ? h("div", { class: "row" }, h("span", { class: "muted" }, `Total in ${bill.payable.currency}`), h("span", {}, `${money(bill.payable.total_micros, bill.payable.currency)}: ${bill.payable.text}`)) : null,
    table(title, [
      { name: "Part", cell: (line) => (line.total ? h("strong", {}, line.title) : line.title) },
      { name: "What", cell: (line) => line.text },
      { name: `Amount (${bill.currency})`, number: true, cell: (line) => (line.total ? h("strong", {}, amount(line.amount_micros)) : amount(line.amount_micros)) },
    ], rows, "Nothing is on it."),
    bill.notes.map((note) => h("p", {}, `${iso(note.time)} UTC, ${note.action}: ${note.text}${note.amount_micros ? ` (${money(note.amount_micros, bill.currency)})` : ""}`)));
}

function disputeForm(bill, path, done) {
  const disputed = bill.state === "disputed";
  const reason = h("input", { id: "dispute-text", autocomplete: "off", required: true, maxlength: "1000" });
  return order(disputed ? "Settle the dispute" : "Dispute", "dispute", [["dispute-text", disputed ? "How it was settled" : "Why", reason]],
    async () => post(`${path}/disputes`, { text: reason.value, settled: disputed }), done);
}

function creditForm(bill, path, done) {
  const amount = h("input", { id: "credit-amount", inputmode: "decimal", autocomplete: "off", required: true });
  const reason = h("input", { id: "credit-text", autocomplete: "off", required: true, maxlength: "1000" });
  return order("Credit note", "credit", [["credit-amount", `Amount (${bill.currency})`, amount], ["credit-text", "Why", reason]], async () => {
    const micros = toUnits(amount.value, "money");
    if (!micros) throw new Error("Enter an amount such as 5.00.");
    return post(`${path}/credits`, { amount_micros: micros, text: reason.value });
  }, done);
}

function order(title, name, fields, send, done) {
  const wrong = h("p", { class: "failed", role: "alert" });
  const button = h("button", { type: "submit" }, title);
  return h("section", { class: "card", "aria-labelledby": `${name}-title` }, h("h2", { id: `${name}-title` }, title), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      button.disabled = true;
      try {
        await send();
        say(`${title}: written down.`);
        await done();
      } catch (error) {
        wrong.textContent = error.message;
      } finally {
        button.disabled = false;
      }
    },
  }, fields.map(([id, label, field]) => h("div", {}, h("label", { for: id }, label), field)), wrong, button));
}

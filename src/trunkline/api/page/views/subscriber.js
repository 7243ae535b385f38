// One person: find, see balances and usage as it happens, top up. Every look is written to the audit trail.

import { get, post } from "/page/api.js";
import { failure, h, heading, say, show, showCalmly, table } from "/page/dom.js";
import { iso, moment, money, moneyColumn, quantity, sentence, words } from "/page/format.js";
import { listen, live, watch } from "/page/live.js";
import { choices } from "/page/views/deliveries.js";
import { held } from "/page/views/held.js";

export function subscriber(main, session, reference) {
  const number = h("input", { id: "number", type: "search", inputmode: "tel", autocomplete: "off", placeholder: "+44 7700 900001", required: true });
  const wrong = h("p", { class: "failed", role: "alert" });
  const form = h("form", {
    class: "find", role: "search",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      try {
        const found = await post("/api/v1/subscribers/find", { number: number.value });
        number.value = "";
        if (found.ref === reference) return;
        location.hash = `#/subscriber/${found.ref}`;
      } catch (error) {
        wrong.textContent = error.message;
      }
    },
  }, h("label", { for: "number" }, "Telephone number"), number, h("button", { type: "submit", class: "strong" }, "Find"), wrong);
  const place = h("div", { class: "flow" });
  show(main, heading("Subscriber"), form, place);
  if (!reference) {
    show(place, h("p", { class: "empty" }, "Enter a number with its country code. Looking somebody up is written to the audit trail."));
    if (document.activeElement === document.body) number.focus();
    return () => {};
  }
  return one(place, session, reference);
}

function one(place, session, reference) {
  const path = `/api/v1/subscribers/${encodeURIComponent(reference)}`;
  const who = h("h2", { class: "phone", id: "who-is-it" }), plans = h("p", { class: "muted" });
  const balances = h("div"), counters = h("div"), usage = h("div", { id: "usage" }), ledger = h("div");
  let full = false, account = null, offered = false;

  const reveal = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: async () => {
    full = !full;
    reveal.setAttribute("aria-pressed", String(full));
    reveal.textContent = full ? "Mask the numbers" : "Show numbers in full";
    await load();
  } }, "Show numbers in full");
  const entries = h("details", { class: "twin", ontoggle: () => { if (entries.open) loadLedger(); } }, h("summary", {}, "Ledger entries"), ledger);
  const topUp = h("div", { class: "flow" }), holds = held(session, path);
  show(place, h("p", { class: "loading" }, "Loading…"));

  function frame() {
    show(place,
      h("div", { class: "heading" }, who, reveal), plans,
      h("div", { class: "pair" },
        h("section", { class: "card", "aria-labelledby": "balances-title" }, h("h3", { id: "balances-title" }, "Balances"), balances, counters),
        topUp),
      holds.section,
      h("section", { class: "card", "aria-labelledby": "usage-title" }, h("h3", { id: "usage-title" }, "Usage, newest first"), usage, entries),
      h("section", { class: "card", "aria-label": "Alerts" }, choices(session, path)));
  }

  function draw(view, rows) {
    account = view;
    const current = view.plans.filter((plan) => plan.state === "active").at(-1) || view.plans.at(-1);
    plans.textContent = current ? planText(current, view.currency) : "No plan: usage of this subscriber is rejected.";
    show(balances, view.balances.length ? [...view.balances].sort((a, b) => b.main - a.main).map((balance) => balanceBar(balance, view.currency)) : h("p", { class: "empty" }, "No balances yet; allowances are given at the first use."));
    show(counters,
      view.counters.length ? [h("h4", {}, "Used this period"), view.counters.map((each) => counterLine(each, view.currency))] : null,
      view.calls.length ? [h("h4", {}, "Under way"), view.calls.map((each) => callLine(each, view.currency))] : null,
      view.members.length ? sharing(view) : null);
    showCalmly(usage, usageTable(rows, view.currency));
    if (!offered && session.may("move_money")) {
      offered = true;
      show(topUp, view.can_top_up.length ? topUpForm(view, path, load) : null, view.can_redeem ? voucherForm(view, path, load) : null, view.can_transfer.length ? transferForm(view, path, load) : null);
    }
  }

  async function load() {
    try {
      const numbers = full ? "?numbers=full" : "";
      const [view, used] = await Promise.all([get(`${path}/balances${numbers}`), get(`${path}/usage${numbers ? numbers + "&" : "?"}limit=25`)]);
      if (!who.isConnected) frame();
      who.textContent = view.subscriber.number;
      draw(view, used.items);
      if (view.can_reserve) await holds.load(numbers);
    } catch (error) {
      show(place, failure(error, load));
    }
  }

  async function loadLedger() {
    try {
      const said = await get(`${path}/entries?limit=50`);
      const amount = (row, value) => quantity(value, row.unit, account.currency);
      show(ledger, table("Ledger entries, newest first", [
        { name: "Time (UTC)", cell: (row) => moment(row.time_us) },
        { name: "Cause", cell: (row) => row.cause },
        { name: "From → to", cell: (row) => `${row.debit} → ${row.credit}` },
        { name: "Balance", cell: (row) => words(row.balance) },
        { name: "Amount", number: true, cell: (row) => amount(row, row.amount) },
        { name: "Before", number: true, cell: (row) => amount(row, row.before) },
        { name: "After", number: true, cell: (row) => amount(row, row.after) },
      ], said.items, "No entries yet."));
    } catch (error) {
      show(ledger, failure(error, loadLedger));
    }
  }

  const end = listen((what, value) => {
    if (what !== "subscriber" || !account) return;
    if (full) load(); else draw(value.account, value.usage);
    if (entries.open) loadLedger();
  });
  load();
  watch(reference);
  return () => { end(); watch(null); };
}

function planText(plan, currency) {
  const limit = plan.credit_limit_micros ? `, credit limit ${money(plan.credit_limit_micros, currency)}` : "";
  return `Plan ${plan.name}, ${plan.payment}${limit}${plan.valid_from ? `, since ${iso(plan.valid_from)} UTC` : ""}`;
}

function balanceBar(balance, currency) {
  const left = quantity(balance.left, balance.unit, currency);
  const until = balance.state === "expired" ? `ended ${iso(balance.valid_until)} UTC` : balance.valid_until ? `until ${iso(balance.valid_until)} UTC` : "no end";
  const share = balance.granted > 0 ? Math.max(0, Math.min(1, balance.left / balance.granted)) : null;
  const state = balance.state !== "active" ? "dim" : balance.left <= 0 ? "low" : share !== null && share <= 0.2 ? "low" : "";
  return h("div", { class: `balance ${state}${balance.main ? " main" : ""}`, "data-balance": balance.name },
    h("div", { class: "row" }, h("span", { class: "name" }, words(balance.name), balance.shared ? h("span", { class: "muted" }, " (shared)") : null, balance.carried ? h("span", { class: "muted" }, " (carried over)") : null), h("span", { class: "left" }, left, share !== null ? h("span", { class: "muted" }, ` of ${quantity(balance.granted, balance.unit, currency)}`) : null)),
    share !== null ? h("progress", { max: "1000", value: Math.round(share * 1000), "aria-label": `${words(balance.name)}: ${Math.round(share * 100)} % left` }) : null,
    h("div", { class: "row muted small" }, h("span", {}, until), balance.state === "future" ? h("span", {}, `from ${iso(balance.valid_from)} UTC`) : balance.left < 0 ? h("span", { class: "failed" }, "below zero") : share !== null ? h("span", {}, `${Math.round(share * 100)} % left`) : null));
}

// Who shares the account, and who took how much of what is shared: an owner sees everybody, a member itself.
function sharing(view) {
  const mine = view.owner.ref === view.subscriber.ref;
  const running = view.shares.filter((each) => each.state === "active");
  return [
    h("h4", {}, "Shared"),
    h("p", { class: "muted small" }, mine ? `${view.members.length} ${view.members.length === 1 ? "member uses" : "members use"} this account` : `Member of the account of ${view.owner.number}, who pays what allowances leave over`),
    running.map((each) => h("div", { class: "row", "data-share": each.balance },
      h("span", {}, `${words(each.balance)} `, h("span", { class: "phone muted" }, each.subscriber.number)),
      h("span", {}, quantity(each.used, each.unit, view.currency), each.limit === null ? null : h("span", { class: "muted" }, ` of at most ${quantity(each.limit, each.unit, view.currency)}`)))),
  ];
}

// A long call that is told in parts: what came until now, and which parts did not.
function callLine(call, currency) {
  const gap = call.missing.length ? h("span", { class: "failed" }, ` missing: part ${call.missing.join(", ")}`) : null;
  const parts = call.parts ? `, ${call.parts} ${call.parts === 1 ? "part" : "parts"}` : "";
  return h("div", { class: "row", "data-call": call.begun }, h("span", {}, `${words(call.kind)} since ${iso(call.begun)} UTC${parts}`, gap), h("span", {}, `${quantity(call.used, call.unit, currency)}, ${money(call.charged_micros, currency)}`));
}

function counterLine(counter, currency) {
  const cap = counter.cap_micros ? ` of ${money(counter.cap_micros, currency)}` : "";
  return h("div", { class: "row" }, h("span", {}, words(counter.name)), h("span", {}, quantity(counter.used, counter.unit, currency) + cap));
}

// The other party: who was called, or who called.
export const other = (row) => (row.direction === "terminating" ? row.calling : row.called);

function usageTable(rows, currency) {
  const now = (row) => row.charged_micros + row.corrected_micros;
  const charged = moneyColumn(rows.map(now));
  return table("Usage, newest first", [
    { name: "Began (UTC)", cell: (row) => moment(row.start_us) },
    { name: "Kind", cell: (row) => (row.direction === "terminating" ? `${row.kind} in` : row.kind) },
    { name: "With", cell: (row) => other(row) || row.service || "–" },
    { name: "Destination", cell: (row) => words(row.destination) + (row.visited_plmn ? ` (in ${row.visited_plmn})` : "") },
    { name: "Used", number: true, cell: (row) => quantity(row.units, row.unit) },
    { name: "From allowance", number: true, cell: (row) => (row.allowance_units ? quantity(row.allowance_units, row.unit) : "–") },
    { name: `Charged (${currency})`, number: true, cell: (row) => charged(now(row)) },
    { name: "Remark", unseen: true, cell: remarks },
  ], rows, "No usage yet. It appears here within a second of being charged.");
}

// What refers to a record: the one that took it back, the one whose place it took.
function remarks(row) {
  const tag = (text, title) => h("span", { class: "tag", title }, text);
  return h("span", {},
    row.late ? tag("late", "It belonged to an earlier period and was charged to that one") : null,
    row.cancelled_by !== null ? tag("cancelled", `By record ${row.cancelled_by} of ${row.source}: what it took was given back`) : null,
    row.corrected_by !== null ? tag("corrected", `By record ${row.corrected_by} of ${row.source}, which is charged in its place`) : null,
    row.corrects !== null ? tag("corrects another", `It takes the place of record ${row.corrects} of ${row.source}`) : null);
}

// A voucher's code: the same order is given again until it is answered, so that a lost answer redeems nothing twice.
function voucherForm(view, path, done) {
  let key = crypto.randomUUID();
  const code = h("input", { id: "voucher-code", inputmode: "numeric", autocomplete: "off", maxlength: "40", required: true, "aria-describedby": "voucher-wrong" });
  const wrong = h("p", { class: "failed", id: "voucher-wrong", role: "alert" });
  const button = h("button", { type: "submit", class: "strong" }, "Redeem");
  return h("section", { class: "card", "aria-labelledby": "voucher-title" }, h("h3", { id: "voucher-title" }, "Redeem a voucher"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      button.disabled = true;
      try {
        const said = await post(`${path}/vouchers`, { code: code.value }, { "Idempotency-Key": key });
        say(`${sentence(said.balance)} topped up by ${quantity(said.amount, said.unit, view.currency)} of voucher ${said.voucher}.`);
        code.value = "";
        key = crypto.randomUUID();
        await done();
      } catch (error) {
        wrong.textContent = error.message;
        if (error.status >= 400 && error.status < 500) key = crypto.randomUUID();
      } finally {
        button.disabled = false;
      }
    },
  }, h("label", { for: "voucher-code" }, "Code, 16 digits"), code, wrong, button));
}

// What a person types, as whole units; null when it is no such amount. No float on the way.
export function toUnits(text, unit) {
  const found = /^\s*(\d{1,12})(?:[.,](\d{1,6}))?\s*$/.exec(text);
  if (!found) return null;
  const scale = { money: 6, octets: 6 }[unit];
  if (unit === "time") return found[2] ? null : Number(found[1]) * 60000;
  if (unit === "events") return found[2] ? null : Number(found[1]);
  const value = BigInt(found[1]) * 10n ** BigInt(scale) + BigInt((found[2] || "").padEnd(scale, "0"));
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

function topUpForm(view, path, done) {
  const names = view.can_top_up;
  let key = crypto.randomUUID();
  const unitName = (unit) => ({ money: view.currency, time: "min", octets: "MB", events: "events" })[unit];
  const choice = h("select", { id: "topup-balance" }, names.map((balance) => h("option", { value: balance.name }, words(balance.name))));
  const unit = h("span", { class: "muted" });
  const amount = h("input", { id: "topup-amount", inputmode: "decimal", autocomplete: "off", required: true, "aria-describedby": "topup-unit topup-wrong" });
  const until = h("input", { id: "topup-until", type: "date" });
  const untilRow = h("div", {}, h("label", { for: "topup-until" }, "Valid until (optional)"), until);
  const wrong = h("p", { class: "failed", id: "topup-wrong", role: "alert" });
  const chosen = () => names.find((balance) => balance.name === choice.value);
  const adapt = () => { unit.textContent = unitName(chosen().unit); untilRow.hidden = chosen().main; };
  unit.id = "topup-unit";
  choice.addEventListener("change", adapt);
  adapt();
  const button = h("button", { type: "submit", class: "strong" }, "Top up");
  return h("section", { class: "card", "aria-labelledby": "topup-title" }, h("h3", { id: "topup-title" }, "Top up"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      const units = toUnits(amount.value, chosen().unit);
      if (!units) {
        wrong.textContent = `Enter an amount in ${unitName(chosen().unit)}, such as 10${chosen().unit === "money" ? ".00" : ""}.`;
        amount.focus();
        return;
      }
      button.disabled = true;
      try {
        const order = { balance: choice.value, amount: units, valid_until: untilRow.hidden || !until.value ? null : `${until.value}T23:59:59Z` };
        const said = await post(`${path}/topups`, order, { "Idempotency-Key": key });
        say(`${sentence(said.balance)} topped up by ${quantity(said.amount, chosen().unit, view.currency)}.`);
        amount.value = "";
        key = crypto.randomUUID();
        await done();
      } catch (error) {
        wrong.textContent = error.message;
        if (error.status >= 400 && error.status < 500) key = crypto.randomUUID();
      } finally {
        button.disabled = false;
      }
    },
  },
  h("div", {}, h("label", { for: "topup-balance" }, "Balance"), choice),
  h("div", {}, h("label", { for: "topup-amount" }, "Amount"), h("div", { class: "with-unit" }, amount, unit)),
  untilRow, wrong, button));
}

// Handing on to another subscriber, as far as the tariff allows.
function transferForm(view, path, done) {
  const names = view.can_transfer;
  let key = crypto.randomUUID();
  const unitName = (unit) => ({ money: view.currency, time: "min", octets: "MB", events: "events" })[unit];
  const choice = h("select", { id: "transfer-balance" }, names.map((balance) => h("option", { value: balance.name }, words(balance.name))));
  const to = h("input", { id: "transfer-to", type: "search", inputmode: "tel", autocomplete: "off", required: true });
  const unit = h("span", { class: "muted", id: "transfer-unit" });
  const amount = h("input", { id: "transfer-amount", inputmode: "decimal", autocomplete: "off", required: true, "aria-describedby": "transfer-unit transfer-rule transfer-wrong" });
  const rule = h("p", { class: "muted small", id: "transfer-rule" });
  const wrong = h("p", { class: "failed", id: "transfer-wrong", role: "alert" });
  const chosen = () => names.find((balance) => balance.name === choice.value);
  const adapt = () => {
    const each = chosen(), show = (value) => quantity(value, each.unit, view.currency);
    const fees = [each.fee_micros ? money(each.fee_micros, view.currency) : null, each.fee_millionths ? `${each.fee_millionths / 10000} %` : null].filter(Boolean);
    unit.textContent = unitName(each.unit);
    rule.textContent = `From ${show(each.least)} to ${show(each.most)} at a time; fee: ${fees.join(" and ") || "none"}.`;
  };
  choice.addEventListener("change", adapt);
  adapt();
  const button = h("button", { type: "submit", class: "strong" }, "Hand on");
  return h("section", { class: "card", "aria-labelledby": "transfer-title" }, h("h3", { id: "transfer-title" }, "Hand on to another subscriber"), h("form", {
    class: "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      const units = toUnits(amount.value, chosen().unit);
      if (!units) {
        wrong.textContent = `Enter an amount in ${unitName(chosen().unit)}.`;
        amount.focus();
        return;
      }
      button.disabled = true;
      try {
        const said = await post(`${path}/transfers`, { to: to.value, balance: choice.value, amount: units }, { "Idempotency-Key": key });
        const fee = said.fee_micros ? ` The fee was ${money(said.fee_micros, view.currency)}.` : "";
        say(`${quantity(said.amount, said.unit, view.currency)} handed on to ${said.receiver.number}.${fee}`);
        amount.value = "";
        to.value = "";
        key = crypto.randomUUID();
        await done();
      } catch (error) {
        wrong.textContent = error.message;
        if (error.status >= 400 && error.status < 500) key = crypto.randomUUID();
      } finally {
        button.disabled = false;
      }
    },
  },
  h("div", {}, h("label", { for: "transfer-to" }, "Number of the receiver"), to),
  h("div", {}, h("label", { for: "transfer-balance" }, "Hand on from"), choice),
  h("div", {}, h("label", { for: "transfer-amount" }, "How much"), h("div", { class: "with-unit" }, amount, unit)),
  rule, wrong, button));
}

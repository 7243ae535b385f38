// The frame of the page: who is signed in, which view is shown, whether the line is up, and the colours.

import { get, remove, whenSignedOut } from "/page/api.js";
import { h, say, show } from "/page/dom.js";
import { age, count } from "/page/format.js";
import { listen, live, start, stop } from "/page/live.js";
import { alerts } from "/page/views/alerts.js";
import { audit } from "/page/views/audit.js";
import { bills } from "/page/views/bills.js";
import { calls } from "/page/views/calls.js";
import { conflicts } from "/page/views/conflicts.js";
import { network } from "/page/views/network.js";
import { overview } from "/page/views/overview.js";
import { reconciliation } from "/page/views/reconciliation.js";
import { rejects } from "/page/views/rejects.js";
import { rerating } from "/page/views/rerating.js";
import { shadow } from "/page/views/shadow.js";
import { signIn } from "/page/views/signin.js";
import { status } from "/page/views/status.js";
import { subscriber } from "/page/views/subscriber.js";
import { tariffs } from "/page/views/tariffs.js";
import { vouchers } from "/page/views/vouchers.js";
import { whatIf } from "/page/views/what_if.js";

const VIEWS = [
  ["overview", "Overview", "watch", overview],
  ["network", "Network", "watch_network", network],
  ["subscriber", "Subscriber", "read_person", subscriber],
  ["calls", "Calls", "watch", calls],
  ["bills", "Bills", "read_person", bills],
  ["alerts", "Alerts", "watch", alerts],
  ["rejects", "Rejects", "watch", rejects],
  ["conflicts", "Conflicts", "watch", conflicts],
  ["reconciliation", "Reconciliation", "watch", reconciliation],
  ["status", "Status", "watch", status],
  ["tariffs", "Tariffs", "read_tariffs", tariffs],
  ["whatif", "What if", "what_if", whatIf],
  ["shadow", "Shadow run", "what_if", shadow],
  ["rerating", "Re-rating", "move_money", rerating],
  ["vouchers", "Vouchers", "make_vouchers", vouchers],
  ["audit", "Audit", "read_audit", audit],
];
const main = document.getElementById("main");
const session = { name: "", role: "", rights: [], may: (right) => session.rights.includes(right) };
let leave = () => {};

async function open() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  if (name === "signin") return showSignIn(rest[0] === "used");
  if (!session.name && !(await enter())) return showSignIn(false);
  const view = VIEWS.find((each) => each[0] === name) || VIEWS[0];
  leave();
  leave = () => {};
  document.title = `${view[1]} · trunkline`;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === view[0]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!session.may(view[2])) {
    show(main, h("h1", { tabindex: "-1" }, view[1]), h("p", { class: "empty" }, `Your role (${session.role}) may not see this. Ask for a link with a higher role.`));
  } else {
    leave = view[3](main, session, decodeURIComponent(rest.join("/"))) || (() => {});
  }
  const title = main.querySelector("h1");
  if (title && moved) title.focus({ preventScroll: false });
  moved = true;
  window.scrollTo(0, 0);
}
let moved = false;

async function enter() {
  try {
    const who = await get("/api/v1/me");
    Object.assign(session, who);
  } catch (error) {
    if (error.status !== 401) say(error.message, true);
    return false;
  }
  show(document.getElementById("who"), h("span", { class: "muted" }, `${session.name} · ${session.role}`),
    h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"));
  show(document.getElementById("nav"), VIEWS.filter((view) => session.may(view[2])).map(([name, title]) =>
    h("a", { href: `#/${name}`, "data-view": name }, title, h("span", { class: "badge", id: `badge-${name}`, hidden: true }))));
  start();
  return true;
}

function showSignIn(used) {
  leave();
  stop();
  Object.assign(session, { name: "", role: "", rights: [] });
  show(document.getElementById("who"));
  show(document.getElementById("nav"));
  document.title = "Sign in · trunkline";
  leave = signIn(main, used, () => { location.hash = "#/overview"; }) || (() => {});
}

async function signOut() {
  await remove("/api/v1/session").catch(() => {});
  location.hash = "#/signin";
}

// How much work waits for people, beside the names of the views.
function countWork(status) {
  badge("rejects", status.rejected_open || 0);
  badge("conflicts", status.held_open || 0);
}

function badge(name, number) {
  const place = document.getElementById(`badge-${name}`);
  if (!place || place.dataset.number === String(number)) return;
  place.dataset.number = number;
  place.hidden = number === 0;
  show(place, count(number), h("span", { class: "unseen" }, " waiting"));
}

const STATES = { off: "Not connected", connecting: "Connecting…", lost: "Connection lost. Figures are old; trying again…" };
function pulse() {
  const place = document.getElementById("pulse");
  place.dataset.state = live.state;
  const at = live.sample ? (Date.now() - live.sample.time_us / 1000) / 1000 : 0;
  const text = live.state === "live" ? "Live" : STATES[live.state] + (live.sample ? ` (${age(at)} old)` : "");
  if (place.textContent !== text) place.textContent = text;
  document.body.classList.toggle("stale", live.state === "lost");
}
listen((what, value) => {
  if (what === "signed-out") location.hash = "#/signin";
  if (what === "state" || what === "sample") pulse();
  if (what === "sample") countWork(value.status);
});
setInterval(pulse, 1000);

const themes = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");
function theme(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try { localStorage.setItem("trunkline-theme", chosen); } catch { /* it holds until the page is closed */ }
  show(themeButton, { auto: "◐ Auto", light: "○ Light", dark: "● Dark" }[chosen], h("span", { class: "unseen" }, " colours; press to change"));
  window.dispatchEvent(new Event("theme"));
}
themeButton.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "auto";
  theme(themes[(themes.indexOf(now) + 1) % themes.length]);
});
theme(document.documentElement.dataset.theme || "auto");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("theme")));

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
whenSignedOut(() => { if (session.name) location.hash = "#/signin"; });
window.addEventListener("hashchange", open);
open();

// How alerts reach customers: deliveries by state, dead letters and the way back, and what one customer chose. Asked for
// when it is opened, because a look at what somebody chose is written down.

import { get, post, put, remove } from "/page/api.js";
import { failure, h, say, show, table } from "/page/dom.js";
import { count, moment, words } from "/page/format.js";
import { person } from "/page/views/person.js";

const STATES = ["waiting", "held", "sent", "failed", "opted_out", "too_old", "no_channel"];
const CHANNELS = ["webhook", "email", "sms"];

function opened(title, load) {
  const place = h("div");
  const details = h("details", {
    class: "twin",
    ontoggle: () => {
      if (!details.open) return;
      show(place, h("p", { class: "loading" }, "Loading…"));
      load(place);
    },
  }, h("summary", {}, title), place);
  return details;
}

export function deliveries(session) {
  return opened("Delivery to customers", load);

  async function load(place) {
    try {
      const [status, dead] = await Promise.all([get("/api/v1/deliveries/status"), get("/api/v1/deliveries?state=failed&limit=50")]);
      draw(place, status, dead.items);
    } catch (error) {
      show(place, failure(error, () => load(place)));
    }
  }

  function draw(place, status, dead) {
    const again = async (numbers) => {
      try {
        const said = await post("/api/v1/deliveries/retry", { numbers });
        say(`${count(said.again)} wait again.`);
        await load(place);
      } catch (error) {
        say(error.message, true);
      }
    };
    const may = session.may("retry_delivery");
    const columns = [
      { name: "No.", number: true, cell: (row) => row.number },
      { name: "Given up (UTC)", cell: (row) => moment(row.changed_us) },
      { name: "Subscriber", cell: (row) => person(session, row.subscriber) },
      { name: "Kind", cell: (row) => words(row.kind) },
      { name: "Channel", cell: (row) => row.channel },
      { name: "Attempts", number: true, cell: (row) => row.attempts },
      { name: "Why", wrap: true, cell: (row) => row.reason },
    ];
    if (may) columns.push({ name: "Action", unseen: true, cell: (row) => h("button", { type: "button", onclick: () => again([row.number]) }, "Retry", h("span", { class: "unseen" }, ` delivery ${row.number}`)) });
    const channels = status.channels.length ? `Set up: ${status.channels.join(", ")}.` : "No channel is set up; nobody is told.";
    show(place,
      h("p", { class: "muted" }, `${channels} ${count(status.alerts)} alerts taken up, ${count(status.behind)} not yet.`),
      table("Deliveries by channel and state", [
        { name: "Channel", cell: (row) => words(row[0]) },
        ...STATES.map((state) => ({ name: words(state), number: true, cell: (row) => count(row[1][state] || 0) })),
      ], Object.entries(status.states).sort(), "No alert was taken up yet.", { rowHeads: true }),
      h("div", { class: "heading" }, h("h2", {}, "Dead letters"),
        may && dead.length ? h("button", { type: "button", onclick: () => again(null) }, "Retry all") : null),
      table("Dead letters, newest first", columns, dead, "None. Everything reached somebody, or is on its way."));
  }
}

export function choices(session, path) {
  return opened("How this customer is told of alerts", load);

  async function load(place) {
    try {
      draw(place, (await get(`${path}/choices`)).items);
    } catch (error) {
      show(place, failure(error, () => load(place)));
    }
  }

  function draw(place, rows) {
    const may = session.may("choose_delivery");
    const forget = async (channel) => {
      try {
        await remove(`${path}/choices/${channel}`);
        say(`The choice for ${channel} is forgotten.`);
        await load(place);
      } catch (error) {
        say(error.message, true);
      }
    };
    const columns = [
      { name: "Channel", cell: (row) => row.channel },
      { name: "Address", cell: (row) => row.address || "–" },
      { name: "Language", cell: (row) => row.language || "usual" },
      { name: "Time zone", cell: (row) => row.time_zone || "the account's" },
      { name: "Quiet hours", cell: (row) => row.quiet_hours || "usual" },
      { name: "Not told of", wrap: true, cell: (row) => words(row.opted_out) || "–" },
    ];
    if (may) columns.push({ name: "Action", unseen: true, cell: (row) => h("button", { type: "button", onclick: () => forget(row.channel) }, "Forget", h("span", { class: "unseen" }, ` ${row.channel}`)) });
    show(place, table("How this customer is told", columns, rows, "Nothing was chosen: told by the usual channels."),
      may ? form(() => load(place)) : null);
  }

  function form(done) {
    const field = (name, label, hint) => ({ name, input: h("input", { id: `choice-${name}`, autocomplete: "off", placeholder: hint }), label });
    const channel = h("select", { id: "choice-channel" }, CHANNELS.map((name) => h("option", { value: name }, name)));
    const fields = [
      field("address", "Address (of sms: another number)", "anna@mail.example"), field("language", "Language", "de"),
      field("time_zone", "Time zone", "Europe/Berlin"), field("quiet_hours", "Quiet hours", "22:00-07:00 or none"),
      field("opted_out", "Kinds that are not told", "allowance, or all"),
    ];
    const wrong = h("p", { class: "failed", role: "alert" });
    return h("form", {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        wrong.textContent = "";
        try {
          await put(`${path}/choices/${channel.value}`, Object.fromEntries(fields.map((each) => [each.name, each.input.value.trim()])));
          say(`This customer is told by ${channel.value}.`);
          await done();
        } catch (error) {
          wrong.textContent = error.message;
        }
      },
    },
    h("div", {}, h("label", { for: "choice-channel" }, "Channel"), channel),
    fields.map((each) => h("div", {}, h("label", { for: each.input.id }, each.label), each.input)),
    wrong, h("button", { type: "submit", class: "strong" }, "Keep this choice"));
  }
}

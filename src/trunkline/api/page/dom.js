// Builds elements from values. Text is always text, never markup, so nothing that a network sends can become a script.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function show(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

// For what moves by itself: it holds still while somebody points at it or stands in it, so that no row slips away from
// under a finger, and no focus is lost. What was held back comes with the next change.
export function showCalmly(parent, ...children) {
  const held = parent.childElementCount > 0 && parent.matches(":hover, :focus-within");
  parent.toggleAttribute("data-held", held);
  if (!held) show(parent, ...children);
  return !held;
}

// A table that can be scrolled by keyboard. Columns: {name, cell(row)}, and number, wrap, long or unseen (a name only
// for those who listen).
export function table(caption, columns, rows, empty, options = {}) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.unseen ? h("span", { class: "unseen" }, column.name) : column.name)));
  const body = rows.map((row) =>
    h("tr", { class: options.rowClass ? options.rowClass(row) : null },
      columns.map((column, at) =>
        h(at === 0 && options.rowHeads ? "th" : "td",
          { scope: at === 0 && options.rowHeads ? "row" : null, class: [column.number ? "number" : "", column.wrap ? "wrap" : "", column.long ? "long" : ""].join(" ").trim() || null },
          column.cell(row)))));
  return h("div", { class: "scroll", role: "group", "aria-label": caption, tabindex: "0" },
    h("table", {}, h("caption", { class: options.showCaption ? null : "unseen" }, caption), h("thead", {}, head), h("tbody", {}, body)));
}

// Tells people, also those who listen, what has happened; it goes away by itself unless it is a failure.
let clearing = 0;
export function say(text, failed = false) {
  const place = document.getElementById("said");
  clearTimeout(clearing);
  place.className = failed ? "said failed" : "said";
  place.replaceChildren(text, h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => place.replaceChildren() }, "×"));
  if (!failed) clearing = setTimeout(() => place.replaceChildren(), 8000);
}

export function heading(text, ...more) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, text), ...more);
}

export function failure(error, again) {
  return h("div", { class: "empty failed", role: "alert" },
    h("p", {}, error.message || String(error)),
    again ? h("button", { type: "button", onclick: again }, "Try again") : null);
}

// A subscriber's masked number, as a link for those who may look.

import { h } from "/page/dom.js";

export function person(session, subscriber) {
  if (!session.may("read_person")) return h("span", { class: "phone" }, subscriber.number);
  return h("a", { class: "phone", href: `#/subscriber/${subscriber.ref}` }, subscriber.number);
}

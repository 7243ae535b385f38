// Asks the server. Every answer that is not what was asked for becomes an Error with the server's own sentence.

export class Problem extends Error {
  constructor(status, body) {
    super(body.message || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code || "";
  }
}

let onSignedOut = () => {};
export function whenSignedOut(action) {
  onSignedOut = action;
}

async function ask(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), "X-Trunkline": "page", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    throw new Problem(0, { message: "The server does not answer. Check that trunkline is running, then try again." });
  }
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401 && path !== "/api/v1/session") onSignedOut();
  if (!answer.ok) throw new Problem(answer.status, said);
  return said;
}

export const get = (path) => ask("GET", path);
export const post = (path, body = undefined, headers = {}) => ask("POST", path, body, headers);
export const put = (path, body) => ask("PUT", path, body);
export const remove = (path) => ask("DELETE", path);

export function query(values) {
  const known = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return known.length ? "?" + new URLSearchParams(known) : "";
}

// One socket for the whole page: samples come in, views listen. It comes back by itself when the line breaks.

const listeners = new Set();
export const live = { state: "off", sample: null, history: [], watching: null, subscriber: null };
let socket = null, waiting = 0, wanted = false, tries = 0;

export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function start() {
  wanted = true;
  if (!socket) connect();
}

export function stop() {
  wanted = false;
  clearTimeout(waiting);
  if (socket) socket.close();
  socket = null;
  tell("state", "off");
}

export function watch(reference) {
  live.watching = reference;
  live.subscriber = null;
  send();
}

function send() {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ watch: live.watching }));
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const line = new WebSocket(`${scheme}//${location.host}/api/v1/live`, "trunkline.v1");
  socket = line;
  tell("state", tries ? "lost" : "connecting");
  line.addEventListener("message", (event) => take(JSON.parse(event.data)));
  line.addEventListener("open", () => { if (live.watching) send(); });
  line.addEventListener("close", (event) => {
    if (socket !== line) return;
    socket = null;
    if (!wanted) return;
    if (event.code === 4401) { wanted = false; tell("signed-out", null); return; }
    tries += 1;
    tell("state", "lost");
    waiting = setTimeout(connect, Math.min(500 * 2 ** Math.min(tries, 5), 10000));
  });
}

function take(message) {
  if (message.type === "history") {
    live.history = message.samples;
    return;
  }
  if (message.type === "sample") {
    tries = 0;
    live.sample = message;
    live.history.push([message.time_us, message.records_per_s, message.money_micros_per_s]);
    if (live.history.length > 600) live.history.shift();
    if (live.state !== "live") tell("state", "live");
    tell("sample", message);
  }
  if (message.type === "subscriber" && message.subscriber.ref === live.watching) {
    live.subscriber = message;
    tell("subscriber", message);
  }
}

function tell(what, value) {
  if (what === "state") live.state = value;
  for (const listener of [...listeners]) listener(what, value);
}

// The map's own socket: a snapshot of one view, then what changes, each step with a number to go on from.

export function heat(told) {
  let socket = null, wanted = true, waiting = 0, tries = 0, view = null, seen = -1;

  function ask() {
    if (view && socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ...view, after: seen }));
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const line = new WebSocket(`${scheme}//${location.host}/api/v1/network/heat`, "trunkline.v1");
    socket = line;
    line.addEventListener("open", ask);
    line.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (!view || message.layer !== view.layer || message.metric !== view.metric) return;
      tries = 0;
      seen = message.seq;
      told(message);
    });
    line.addEventListener("close", () => {
      if (socket !== line || !wanted) return;
      socket = null;
      tries += 1;
      told({ type: "lost" });
      waiting = setTimeout(connect, Math.min(500 * 2 ** Math.min(tries, 5), 10000));
    });
  }
  connect();

  return {
    look(layer, metric) {
      view = { layer, metric };
      seen = -1;
      ask();
    },
    end() {
      wanted = false;
      clearTimeout(waiting);
      if (socket) socket.close();
    },
  };
}

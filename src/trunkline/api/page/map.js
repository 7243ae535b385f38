// The map: outlines of countries, the tiles of one layer in their colours, cells as dots. All of it is served from here.

import { get } from "/page/api.js";
import { h } from "/page/dom.js";
import { SEVERITIES, severityColour } from "/page/severity.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const CLEARED = 6, LETTER_PIXELS = 40, LETTER_RATIO = 2;
let loaded = null;

// A severity's letter on its colour, as a picture: the map has no fonts of its own and may fetch none.
function letter(severity) {
  const canvas = h("canvas", { width: LETTER_PIXELS, height: LETTER_PIXELS });
  const pen = canvas.getContext("2d"), middle = LETTER_PIXELS / 2;
  pen.fillStyle = colour("--surface");
  pen.strokeStyle = severityColour(severity);
  pen.lineWidth = 4;
  pen.beginPath();
  pen.arc(middle, middle, middle - 3, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
  pen.fillStyle = severityColour(severity);
  pen.font = "bold 24px sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(SEVERITIES[severity].letter, middle, middle + 1);
  return pen.getImageData(0, 0, LETTER_PIXELS, LETTER_PIXELS);
}

// The middle of the box around a tile.
function middle(geometry) {
  const points = geometry.coordinates.flat(geometry.type === "MultiPolygon" ? 2 : 1);
  const box = points.reduce((known, point) => known.extend(point), new globalThis.maplibregl.LngLatBounds());
  return box.getCenter().toArray();
}

// The modules of others are plain scripts and large, so they come only when a map is looked at.
function modules() {
  const script = (path) => new Promise((done, failed) => {
    document.head.append(h("script", { src: path, onload: done, onerror: () => failed(new Error(`${path} could not be loaded.`)) }));
  });
  loaded ??= (async () => {
    document.head.append(h("link", { rel: "stylesheet", href: "/page/vendor/maplibre-gl.css" }));
    const [countries] = await Promise.all([
      fetch("/page/vendor/countries-50m.json").then((answer) => answer.json()),
      script("/page/vendor/maplibre-gl-csp.js"), script("/page/vendor/topojson-client.min.js"),
    ]);
    globalThis.maplibregl.setWorkerUrl("/page/vendor/maplibre-gl-csp-worker.js");
    return globalThis.topojson.feature(countries, countries.objects.countries);
  })();
  return loaded;
}

// `chosen(kind, name)` is told of a tile or cell that somebody chose. The table twin says the same to everybody else.
export async function map(place, places, chosen) {
  const countries = await modules();
  const features = (source) => ({ type: "FeatureCollection", features: source });
  const cells = features(places.cells.map((cell) => ({
    type: "Feature", properties: { name: cell.name }, geometry: { type: "Point", coordinates: [cell.longitude, cell.latitude] },
  })));
  const bounds = places.cells.reduce((box, cell) => box.extend([cell.longitude, cell.latitude]), new globalThis.maplibregl.LngLatBounds());
  const drawn = new globalThis.maplibregl.Map({
    container: place,
    attributionControl: false,
    style: { version: 8, sources: {}, layers: [{ id: "sea", type: "background", paint: { "background-color": colour("--sea") } }] },
    ...(places.cells.length ? { bounds, fitBoundsOptions: { padding: 40, maxZoom: 11 } } : { center: [10, 50], zoom: 3 }),
  });
  drawn.addControl(new globalThis.maplibregl.NavigationControl({ showCompass: false }));
  drawn.addControl(new globalThis.maplibregl.AttributionControl({ compact: true, customAttribution: "Natural Earth" }));
  await new Promise((done) => drawn.once("load", done));
  drawn.addSource("land", { type: "geojson", data: countries });
  drawn.addSource("tiles", { type: "geojson", data: features([]), promoteId: "tile" });
  drawn.addSource("letters", { type: "geojson", data: features([]) });
  drawn.addSource("cells", { type: "geojson", data: cells });
  drawn.addLayer({ id: "land", type: "fill", source: "land", paint: {} });
  drawn.addLayer({ id: "borders", type: "line", source: "land", paint: { "line-width": 0.8 } });
  drawn.addLayer({ id: "tiles", type: "fill", source: "tiles", paint: { "fill-color": ["to-color", ["feature-state", "colour"], "#808080"], "fill-opacity": ["case", ["boolean", ["feature-state", "known"], false], 0.62, 0.06] } });
  drawn.addLayer({ id: "edges", type: "line", source: "tiles", paint: { "line-width": 1, "line-opacity": 0.6 } });
  drawn.addLayer({ id: "cells", type: "circle", source: "cells", minzoom: 7, paint: { "circle-radius": 3.5, "circle-stroke-width": 1 } });
  for (let severity = 1; severity < CLEARED; severity += 1) drawn.addImage(`severity-${severity}`, letter(severity), { pixelRatio: LETTER_RATIO });
  drawn.addLayer({ id: "letters", type: "symbol", source: "letters", layout: { "icon-image": ["concat", "severity-", ["get", "severity"]], "icon-allow-overlap": true, "symbol-sort-key": ["-", CLEARED, ["get", "severity"]] } });
  recolour();
  for (const layer of ["tiles", "cells"]) {
    drawn.on("click", layer, (event) => chosen(layer, layer === "cells" ? event.features[0].properties.name : event.features[0].properties.tile));
    drawn.on("mouseenter", layer, () => { drawn.getCanvas().style.cursor = "pointer"; });
    drawn.on("mouseleave", layer, () => { drawn.getCanvas().style.cursor = ""; });
  }
  let known = new Map(), shapes = "", middles = new Map();

  // What can be seen on the map, in words.
  drawn.on("idle", () => {
    const seen = new Map(drawn.queryRenderedFeatures({ layers: ["letters"] }).map((each) => [each.properties.tile, each.properties.severity]));
    const told = SEVERITIES.slice(1, CLEARED).map((each, at) => [[...seen.values()].filter((severity) => severity === at + 1).length, each.name]);
    const words = told.filter(([number]) => number).map(([number, name]) => `${number} ${name}`).join(", ");
    drawn.getCanvas().setAttribute("aria-label", `Map of the network, tiles in view: ${words || "none in a bad state"}; the table below says the same.`);
  });

  function recolour() {
    drawn.setPaintProperty("sea", "background-color", colour("--sea"));
    drawn.setPaintProperty("land", "fill-color", colour("--land"));
    drawn.setPaintProperty("borders", "line-color", colour("--border"));
    drawn.setPaintProperty("edges", "line-color", colour("--border"));
    drawn.setPaintProperty("cells", "circle-color", colour("--accent"));
    drawn.setPaintProperty("cells", "circle-stroke-color", colour("--surface"));
  }
  const themed = () => {
    for (let severity = 1; severity < CLEARED; severity += 1) drawn.updateImage(`severity-${severity}`, letter(severity));
    recolour();
    paint(known, painted);
  };
  window.addEventListener("theme", themed);
  let painted = (tile) => severityColour(tile.severity);

  function paint(tiles, how) {
    known = tiles;
    painted = how;
    drawn.removeFeatureState({ source: "tiles" });
    for (const [name, tile] of tiles) drawn.setFeatureState({ source: "tiles", id: name }, { known: true, colour: how(tile) });
    const bad = [...tiles].filter(([name, tile]) => tile.severity > 0 && tile.severity < CLEARED && middles.has(name));
    drawn.getSource("letters").setData(features(bad.map(([name, tile]) => ({
      type: "Feature", properties: { tile: name, severity: tile.severity }, geometry: { type: "Point", coordinates: middles.get(name) },
    }))));
  }

  return {
    async shape(layer) {
      if (shapes === layer) return;
      shapes = layer;
      const { said } = await get(`/api/v1/network/shapes?layer=${encodeURIComponent(layer)}`);
      if (shapes !== layer) return;
      middles = new Map(said.features.map((each) => [each.properties.tile, middle(each.geometry)]));
      drawn.getSource("tiles").setData(said);
      paint(known, painted);
    },
    paint,
    settled: () => new Promise((done) => drawn.once("idle", done)),
    fly(name) {
      const cell = places.cells.find((each) => each.name === name);
      if (cell) drawn.jumpTo({ center: [cell.longitude, cell.latitude], zoom: 11 });
    },
    end() {
      window.removeEventListener("theme", themed);
      drawn.remove();
    },
  };
}

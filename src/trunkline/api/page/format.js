// Amounts, quantities and moments as people read them. Times are UTC everywhere, and say so in the column's name.

const groups = /\B(?=(\d{3})+(?!\d))/g;

export function count(number) {
  return String(Math.trunc(number)).replace(groups, ",");
}

export function rate(number) {
  if (number >= 100 || number === 0) return count(Math.round(number));
  return number.toFixed(number >= 10 ? 1 : 2);
}

export function tick(number) {
  return number >= 1000 ? count(number) : String(Math.round(number * 1000) / 1000);
}

export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return share > 0 && share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}

// Micro-units as money: at least two decimals, no more than needed.
export function money(micros, currency = "") {
  const sign = micros < 0 ? "−" : "";
  const whole = Math.floor(Math.abs(micros) / 1e6);
  const rest = String(Math.round(Math.abs(micros) % 1e6)).padStart(6, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${sign}${count(whole)}.${rest}${currency ? " " + currency : ""}`;
}

// A column of money: every amount with as many decimals as the longest needs, so that the points stand in one line.
export function moneyColumn(amounts) {
  const decimals = Math.max(2, ...amounts.map((micros) => money(micros).split(".")[1].length));
  return (micros) => {
    const [whole, rest] = money(micros).split(".");
    return `${whole}.${rest.padEnd(decimals, "0")}`;
  };
}

// Money a second: two figures are enough to see whether it flows.
export function moneyRate(micros) {
  const value = micros / 1e6;
  return value >= 100 || value === 0 ? count(Math.round(value)) : value.toFixed(2);
}

export function quantity(units, unit, currency = "") {
  if (unit === "money") return money(units, currency);
  if (unit === "time" || unit === "ms") return duration(units);
  if (unit === "octets") return octets(units);
  return count(units);
}

export function duration(ms) {
  const seconds = Math.round(ms / 100) / 10;
  if (seconds < 60) return `${seconds} s`;
  const whole = Math.round(ms / 1000);
  const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60), rest = whole % 60;
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${count(hours)} h ${two(minutes)} min` : `${minutes} min ${two(rest)} s`;
}

export function octets(value) {
  for (const [size, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "KB"]]) {
    if (Math.abs(value) >= size) return `${(value / size).toFixed(value / size >= 100 ? 0 : 2)} ${name}`;
  }
  return `${count(value)} B`;
}

export function moment(us) {
  return new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ");
}

export function time(us) {
  return moment(us).slice(11);
}

export function iso(text) {
  return text ? text.slice(0, 16).replace("T", " ") : "";
}

export function age(seconds) {
  const size = Math.abs(seconds);
  const text = size < 120 ? `${Math.round(size)} s` : size < 7200 ? `${Math.round(size / 60)} min`
    : size < 172800 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} days`;
  return seconds < -1 ? `${text} ahead` : text;
}

export function words(name) {
  return name.replaceAll("_", " ");
}

export function sentence(name) {
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

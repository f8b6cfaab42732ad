// How figures are written.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

// integer writes all digits.
export function integer(n) {
  return whole.format(n);
}

// short writes three digits that mean something, with k, M, G.
export function short(n) {
  const size = Math.abs(n);
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return digits(n / unit) + name;
  }
  return digits(n);
}

function digits(n) {
  const size = Math.abs(n);
  if (size >= 100 || Number.isInteger(n)) return n.toFixed(0);
  return n.toFixed(size >= 10 ? 1 : 2);
}

// The next write the ticks of an axis, without zeros that say nothing.

export function shortTick(n) {
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(n) >= unit) return +(n / unit).toPrecision(3) + name;
  }
  return String(+n.toPrecision(3));
}

export function percentTick(r) {
  return +(100 * r).toPrecision(3) + " %";
}

export function millisTick(n) {
  return String(+n.toPrecision(3));
}

// bytes writes a size in units of 1024.
export function bytes(n) {
  for (const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= unit) return digits(n / unit) + " " + name;
  }
  return integer(n) + " B";
}

// percent writes a part of 1, never more than is true: 100 % is all.
export function percent(r) {
  const p = Math.floor(r * 1000) / 10;
  return (p === 100 ? "100" : p.toFixed(1)) + " %";
}

export function millis(n) {
  if (n === 0) return "0";
  return n >= 100 ? n.toFixed(0) : n >= 1 ? n.toFixed(2) : n.toFixed(3);
}

// duration writes seconds.
export function duration(s) {
  s = Math.floor(s);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const out = [];
  for (const [size, name] of parts) {
    const n = Math.floor(s / size);
    s -= n * size;
    if (n > 0) out.push(n + " " + name);
    if (out.length === 2) break;
  }
  return out.join(" ") || "0 s";
}

// took writes how long something lasted, in seconds, which may have been less than one.
export function took(s) {
  return s > 0 && s < 1 ? short(1000 * s) + " ms" : duration(s);
}

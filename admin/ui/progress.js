// Warm-ups and snapshots: those that run, and how the last ones ended.
import { byId, make, table, badge } from "/ui/dom.js";
import { short, integer, bytes, percent, duration, took } from "/ui/format.js";

const kinds = { running: "live", saving: "live", loading: "live", done: "good", stopped: "warn", failed: "bad" };

// share shows a part of 1, with a bar while there is more to come.
function share(part, running) {
  if (!running) return percent(part);
  const fill = make("span", "");
  fill.style.width = 100 * part + "%";
  return make("div", "part", percent(part), make("div", "meter", fill));
}

// left writes how long the rest takes at that rate.
function left(rest, rate) {
  return rest > 0 && rate > 0 ? duration(Math.ceil(rest / rate)) : "–";
}

// source says which keys, and where they come from.
function source(j) {
  return (j.route || "all keys") + (j.from === "keys" ? " of a list" : " from " + j.from + (j.addr ? " " + j.addr : ""));
}

export function warmups(jobs) {
  byId("warmups").hidden = jobs.length === 0;
  table("warm", ["warm-up", "state", "there", "keys#", "of#", "loaded#", "were there#", "no row#", "failed#", "keys/s#", "left#", "took#", "error~"],
    jobs.toReversed().map((j) => {
      const running = j.state === "running";
      const known = j.total > 0;
      return [
        source(j), badge(kinds[j.state], j.state), known ? share(j.share, running) : "–",
        integer(j.seen), known ? integer(j.total) : "–", integer(j.loaded), integer(j.present), integer(j.absent), integer(j.failed),
        short(j.keys_per_second), running ? left(j.total - j.seen, j.keys_per_second) : "–", took(j.seconds), j.error || "",
      ];
    }), "");
}

export function snapshots(s) {
  const time = (at) => (at || "–").replace("T", " ").replace("Z", "");
  const rows = [];
  const w = s.save, l = s.loading;
  if (s.path && l.state !== "none") {
    const { loaded, ...others } = l.items;
    const rest = Object.entries(others).filter(([, n]) => n > 0).map(([what, n]) => integer(n) + " " + what.replaceAll("_", " "));
    if (l.damaged_places > 0) rest.push(integer(l.damaged_places) + (l.damaged_places === 1 ? " damaged place, " : " damaged places, ") + integer(l.items_lost) + " items lost");
    const running = l.state === "loading";
    rows.push([
      "load", badge(kinds[l.error ? "failed" : l.state], l.error ? "failed" : l.state), time(l.at), integer(loaded), bytes(l.bytes), share(l.part, running),
      l.seconds > 0 ? short(loaded / l.seconds) : "–", running ? left(l.file_bytes - l.bytes, l.bytes / l.seconds) : "–", took(l.seconds),
      [...rest, l.ended_early, l.error].filter(Boolean).join("; "),
    ]);
  }
  if (s.path && w.state !== "none") {
    rows.push([
      "save", badge(kinds[w.state], w.state), time(w.at), integer(w.items), bytes(w.bytes), "–", w.seconds > 0 ? short(w.items / w.seconds) : "–", "–",
      took(w.seconds), w.error || "",
    ]);
  }
  byId("snapshots").hidden = rows.length === 0;
  table("snapshot", ["snapshot", "state", "began", "items#", "size#", "part", "items/s#", "left#", "took#", "besides~"], rows, "");
}

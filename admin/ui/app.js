// The dashboard: figures of each second come as server-sent events, tables are read now and then while somebody looks.
import { byId, set, make, table, badge, ask } from "/ui/dom.js";
import { short, integer, bytes, percent, millis, duration } from "/ui/format.js";
import { Charts } from "/ui/charts.js";
import { explain } from "/ui/explain.js";
import { warmups, snapshots } from "/ui/progress.js";

// now fills the tiles from a point.
function now(p) {
  set("now-gets", short(p.gets));
  set("now-hits", short(p.hits));
  set("now-misses", short(p.misses));
  set("now-ratio", percent(p.hit_ratio));
  set("now-p99", millis(p.get_p99_ms));
  set("now-p50", millis(p.get_p50_ms));
  set("now-loaded", short(p.loaded));
  set("now-queued", integer(p.queued));
  set("now-items", integer(p.items));
  set("now-shared", integer(p.shared_items));
  set("now-used", bytes(p.used_bytes));
  set("now-limit", bytes(p.limit_bytes));
  byId("meter").style.width = Math.min(100, (100 * p.used_bytes) / p.limit_bytes) + "%";
}

function totals(s) {
  set("version", s.version);
  set("uptime", "up " + duration(s.uptime_seconds));
  set("total-ratio", percent(s.gets.hit_ratio));
  const rows = [
    ["gets", s.gets.total], ["hits", s.gets.hits], ["misses", s.gets.misses], ["sets", s.sets], ["loaded", s.fills.loaded], ["no row", s.fills.absent],
    ["loads failed", s.fills.failed], ["keys dropped", s.fills.dropped], ["evicted", s.items.evicted], ["expired", s.items.expired],
    ["connections", s.connections.opened], ["connections open", s.connections.open], ["items known to be absent", s.items.negative],
  ];
  byId("totals").replaceChildren(...rows.map(([name, n]) => make("div", "", make("dt", "", name), make("dd", "", integer(n)))));
}

const states = { on: "good", up: "good", off: "none", down: "bad", probe: "warn" };

function routes(all) {
  table("routes", ["route", "state", "items#", "gets#", "hit ratio#", "stale#", "loaded#", "no row#", "failed#", "dropped#", "wait#", "load#"],
    all.map((r) => [
      r.name, badge(states[r.state], r.state), integer(r.items), integer(r.gets), percent(r.hit_ratio), integer(r.stale), integer(r.loaded), integer(r.absent),
      integer(r.failed), integer(r.dropped), integer(r.queued), r.batches > 0 ? millis((1000 * r.load_seconds) / r.batches) + " ms" : "–",
    ]), "There are no routes: every key is a plain memcached key.");
}

function sources(all) {
  table("sources", ["source", "state", "since", "loads#", "keys#", "last error~"],
    all.map((s) => [s.name, badge(states[s.state], s.state), s.since.replace("T", " ").replace("Z", ""), integer(s.loads), integer(s.keys_asked), s.last_error || ""]),
    "There are no sources.");
}

// keyButton shows a key, and explains it when it is pressed.
function keyButton(key) {
  const b = make("button", "key", key);
  b.type = "button";
  b.addEventListener("click", () => {
    byId("explain-key").value = key;
    byId("explain").scrollIntoView({ behavior: "smooth" });
    explain(key);
  });
  return b;
}

function top(t) {
  table("top", ["key", "route", "gets/s#", "share#"],
    t.keys.map((k) => [keyButton(k.key), k.route || "–", short(k.gets_per_second), percent(k.share)]), "Nobody has asked for anything lately.");
}

function shared(d) {
  table("shared", ["one of the keys", "keys#", "bytes#", "saved#"],
    d.most_shared.map((v) => [v.example ? keyButton(v.example) : "–", integer(v.keys), integer(v.size_bytes), bytes(v.saved_bytes)]), "No value is shared yet.");
}

// every reads something at once and then again and again, while the page is looked at.
function every(seconds, path, show) {
  const read = async () => {
    if (!document.hidden) {
      try {
        show(await ask(path));
      } catch {
        // the state line says when the server is gone
      }
    }
    setTimeout(read, 1000 * seconds);
  };
  read();
}

function live(charts) {
  const events = new EventSource("/api/live");
  const tell = (kind, text) => {
    byId("dot").className = "dot " + kind;
    set("state", text);
  };
  events.onopen = () => tell("live", "live");
  events.onerror = () => tell("lost", "no connection, trying again");
  events.onmessage = (e) => {
    const p = JSON.parse(e.data);
    charts.add(p);
    now(p);
  };
}

function lastOf(history) {
  const at = history.time.length - 1;
  if (at < 0) return null;
  return Object.fromEntries(Object.entries(history).map(([name, column]) => [name, column[at]]));
}

async function begin() {
  const history = await ask("/api/history");
  const latest = lastOf(history);
  const charts = new Charts(history);
  if (latest) now(latest);
  live(charts);
  every(2, "/api/stats", totals);
  every(2, "/api/routes", routes);
  every(2, "/api/warm", warmups);
  every(2, "/api/snapshot", snapshots);
  every(5, "/api/sources", sources);
  every(5, "/api/top?n=10", top);
  every(30, "/api/dedup", shared);
  for (const b of byId("windows").children) {
    b.addEventListener("click", () => {
      for (const other of byId("windows").children) other.setAttribute("aria-pressed", String(other === b));
      charts.show(Number(b.dataset.minutes));
    });
  }
}

byId("explain-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const key = byId("explain-key").value;
  if (key) explain(key);
});

begin().catch((err) => {
  byId("dot").className = "dot lost";
  set("state", "cannot be read: " + err.message);
});

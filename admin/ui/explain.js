// What the explain box shows of a key.
import { make, byId, ask } from "/ui/dom.js";
import { duration, integer } from "/ui/format.js";

const kinds = { fresh: "good", stale: "warn", negative: "none", absent: "none", over: "bad", expired: "bad", flushed: "bad" };

// explain asks for a key and shows the answer.
export async function explain(key) {
  const result = byId("explain-result");
  try {
    result.replaceChildren(...show(await ask("/api/explain?key=" + encodeURIComponent(key))));
  } catch (err) {
    result.replaceChildren(make("p", "error", err.message));
  }
}

function show(x) {
  const verdict = make("div", "verdict", make("span", "badge " + kinds[x.state], x.state), make("p", "", "A GET gets " + x.answer + "."));
  const facts = make("dl", "facts");
  const fact = (name, value, wide) => facts.append(make("div", wide ? "wide" : "", make("dt", "", name), make("dd", "", value)));
  fact("Route", x.route || "none, a plain key");
  if (x.canonical) fact("Canonical", make("code", "", x.canonical));
  if (x.parts) fact("Parts", make("code", "", x.parts.map((p) => p.name + "=" + (p.value ?? "NULL")).join("  ")));
  fact("Why", x.why.join(" "), !x.parts);
  if (x.item) item(x.item, fact);
  if (x.load) load(x.load, fact);
  const parts = [verdict];
  if (x.item && x.state !== "flushed") parts.push(...life(x.item));
  return [...parts, facts];
}

function item(it, fact) {
  fact("Item", it.kind + ", " + duration(it.age) + " ago");
  if (it.exptime_in !== undefined) fact("Exptime", it.exptime_in > 0 ? "in " + duration(it.exptime_in) : "over");
  if (it.outdated) fact("Outdated", "stale whatever its age: a client, a reload or a change said so");
  if (it.negative_for !== undefined) return;
  fact("Value", integer(it.value_bytes) + " bytes, " + (it.value_shared ? "shared by " + integer(it.value_keys) + " items" : "the item's own"));
  fact("Digest", make("code", "", it.value_digest));
  fact("Flags, CAS", it.flags + ", " + (it.cas ?? "none given out yet"));
}

function load(l, fact) {
  let lease = l.lease;
  if (l.lease_for) lease += " for a " + l.lease_for;
  if (l.lease_until !== undefined) lease += ", for " + duration(l.lease_until);
  fact("Lease", lease);
  fact("Source", l.sources.join(", ") + (l.sources_down ? " (down)" : "") + (l.route_off ? " (the route is off)" : ""));
  if (l.refused) fact("Refused", "the query's parameter types refuse a part, so it is never asked for", true);
  if (l.last) {
    const t = l.last;
    fact("Last load", duration(t.ago) + " ago, " + integer(t.batch_keys) + " keys, " + integer(t.rows) + " rows in " + t.milliseconds + " ms from " + t.source + "; this key: " + t.result, true);
    if (t.error) fact("Error", make("span", "error", t.error), true);
  } else {
    fact("Last load", "none is remembered", true);
  }
  if (l.query) fact("Query", make("code", "", l.query.trim()), true);
  if (l.parameters) fact("Parameters", make("code", "", l.parameters.map((p) => p.name + " = " + (p.value ?? "NULL")).join("\n")), true);
}

// life draws how much is left of an item's times.
function life(it) {
  const ends = [["fresh", it.fresh_for, "green"], ["stale", it.stale_for, "amber"], ["kept if no source can be reached", it.kept_for, "violet"], ["negative", it.negative_for, "quiet"]];
  const track = make("div", "track");
  const names = make("div", "names");
  let from = 0;
  for (const [name, left, colour] of ends) {
    if (left === undefined) continue;
    const length = Math.max(left - from, 0);
    from = Math.max(left, from);
    const mark = make("i");
    mark.style.background = "var(--" + colour + ")";
    names.append(make("span", "", mark, name + (left > 0 ? " for " + duration(left) : " over for " + duration(-left))));
    if (length > 0) {
      const bar = make("span");
      bar.style.background = "var(--" + colour + ")";
      bar.style.flexGrow = String(Math.sqrt(length)); // hours beside minutes, and both to be seen
      track.append(bar);
    }
  }
  return names.children.length > 0 ? [make("div", "life", track, names)] : [];
}

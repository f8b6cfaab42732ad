// The charts: four panels of two plots each, all on one time axis.
import { make, byId } from "/ui/dom.js";
import { short, bytes, percent, millis, shortTick, percentTick, millisTick } from "/ui/format.js";

const perSecond = (n) => short(n) + "/s";
const ms = (n) => millis(n) + " ms";

// panels says what is drawn: the columns of the history, how they are called and coloured.
const panels = [
  {
    id: "requests",
    plots: [
      { height: 170, unit: shortTick, legend: perSecond, series: [["hits", "hits", "blue"], ["misses", "misses", "orange"], ["sets", "sets", "violet"]] },
      { height: 92, unit: percentTick, legend: percent, range: [0, 1], series: [["hit_ratio", "hit ratio", "green"]] },
    ],
  },
  {
    id: "fills",
    plots: [
      { height: 170, unit: shortTick, legend: perSecond, series: [["loaded", "loaded", "blue"], ["absent", "no row", "amber"], ["failed", "failed", "red"]] },
      { height: 92, unit: shortTick, legend: short, series: [["queued", "keys that wait", "violet"], ["batches_in_flight", "batches under way", "green"]] },
    ],
  },
  {
    id: "memory",
    plots: [
      { height: 170, unit: bytes, legend: bytes, base: 2, series: [["limit_bytes", "limit", "red", true], ["used_bytes", "used", "blue"], ["live_bytes", "live", "green"]] },
      { height: 92, unit: shortTick, legend: short, series: [["items", "items", "blue"], ["shared_items", "share their value", "amber"], ["shared_values", "values shared", "violet"]] },
    ],
  },
  {
    id: "passes",
    plots: [
      { height: 170, unit: shortTick, legend: perSecond, series: [["passes", "passes", "violet"], ["evicted", "evicted", "orange"], ["expired", "expired", "green"]] },
      { height: 92, unit: millisTick, legend: ms, series: [["longest_hold_ms", "longest lock hold", "red"], ["get_p99_ms", "get, 99th percentile", "blue"]] },
    ],
  },
];

// Charts holds the history and draws its last minutes.
export class Charts {
  constructor(history) {
    this.columns = history;
    this.minutes = 15;
    this.most = 900;
    this.drawn = [];
    this.draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // add appends a point, an object of all columns.
  add(point) {
    for (const name in this.columns) {
      this.columns[name].push(point[name]);
      if (this.columns[name].length > this.most) this.columns[name].shift();
    }
    this.update();
  }

  show(minutes) {
    this.minutes = minutes;
    this.update();
  }

  // draw makes all plots anew, in the colours of the moment.
  draw() {
    for (const d of this.drawn) {
      d.watch.disconnect();
      d.plot.destroy();
      d.box.remove();
      d.legend.box.remove();
    }
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue("--" + name).trim();
    this.drawn = panels.flatMap((p) => p.plots.map((spec) => this.drawOne(byId(p.id), spec, colour)));
    this.update();
  }

  drawOne(panel, spec, colour) {
    const legend = makeLegend(spec, colour);
    const box = make("div", "plot");
    panel.append(legend.box, box);
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const options = {
      width: Math.max(box.clientWidth, 50),
      height: spec.height,
      legend: { show: false },
      cursor: { sync: { key: "time" }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
      padding: [6, 4, 0, 0],
      scales: { x: { time: true, range: () => this.span() }, y: { range: (_, low, high) => spec.range || [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        {
          ...axis, space: (u, _, from, to, width) => (((to - from) / width) * 46 > 30 ? 46 : 70), size: 26, // whole minutes are shorter
          values: (u, times, _, space, step) => times.map((t) => (labelFits(u, t) ? clock(t, step) : null)),
        },
        { ...axis, size: 66, space: 26, gap: 6, incrs: spec.base === 2 ? binaryIncrements : undefined, values: (_, ticks) => ticks.map((v) => spec.unit(v)) },
      ],
      series: [{}, ...spec.series.map(([, name, c, dashed]) => ({
        label: name, stroke: colour(c), width: 1.75, dash: dashed ? [5, 4] : undefined, points: { show: false },
        fill: spec.series.length === 1 ? colour(c) + "22" : undefined,
      }))],
      hooks: { setCursor: [(u) => legend.tell(u, this.hovered(u))] },
    };
    const plot = new uPlot(options, this.data(spec), box);
    const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(box.clientWidth, 50), height: spec.height }));
    watch.observe(box);
    return { plot, box, legend, spec, watch };
  }

  data(spec) {
    return [this.columns.time, ...spec.series.map(([column]) => this.columns[column])];
  }

  update() {
    for (const d of this.drawn) {
      d.plot.setData(this.data(d.spec));
      d.legend.tell(d.plot, this.hovered(d.plot));
    }
  }

  // span is the time shown.
  span() {
    const times = this.columns.time;
    const end = times.length > 0 ? times[times.length - 1] : Date.now() / 1000;
    const begin = times.length > 0 ? Math.min(times[0], end - 60) : end - 60;
    return [Math.max(end - this.minutes * 60, begin), end];
  }

  // hovered is the index that the legend tells: under the cursor, else the newest.
  hovered(plot) {
    return plot.cursor.idx ?? this.columns.time.length - 1;
  }
}

// binaryIncrements are distances of ticks that are round in units of 1024.
const binaryIncrements = Array.from({ length: 45 }, (_, i) => 2 ** i);

// labelFits tells whether a time can be written under its place without being cut off.
function labelFits(plot, t) {
  const { min, max } = plot.scales.x;
  return ((max - t) / (max - min)) * plot.over.clientWidth > 30;
}

// clock writes a time, without seconds where all labels are at whole minutes.
function clock(t, step) {
  return new Date(t * 1000).toLocaleTimeString("en-GB", { timeStyle: step % 60 === 0 ? "short" : "medium" });
}

function makeLegend(spec, colour) {
  const values = [];
  const box = make("div", "legend");
  for (const [, name, c] of spec.series) {
    const mark = make("i");
    mark.style.background = colour(c);
    const value = make("b", "", "–");
    values.push(value);
    box.append(make("span", "", mark, name, value));
  }
  return {
    box,
    tell(plot, at) {
      values.forEach((value, i) => {
        const v = plot.data[i + 1][at];
        value.textContent = v === undefined ? "–" : spec.legend(v);
      });
    },
  };
}

"use strict";
/* Of the box that stands before this script: a page that compares runs has several. */
((box) => document.addEventListener("page-ready", () => {
  const { element, say, paint, short, watch } = window.hengsuan;
  const found = JSON.parse(box.querySelector("script").textContent);
  function bytes(text) {
    const read = atob(text), made = new Uint8Array(read.length);
    for (let index = 0; index < read.length; index += 1) made[index] = read.charCodeAt(index);
    return made;
  }
  const value = new Float32Array(bytes(found.value).buffer);
  const who = bytes(found.who);
  const items = found.names.length;
  const place = box.querySelector("[data-map]"), panel = box.querySelector("[data-panel]");
  const by = box.querySelector("[data-by]"), wanted = box.querySelector("[data-metrics]");
  let block = found.block, first = 0, last = items;

  const kindFor = (metric, item) => (found.kind ? found.kind[item] : metric.middle.findIndex((one) => one !== null));
  function excess(row, item) {
    const metric = found.metrics[row], kind = kindFor(metric, item), middle = metric.middle[kind];
    if (middle === null || middle === undefined || middle === 0) return NaN;
    return (metric.better === "higher" ? -1 : 1) * (value[row * items + item] - middle) / Math.abs(middle);
  }
  function far(row, item) {
    const metric = found.metrics[row];
    return excess(row, item) / metric.spread[kindFor(metric, item)];
  }
  function rows() {
    const parts = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    return found.metrics.map((metric, row) => row).filter((row) => parts.every((part) => found.metrics[row].name.toLowerCase().includes(part)));
  }
  const nameOf = (from, to) => (to - from === 1 ? found.names[from] : `${found.names[from]} … ${found.names[to - 1]}`);

  function draw() {
    const asked = rows(), measure = by.value === "far" ? far : excess, scale = by.value === "far" ? 1 : 100;
    const columns = [];
    for (let from = first; from < last; from += block) columns.push([from, Math.min(from + block, last)]);
    const z = [], text = [], worst = [];
    const shown = [];
    for (const row of asked) {
      const line = [], said = [], at = [];
      for (const [from, to] of columns) {
        let most = NaN, item = from;
        for (let one = from; one < to; one += 1) {
          const here = measure(row, one);
          if (!(here <= most) && here === here) { most = here; item = one; }
        }
        line.push(most === most ? most * scale : null);
        said.push(most === most ? `${found.names[item]}: ${(100 * excess(row, item)).toFixed(1)} %` : "");
        at.push(item);
      }
      // What is nowhere worse or better (a count of errors that is 0 everywhere) has no line.
      if (line.every((one) => one === null || one === 0)) continue;
      shown.push(row); z.push(line); text.push(said); worst.push(at);
    }
    const limit = by.value === "far" ? 8 : 20;
    place.style.height = `${Math.max(220, 70 + 15 * shown.length)}px`;
    const names = shown.map((row) => found.metrics[row].name);
    const data = [{
      type: "heatmap", z, text, x: columns.map((_, index) => index), y: names.map((_, index) => index), zmin: -limit, zmax: limit, zmid: 0,
      colorscale: [[0, "$s0"], [0.5, "$card"], [1, "$bad"]], hoverongaps: false, xgap: columns.length <= 64 ? 1 : 0, ygap: 1,
      customdata: shown.map((row) => names[shown.indexOf(row)]).map((name) => columns.map(() => name)),
      hovertemplate: "%{customdata}<br>%{text}<extra></extra>", colorbar: { thickness: 10, lenmode: "pixels", len: 200, y: 1, yanchor: "top", title: { text: by.value === "far" ? say("spreads") : "%", side: "right" }, outlinewidth: 0 },
    }];
    const ticks = columns.length <= 40 ? columns.map((_, index) => index) : [0, 1, 2, 3, 4, 5, 6, 7, 8].map((part) => Math.round(part * (columns.length - 1) / 8));
    const layout = {
      plot_bgcolor: "$grid", margin: { l: 10, r: 10, t: 10, b: 40 }, height: Math.max(220, 70 + 15 * shown.length),
      xaxis: { tickvals: ticks, ticktext: ticks.map((index) => found.names[columns[index][0]]), showgrid: false, zeroline: false },
      yaxis: { tickvals: names.map((_, index) => index), ticktext: names.map((name) => short(place, name)), autorange: "reversed", showgrid: false, zeroline: false, tickfont: { size: 10 }, automargin: true },
    };
    const blocks = box.querySelector("[data-blocks]");
    blocks.replaceChildren();
    if (block > 1) blocks.append(`${say("nodes in a column, which shows the worst of them")}: ${block}. ${say("Choose one to see its nodes apart.")}`);
    if (last - first < items) blocks.append(element("button", { type: "button", text: say("all nodes"), onclick: () => { block = found.block; first = 0; last = items; draw(); } }));
    paint(place, data, layout).then(() => {
      place.removeAllListeners("plotly_click");
      place.on("plotly_click", ({ points: [point] }) => {
        const [from, to] = columns[point.x];
        show(worst[point.y][point.x]);
        if (to - from > 1) { first = from; last = to; block = 1; draw(); }
      });
    });
  }

  function format(metric, number) {
    if (number !== number) return "–";
    const scales = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
    const digits = (one) => String(Number(one.toPrecision(4)));
    if (metric.unit === "ratio") return `${(number * 100).toFixed(1)} %`;
    if (metric.unit === "s") {
      const [scale, name] = number >= 1 ? [1, "s"] : number >= 1e-3 ? [1e-3, "ms"] : number >= 1e-6 ? [1e-6, "µs"] : [1e-9, "ns"];
      return `${digits(number / scale)} ${name}`;
    }
    if (["", "count", "bits"].includes(metric.unit)) return `${digits(number)} ${metric.unit}`.trim();
    const [scale, prefix] = scales.find(([one]) => Math.abs(number) >= one) || [1, ""];
    return `${digits(number / scale)} ${prefix}${metric.unit}`;
  }

  function show(item) {
    const name = found.names[item], node = found.node ? found.nodes[found.node[item]] : name;
    panel.hidden = false;
    panel.querySelector("[data-name]").textContent = name;
    const said = Object.hasOwn(found.said, node) ? found.said[node] : null, inside = panel.querySelector("[data-inside]");
    inside.replaceChildren();
    if (said) {
      inside.append(element("p", { class: "text", "data-tone": { accept: "good", reject: "bad" }[said.verdict] || "warn", text: say(said.verdict) }));
      for (const line of said.lines) inside.append(element("p", { class: "text", text: line }));
    }
    const titles = ["metric", "value", "usual", "worse by", "in spreads", ...(found.devices ? [] : ["device"])];
    panel.querySelector("thead tr").replaceChildren(...titles.map((title, index) => element("th", { scope: "col", class: index ? "number" : "", text: say(title) })));
    const order = found.metrics.map((_, row) => row).filter((row) => value[row * items + item] === value[row * items + item]);
    order.sort((a, b) => (far(b, item) || 0) - (far(a, item) || 0));
    panel.querySelector("tbody").replaceChildren(...order.map((row) => {
      const metric = found.metrics[row], off = far(row, item), share = excess(row, item), device = who[row * items + item];
      const cells = [metric.name, format(metric, value[row * items + item]), metric.usual[kindFor(metric, item)], share === share ? `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)} %` : "–", off === off ? off.toFixed(1) : "–"];
      if (!found.devices) cells.push(device === 255 ? "–" : String(device));
      return element("tr", {}, ...cells.map((text, index) => element("td", { class: index ? "number" : "", "data-tone": index === 4 && off > 5 ? "bad" : "", text })));
    }));
  }

  function find(name) {
    let item = found.names.indexOf(name);
    if (item < 0 && found.node) item = found.node.indexOf(found.nodes.indexOf(name));
    if (item < 0) item = found.names.findIndex((one) => one.startsWith(name));
    if (item < 0) item = found.names.findIndex((one) => one.includes(name));
    return item;
  }
  document.addEventListener("show-node", (event) => {
    const item = find(event.detail);
    if (item < 0) return;
    show(item);
    panel.scrollIntoView({ block: "nearest" });
  });
  const search = box.querySelector("[data-find]");
  search.addEventListener("input", () => {
    const item = search.value ? find(search.value) : -1;
    box.querySelector("[data-found]").textContent = search.value && item < 0 ? say("no such node") : "";
    if (item >= 0) show(item);
  });
  // With Enter its column opens, as by a click on that.
  search.addEventListener("change", () => {
    const item = search.value ? find(search.value) : -1;
    if (item < 0 || block === 1) return;
    first = item - item % block; last = Math.min(first + block, items); block = 1;
    draw();
  });
  by.addEventListener("change", draw);
  wanted.addEventListener("input", draw);
  place.style.height = `${Math.max(220, 70 + 15 * found.metrics.length)}px`;
  watch(place, draw);
}))(document.currentScript.previousElementSibling);

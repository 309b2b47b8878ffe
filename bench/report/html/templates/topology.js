"use strict";
/* Of the box that stands before this script: a page that compares runs has several. */
((box) => document.addEventListener("page-ready", () => {
  const { element, say, watch, go } = window.hengsuan;
  const found = JSON.parse(box.querySelector("script").textContent);
  const MOST = 120; // boxes at once: of more, those around them are shown
  const STRIP = 128, CELLS = 4000; // small squares in a box, and in all
  const LINKS = 40, APART = 20; // lines at once, and links up to which each has a line of its own
  const part = (name) => box.querySelector(`[data-${name}]`);
  const map = part("drawn"), tip = part("tip"), panel = part("panel-of");

  function bytes(text) {
    const read = atob(text), made = new Uint8Array(read.length);
    for (let index = 0; index < read.length; index += 1) made[index] = read.charCodeAt(index);
    return made.buffer;
  }
  const whole = (text) => new Int32Array(bytes(text)), real = (text) => new Float32Array(bytes(text));
  function drawn(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function percent(value) {
    const said = Math.abs(100 * value).toFixed(1);
    return said === "0.0" ? "0 %" : `${value < 0 ? "−" : "+"}${said} %`;
  }
  const ruler = document.createElement("canvas").getContext("2d");
  function wide(text, size) {
    ruler.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
    return ruler.measureText(text).width;
  }
  function cut(text, size, room) {
    if (wide(text, size) <= room) return text;
    let kept = [...text];
    while (kept.length > 1 && wide(`${kept.join("")}…`, size) > room) kept = kept.slice(0, -Math.max(1, Math.floor(kept.length / 8)));
    return `${kept.join("")}…`;
  }

  /* ---- what is drawn: groups in groups, nodes, their devices ---- */
  const starts = whole(found.starts);
  const topologies = found.topologies.map((one) => ({ ...one, levels: one.levels.map((level) => ({ ...level, codes: whole(level.codes) })) }));
  const items = found.items.map(whole);
  const figures = found.figures.map((one) => ({ ...one, ranks: items[one.items], effect: real(one.effect), reach: real(one.reach) }));
  function nodeOf(rank) {
    let low = 0, high = starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= rank) low = middle; else high = middle;
    }
    // Of nodes without devices several begin at one place: the last of them has the device.
    return low;
  }
  const isLink = (one) => one.kind === "slow-link" || one.kind === "slow-pair";
  function tree(figure, levels) {
    const items = found.nodes.map(() => []);
    figure.ranks.forEach((rank, item) => items[nodeOf(rank)].push(item));
    const own = new Map(), between = new Map();
    figure.slow.forEach((one) => {
      const link = isLink(one);
      for (const item of one.items) (link ? between : own).set(item, [...((link ? between : own).get(item) || []), one]);
    });
    const inner = levels.length ? levels[levels.length - 1].codes : null;
    const order = found.nodes.map((_, node) => node).sort((a, b) => (inner ? inner[a] - inner[b] : 0) || a - b);
    const root = { kind: "", name: say("all nodes"), children: [], up: null };
    const last = levels.map(() => null);
    for (const node of order) {
      let into = root;
      levels.forEach((level, depth) => {
        if (!last[depth] || last[depth].code !== level.codes[node] || last[depth].up !== into) {
          last[depth] = { kind: level.label, code: level.codes[node], name: level.groups[level.codes[node]], children: [], up: into };
          into.children.push(last[depth]);
        }
        into = last[depth];
      });
      const made = { kind: "node", name: found.nodes[node], node, children: [], up: into, items: items[node] };
      if (!figure.single && items[node].length) {
        made.children = items[node].map((item) => ({ kind: "device", name: `${found.nodes[node]}/${figure.ranks[item] - starts[node]}`, place: figure.ranks[item] - starts[node], node, items: [item], children: [], up: made }));
      }
      into.children.push(made);
    }
    sum(root);
    split(root);
    return root;

    function sum(one) {
      if (one.children.length) {
        one.children.forEach(sum);
        one.items = one.kind === "node" ? one.items : one.children.flatMap((child) => child.items);
        one.nodes = one.kind === "node" ? 1 : one.children.reduce((all, child) => all + child.nodes, 0);
      } else {
        one.items = one.items || [];
        one.nodes = one.kind === "device" ? 0 : 1;
      }
      const known = one.items.filter((item) => !Number.isNaN(figure.effect[item]));
      const worse = (item) => figure.worse * figure.effect[item];
      one.worst = known.reduce((most, item) => (most < 0 || worse(item) > worse(most) ? item : most), -1);
      const sorted = known.map((item) => figure.effect[item]).sort((a, b) => a - b), middle = sorted.length >> 1;
      one.median = sorted.length ? (sorted[middle] + sorted[(sorted.length - 1) >> 1]) / 2 : NaN;
      one.slow = new Set(one.items.flatMap((item) => own.get(item) || []));
      one.links = new Set(one.items.flatMap((item) => between.get(item) || []));
    }
    /* Of more than fit at once, several that follow each other are one box. */
    function split(one) {
      one.children.forEach(split);
      if (one.children.length <= MOST || one.kind === "node") return;
      const size = Math.ceil(Math.sqrt(one.children.length)), made = [];
      for (let from = 0; from < one.children.length; from += size) {
        const children = one.children.slice(from, from + size);
        const block = { kind: "", name: `${children[0].name} … ${children[children.length - 1].name}`, children, up: one };
        children.forEach((child) => { child.up = block; });
        made.push(block);
      }
      one.children = made;
      // Children know already what they hold.
      made.forEach((block) => {
        block.items = block.children.flatMap((child) => child.items);
        block.nodes = block.children.reduce((all, child) => all + child.nodes, 0);
        const worst = block.children.map((child) => child.worst).filter((item) => item >= 0);
        block.worst = worst.reduce((most, item) => (most < 0 || figure.worse * (figure.effect[item] - figure.effect[most]) > 0 ? item : most), -1);
        block.median = NaN;
        block.slow = new Set(block.children.flatMap((child) => [...child.slow]));
        block.links = new Set(block.children.flatMap((child) => [...child.links]));
      });
    }
  }
  const nameOf = (figure, item) => {
    const node = nodeOf(figure.ranks[item]);
    return figure.single ? found.nodes[node] : `${found.nodes[node]}/${figure.ranks[item] - starts[node]}`;
  };

  /* ---- in words ---- */
  // Of a handful of pairs an interval may reach beyond everything: then it says nothing.
  function interval(one) { return one.high < 10 ? ` (95 %: ${percent(one.low)} – ${percent(one.high)})` : ""; }
  const end = (figure, item, side) => Math.expm1(Math.log1p(figure.effect[item]) + side * figure.reach[item]);
  function estimate(figure, item) {
    if (Number.isNaN(figure.effect[item])) return say("fewer than two pairs: nothing is known");
    return `${percent(figure.effect[item])} ${say("against the usual pair")}${interval({ low: end(figure, item, -1), high: end(figure, item, 1) })}`;
  }
  function linkText(figure, one) {
    const names = one.kind === "slow-node" ? [found.nodes[nodeOf(figure.ranks[one.items[0]])]] : one.items.map((item) => nameOf(figure, item));
    return `${say(one.kind)}: ${names.join(" – ")} ${percent(one.effect)}${interval(one)}`;
  }
  function lines(figure, one) {
    const said = [];
    const path = [];
    for (let here = one.kind === "device" ? one.up.up : one.up; here && here.up; here = here.up) path.unshift(here.name);
    said.push([...path, one.name].join(" > "));
    if (!one.items.length) said.push(say("in no pair"));
    else if (one.items.length === 1) said.push(estimate(figure, one.items[0]));
    else {
      if (one.kind !== "node") said.push(`${say("nodes")}: ${one.nodes}`);
      if (one.worst >= 0) said.push(`${say("slowest")}: ${nameOf(figure, one.worst)}, ${estimate(figure, one.worst)}`);
      else said.push(say("fewer than two pairs: nothing is known"));
      if (!Number.isNaN(one.median)) said.push(`${say("median")}: ${percent(one.median)}`);
    }
    const named = [...one.slow, ...one.links];
    for (const each of named.slice(0, 6)) said.push(linkText(figure, each));
    if (named.length > 6) said.push(`… ${named.length - 6}`);
    return said;
  }

  /* ---- colours: worse is red, better blue, the usual plain; never alone, for numbers stand beside them ---- */
  function tint(figure, item, most) {
    if (item < 0 || Number.isNaN(figure.effect[item])) return "url(#fabric-unknown)";
    const share = Math.max(-1, Math.min(1, figure.worse * figure.effect[item] / figure.limit));
    return `color-mix(in srgb, var(${share > 0 ? "--bad" : "--s0"}) ${(most * Math.abs(share)).toFixed(1)}%, var(--card))`;
  }

  /* ---- where it stands ---- */
  let figure = figures[0], by = topologies[0], root = null, here = null, width = 0, focused = null;
  function shown(from) {
    let boxes = from.children.length ? from.children : [from];
    for (;;) {
      const next = boxes.flatMap((one) => (one.children.length && one.kind !== "node" ? one.children : [one]));
      if (next.length > MOST || next.length === boxes.length && next.every((one, index) => one === boxes[index])) return new Set(boxes);
      boxes = next;
    }
  }
  const PAD = 8, GAP = 6, HEAD = 22, CELL = 10, STEP = 12;
  function measure(boxes) {
    const cells = [...boxes].reduce((all, one) => all + (one.children.length <= STRIP ? one.children.length : 0), 0);
    const most = Math.max(1, ...[...boxes].map((one) => one.children.length));
    const strip = cells && cells <= CELLS && most <= STRIP ? most : 0;
    const group = [...boxes].some((one) => one.kind !== "node" && one.kind !== "device");
    const names = Math.max(...[...boxes].map((one) => wide(one.name, 12)));
    const room = Math.max(group ? 150 : 84, Math.min(names + 2 * PAD + 4, 200), strip ? Math.min(strip, 8) * STEP + 2 * PAD : 0);
    let boxWide = Math.min(Math.ceil(room), width - 4 * PAD);
    // Where a group fills several lines, its boxes are as wide as a line has room for.
    const [any] = boxes, fellows = Math.max(1, ...[...boxes].map((one) => (one.up && one.up !== one ? one.up.children.length : 1)));
    let depth = 0;
    for (let up = any.up; up && up !== here && any !== here; up = up.up) depth += 1;
    const free = width - 2 - 2 * PAD * depth + GAP, fit = Math.max(1, Math.floor(free / (boxWide + GAP)));
    if (fellows > fit) boxWide = Math.min(Math.floor(free / Math.ceil(fellows / Math.ceil(fellows / fit))) - GAP, Math.floor(1.4 * boxWide));
    const rows = strip ? Math.ceil(strip / Math.floor((boxWide - 2 * PAD + 2) / STEP)) : 0;
    const across = rows ? Math.ceil(strip / rows) : 1;
    return { boxWide, across, strip, group, boxHigh: 24 + (rows ? rows * STEP + 4 : 0) + 16 + (group ? 16 : 0) + 4 };
  }
  /* Each box below or beside the one before: {one, x, y, w, h, inner} of a group and all in it. */
  function place(one, boxes, size, room) {
    if (boxes.has(one)) return { one, w: size.boxWide, h: size.boxHigh, inner: null };
    const inner = one.children.map((child) => place(child, boxes, size, room - 2 * PAD));
    let x = 0, y = 0, high = 0, most = 0;
    for (const each of inner) {
      if (x && x + each.w > room - 2 * PAD) { x = 0; y += high + GAP; high = 0; }
      each.x = x; each.y = y;
      x += each.w + GAP; high = Math.max(high, each.h); most = Math.max(most, x - GAP);
    }
    return { one, w: most + 2 * PAD, h: y + high + PAD + HEAD, inner };
  }

  /* ---- the picture ---- */
  function draw() {
    width = map.clientWidth;
    if (!width) return;
    const boxes = shown(here), size = measure(boxes);
    const bare = here.children.length && !boxes.has(here);
    const laid = bare ? place(here, boxes, size, width + 2 * PAD) : { one: null, inner: [{ ...place(here, boxes, size, width), x: 0, y: 0 }], h: size.boxHigh + PAD + HEAD };
    // Lines between boxes of the last row hang below it.
    const high = laid.h - HEAD - PAD + 2 + (figure.slow.some(isLink) ? 24 : 0);
    const spot = new Map();
    const frames = drawn("g", {}), tiles = drawn("g", {}), links = drawn("g", {});
    const svg = drawn("svg", { viewBox: `-1 -1 ${width} ${high}`, width: "100%", role: "group", "aria-label": `${figure.name}: ${here.name}` },
      drawn("defs", {}, drawn("pattern", { id: "fabric-unknown", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, drawn("rect", { width: 6, height: 6, class: "unknown" }), drawn("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" }))),
      frames, tiles, links);
    let first = true;
    const text = (x, y, look, said) => { const made = drawn("text", { x, y, class: look }); made.textContent = said; return made; };
    function put(parts, x, y) {
      for (const each of parts) {
        const at = { x: x + each.x, y: y + each.y };
        const made = each.inner ? frame(each, at) : tile(each, at);
        if (each.one === focused || (!focused && first)) { made.setAttribute("tabindex", "0"); first = false; }
        if (each.inner) put(each.inner, at.x + PAD, at.y + HEAD);
      }
    }
    function frame(each, at) {
      const { one } = each;
      const made = drawn("g", { class: "frame-of", role: "button", tabindex: "-1", "aria-label": lines(figure, one).join("; ") });
      made.append(drawn("rect", { x: at.x, y: at.y, width: each.w, height: each.h, rx: 8, class: "frame" }));
      const said = Number.isNaN(one.median) ? "" : `${say("median")} ${percent(one.median)}`, right = said ? wide(said, 11) + 8 : 0;
      made.append(text(at.x + PAD + 1, at.y + 15, "head", cut(one.name, 12, each.w - 2 * PAD - right)));
      if (said && right < each.w / 3) {
        const value = text(at.x + each.w - PAD, at.y + 15, "aside", said);
        value.setAttribute("text-anchor", "end");
        made.append(value);
      }
      live(made, one);
      frames.append(made);
      return made;
    }
    function tile(each, at) {
      const { one } = each;
      const bad = one.slow.size > 0;
      const made = drawn("g", { class: bad ? "tile slow" : "tile", role: "button", tabindex: "-1", "aria-label": lines(figure, one).join("; ") });
      if (one.node !== undefined) made.dataset.name = one.name;
      const paint = drawn("rect", { x: at.x, y: at.y, width: each.w, height: each.h, rx: 6, class: "ground" });
      paint.style.fill = tint(figure, one.worst, 45);
      made.append(paint);
      const room = each.w - 2 * PAD;
      const own = new Set([...one.slow].map((said) => nodeOf(figure.ranks[said.items[0]]))).size;
      const badge = bad ? "▼" : "";
      made.append(text(at.x + PAD, at.y + 17, "name", cut(one.name, 12, room - (badge ? 16 : 0))));
      if (badge) {
        const mark = text(at.x + each.w - PAD, at.y + 17, "mark", badge);
        mark.setAttribute("text-anchor", "end");
        made.append(mark);
      }
      const edges = { one, top: at.y, bottom: at.y + each.h, middle: at.x + each.w / 2 };
      for (const item of one.items) spot.set(item, { ...edges, x: at.x + each.w / 2, y: at.y + each.h / 2 });
      let below = at.y + 24;
      if (size.strip) {
        one.children.forEach((child, index) => {
          const x = at.x + PAD + (index % size.across) * STEP, y = below + Math.floor(index / size.across) * STEP;
          const cell = drawn("rect", { x, y, width: CELL, height: CELL, rx: 2, class: child.slow.size ? "cell slow" : "cell" });
          cell.style.fill = tint(figure, child.worst, 100);
          child.tip = lines(figure, child);
          cell.addEventListener("pointerenter", (event) => { event.stopPropagation(); tell(child.tip, event.clientX, event.clientY); });
          for (const item of child.items) spot.set(item, { ...edges, x: x + CELL / 2, y: y + CELL / 2, small: child });
          made.append(cell);
        });
        below += Math.ceil(size.strip / size.across) * STEP + 4;
      }
      const worst = one.worst < 0 ? say(one.items.length ? "not known" : "in no pair") : percent(figure.effect[one.worst]);
      const who = one.worst < 0 || one.items.length === 1 ? "" : one.kind === "node" ? `  /${figure.ranks[one.worst] - starts[one.node]}` : `  ${nameOf(figure, one.worst)}`;
      made.append(text(at.x + PAD, below + 11, bad ? "value slow" : "value", cut(worst + who, 11, room)));
      if (size.group) {
        const slow = own ? `, ${own} ${say("slow")}` : "", cross = one.links.size ? `, ${one.links.size} ${say(one.links.size === 1 ? "slow link" : "slow links")}` : "";
        made.append(text(at.x + PAD, below + 27, "count", cut(`${one.nodes} ${say("nodes")}${slow}${cross}`, 11, room)));
      }
      live(made, one);
      tiles.append(made);
      return made;
    }
    function live(made, one) {
      made.hengsuan = one;
      made.addEventListener("click", (event) => { event.stopPropagation(); enter(one); });
      made.addEventListener("pointermove", (event) => { if (!event.target.classList.contains("cell")) tell(lines(figure, one), event.clientX, event.clientY); });
      made.addEventListener("pointerleave", quiet);
      made.addEventListener("focus", () => {
        focused = one;
        svg.querySelectorAll("[tabindex='0']").forEach((other) => other.setAttribute("tabindex", "-1"));
        made.setAttribute("tabindex", "0");
        const seen = made.getBoundingClientRect();
        if (made.matches(":focus-visible")) tell(lines(figure, one), seen.left + 20, seen.bottom);
      });
      made.addEventListener("blur", quiet);
    }
    put(laid.inner, 0, 0);
    const rest = connect(links, spot, text);
    part("rest").textContent = rest;
    map.replaceChildren(svg);
  }
  /* Links that the model names, between what is in sight; what is not drawn is said. */
  function connect(into, spot, text) {
    const said = figure.slow.filter(isLink);
    const inside = said.filter((one) => one.items.every((item) => spot.has(item)));
    const out = said.filter((one) => one.items.filter((item) => spot.has(item)).length === 1);
    let hidden = 0;
    const bundles = new Map();
    for (const one of inside) {
      const ends = one.items.map((item) => spot.get(item)), [a, b] = ends;
      if (a.one === b.one && !(a.small && b.small && a.small !== b.small)) { hidden += 1; continue; }
      // Devices of the same two nodes share a cable mostly: one line for all of them.
      const alone = a.one === b.one || (a.one.kind !== "node" && inside.length <= APART);
      const key = alone ? one.items.join("/") : [a.one, b.one].map((each) => each.items[0]).sort((x, y) => x - y).join();
      bundles.set(key, [...(bundles.get(key) || []), { one, ends: a.middle <= b.middle ? ends : [b, a] }]);
    }
    const ordered = [...bundles.values()].sort((a, b) => b.length - a.length);
    for (const links of ordered.slice(LINKS)) hidden += links.length;
    if (ordered.length > APART) into.setAttribute("class", "crowded");
    for (const links of ordered.slice(0, LINKS)) {
      const mean = (end, key) => links.reduce((all, link) => all + link.ends[end][key], 0) / links.length;
      const [a, b] = [0, 1].map((end) => ({ x: mean(end, "x"), y: mean(end, "y"), top: mean(end, "top"), bottom: mean(end, "bottom"), small: links.length === 1 && links[0].ends[end].small }));
      // A line ends at a small square, or at the edge of a box, whose text it leaves free.
      for (const [end, other] of [[a, b], [b, a]]) if (!end.small) end.y = end.top < other.top ? end.bottom : end.top;
      let mid;
      if (a.bottom === b.bottom) { // side by side: below what is written in them
        if (links[0].ends[0].one !== links[0].ends[1].one) a.y = b.y = a.bottom;
        mid = { x: (a.x + b.x) / 2, y: a.y + Math.min(44, 16 + Math.abs(b.x - a.x) / 14) };
      } else {
        const far = Math.hypot(b.x - a.x, b.y - a.y) || 1, bend = Math.min(40, far / 7);
        mid = { x: (a.x + b.x) / 2 - bend * (b.y - a.y) / far, y: (a.y + b.y) / 2 + bend * (b.x - a.x) / far };
      }
      const d = `M${a.x},${a.y} Q${mid.x},${mid.y} ${b.x},${b.y}`, said = links.map((link) => linkText(figure, link.one));
      const worst = links.reduce((most, { one }) => (figure.worse * one.effect > figure.worse * most ? one.effect : most), links[0].one.effect);
      const unsure = links.every(({ one }) => one.kind === "slow-pair");
      const made = drawn("g", { class: unsure ? "link unsure" : "link", role: "img", "aria-label": said.join("; ") });
      const line = drawn("path", { d, class: "line" });
      line.style.strokeWidth = String(2 + Math.min(3, links.length / 2));
      made.append(drawn("path", { d, class: "halo" }), line, drawn("path", { d, class: "reach" }));
      for (const end of [a, b]) made.append(drawn("circle", { cx: end.x, cy: end.y, r: 4, class: "end" }));
      if (bundles.size <= APART) {
        const words = (links.length > 1 ? `${links.length} × ` : "") + percent(worst), x = (a.x + b.x) / 4 + mid.x / 2, y = (a.y + b.y) / 4 + mid.y / 2;
        const label = text(x, y + 4, "by", words), room = wide(words, 11) * 1.1 + 8;
        label.setAttribute("text-anchor", "middle");
        made.append(drawn("rect", { x: x - room / 2, y: y - 7, width: room, height: 14, rx: 4, class: "plate" }), label);
      }
      // Who chooses a line means what lies below it.
      made.addEventListener("click", (event) => {
        const below = document.elementsFromPoint(event.clientX, event.clientY).map((one) => one.closest(".map [role=button]")).find(Boolean);
        if (below) enter(below.hengsuan);
      });
      made.addEventListener("pointermove", (event) => tell(said.slice(0, 10), event.clientX, event.clientY));
      made.addEventListener("pointerleave", quiet);
      into.append(made);
    }
    const parts = [];
    if (hidden) parts.push(`${say("slow links that have no line here")}: ${hidden}.`);
    if (out.length) parts.push(`${say("slow links that lead out of what is shown")}: ${out.slice(0, 5).map((one) => linkText(figure, one)).join("; ")}${out.length > 5 ? ` … ${out.length}` : ""}.`);
    return parts.join(" ");
  }

  /* ---- hover, keys, going in and out ---- */
  function tell(said, x, y) {
    tip.replaceChildren(...said.map((line, index) => element("div", { class: index ? "" : "first", text: line })));
    tip.hidden = false;
    const room = box.getBoundingClientRect(), mine = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(x - room.left + 14, room.width - mine.width))}px`;
    tip.style.top = `${y + mine.height + 20 > innerHeight ? y - room.top - mine.height - 10 : y - room.top + 16}px`;
  }
  function quiet() { tip.hidden = true; }
  function enter(one, back) {
    quiet();
    panel.hidden = true;
    if (one.kind === "node" || one.kind === "device") detail(one);
    const opens = one.children.length && one !== here;
    if (opens) { here = one; focused = null; refresh(); if (document.activeElement === document.body || back) aim(); }
  }
  function leave() { if (here.up) { const from = here; here = here.up; focused = from; panel.hidden = true; refresh(); aim(); } }
  function aim() { map.querySelector("[tabindex='0']")?.focus(); }
  function detail(one) {
    panel.hidden = false;
    const name = found.nodes[one.node];
    panel.replaceChildren(element("h3", { text: one.name }), ...lines(figure, one).slice(1).map((text) => element("p", { class: "text", text })));
    if (document.querySelector("[data-nodes]")) panel.append(element("button", { type: "button", text: say("all metrics of this node"), onclick: () => go(name) }));
  }
  map.addEventListener("keydown", (event) => {
    const at = event.target.closest("[role=button]");
    if (!at) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enter(at.hengsuan, true); }
    else if (event.key === "Escape" || event.key === "Backspace") { event.preventDefault(); leave(); }
    else if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const mine = middle(at), way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      let next = null, least = Infinity;
      for (const other of map.querySelectorAll("[role=button]")) {
        const to = middle(other), along = way[0] * (to.x - mine.x) + way[1] * (to.y - mine.y), aside = Math.abs(way[1] * (to.x - mine.x)) + Math.abs(way[0] * (to.y - mine.y));
        if (other === at || along < 4) continue;
        if (along + 3 * aside < least) { least = along + 3 * aside; next = other; }
      }
      next?.focus();
    }
  });
  const middle = (one) => {
    const seen = one.getBoundingClientRect();
    // A frame is where its name stands, or what lies in it would hide it.
    return one.classList.contains("frame-of") ? { x: seen.left + 40, y: seen.top + 10 } : { x: seen.left + seen.width / 2, y: seen.top + seen.height / 2 };
  };

  /* ---- around the picture ---- */
  function path() {
    const steps = [];
    for (let one = here; one; one = one.up) steps.unshift(one);
    part("path").replaceChildren(...(steps.length < 2 ? [] : steps.flatMap((one, index) => {
      const last = index === steps.length - 1;
      const made = last ? element("b", { text: one.name }) : element("button", { type: "button", text: one.name, onclick: () => { here = one; focused = null; panel.hidden = true; refresh(); } });
      return last ? [made] : [made, " › "];
    })));
  }
  /* Two ends and what is around both or around each alone: boxes in boxes. */
  function glyph(same) {
    const levels = by.levels.filter((level) => level.keys.some((key) => Object.hasOwn(same, key)));
    const shared = levels.map((level) => level.keys.every((key) => !Object.hasOwn(same, key) || same[key]));
    const both = shared.indexOf(false) < 0 ? levels.length : shared.indexOf(false), each = levels.length - both;
    const made = drawn("svg", { viewBox: "0 0 64 28", width: 64, height: 28, "aria-hidden": "true" });
    for (let depth = 0; depth < both; depth += 1) made.append(drawn("rect", { x: 1 + 3 * depth, y: 1 + 3 * depth, width: 62 - 6 * depth, height: 26 - 6 * depth, rx: 4, class: "frame" }));
    const edge = 3 * both;
    for (const left of [1 + edge, 35]) for (let depth = 0; depth < each; depth += 1) made.append(drawn("rect", { x: left + 3 * depth, y: 1 + edge + 3 * depth, width: 28 - edge - 6 * depth, height: 26 - 2 * edge - 6 * depth, rx: 3, class: "frame" }));
    const ends = [[1 + edge + (28 - edge) / 2, same.rail === false ? 11 : 14], [35 + (28 - edge) / 2, same.rail === false ? 17 : 14]];
    made.append(drawn("line", { x1: ends[0][0], y1: ends[0][1], x2: ends[1][0], y2: ends[1][1], class: "way" }), ...ends.map(([cx, cy]) => drawn("circle", { cx, cy, r: 3, class: "dot" })));
    return made;
  }
  function around() {
    part("case-name").textContent = figure.name;
    part("classes").replaceChildren(...figure.usual.map((one) => {
      const bar = element("i", {});
      bar.style.width = `${one.width}%`;
      return element("li", {}, glyph(one.same), element("span", { class: "what", text: one.name || say("usual pair") }), element("span", { class: "bar", "aria-hidden": "true" }, bar), element("b", { text: one.text }), element("span", { class: "small", text: `${one.pairs} ${say("pairs")}` }));
    }));
    const ends = [-1, 0, 1].map((share) => (share ? percent(figure.worse * share * figure.limit) : say("usual")));
    const key = (look, text) => element("span", { class: "key" }, element("i", { class: look }), text);
    part("scale").replaceChildren(
      element("span", { class: "key" }, ends[0], element("i", { class: "ramp" }), `${ends[2]} (${say("slower")})`), key("none", say("not known")), key("named", say("named as slow")), key("edge", say("slow link")),
    );
  }
  function refresh() { path(); draw(); }
  function renew() {
    root = tree(figure, by.levels);
    here = root; focused = null; panel.hidden = true;
    around();
    refresh();
  }
  part("case")?.addEventListener("change", (event) => { figure = figures[Number(event.target.value)]; renew(); });
  part("by")?.addEventListener("change", (event) => { by = topologies[Number(event.target.value)]; renew(); });
  let begun = false;
  watch(map, () => {
    if (!begun) { begun = true; renew(); } else if (map.clientWidth !== width) draw(); // for paper
  });
  new ResizeObserver(() => { if (begun && map.clientWidth !== width) draw(); }).observe(map);
}))(document.currentScript.previousElementSibling);

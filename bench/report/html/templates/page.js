"use strict";
(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const say = (text) => (Object.hasOwn(words, text) ? words[text] : text);
  const PAGE = 200;
  const SHORT = 20, LONG = 60; // characters: never broken up to one, wide from the other on, as in blocks.html.j2
  const root = document.documentElement;

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "text") made.textContent = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined && value !== "") made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  /* Who asks for a node, and who shows it, know each other by this event only. */
  function go(node) {
    document.dispatchEvent(new CustomEvent("show-node", { detail: node }));
  }

  /* ---- commands ---- */
  async function copy(button, text) {
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = element("textarea", {});
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = done ? say("copied") : say("select and copy by hand");
    setTimeout(() => { button.textContent = before; }, 1500);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button, button.previousElementSibling.textContent);
  });
  function command(text) {
    return element("div", { class: "command" }, element("code", { text }), element("button", { type: "button", "data-copy": true, text: say("copy") }));
  }

  /* ---- tables ---- */
  function table(box) {
    const { numbers, rows } = JSON.parse(box.querySelector("script").textContent);
    const heads = [...box.querySelectorAll("th")];
    const body = box.querySelector("tbody");
    const controls = box.querySelector(".controls");
    const rest = box.querySelector(".rest");
    let shown = rows, limit = PAGE, wanted = "", group = "", sorted = -1, falling = false;
    const textOf = (cell) => (typeof cell === "string" ? cell : cell[0]);
    const keys = rows.map((row) => [...row[0].map(textOf), ...(row[1] || [])].join("\n").toLowerCase());

    function line(row) {
      const [cells, more, again] = row;
      const made = element("tr", {});
      cells.forEach((cell, index) => {
        const [text, , tone, node] = typeof cell === "string" ? [cell] : cell;
        const td = element("td", { class: numbers[index] ? "number" : text.length <= SHORT ? "short" : text.length > LONG ? "long" : "", "data-tone": tone });
        if (index === 0 && ((more && more.length) || again)) {
          td.append(element("button", { type: "button", class: "more", "aria-expanded": "false", "aria-label": say("details"), text: "▸", onclick: (event) => open(made, row, event.currentTarget) }));
        }
        if (node) td.append(element("button", { type: "button", class: "go", text, onclick: () => go(node) }));
        else td.append(text);
        made.append(td);
      });
      return made;
    }
    function open(made, row, button) {
      const next = made.nextElementSibling;
      if (next && next.classList.contains("opened")) { next.remove(); button.textContent = "▸"; button.setAttribute("aria-expanded", "false"); return; }
      const td = element("td", { colspan: String(numbers.length) });
      for (const text of row[1] || []) td.append(element("div", { text }));
      if (row[2]) td.append(command(row[2]));
      made.after(element("tr", { class: "opened" }, td));
      button.textContent = "▾"; button.setAttribute("aria-expanded", "true");
    }
    function draw() {
      body.replaceChildren(...shown.slice(0, limit).map(line));
      rest.hidden = shown.length <= limit;
      if (!rest.hidden) {
        rest.replaceChildren(`${limit} / ${shown.length} `, element("button", { type: "button", text: say("show more"), onclick: () => { limit += PAGE; draw(); } }));
      }
      const count = controls.querySelector(".count");
      if (count) count.textContent = shown.length === rows.length ? `${rows.length}` : `${shown.length} / ${rows.length}`;
    }
    function choose() {
      const parts = wanted.toLowerCase().split(/\s+/).filter(Boolean);
      let found = rows.map((row, index) => index).filter((index) => (!group || rows[index][3] === group) && parts.every((part) => keys[index].includes(part)));
      if (sorted >= 0) {
        const value = (index) => { const cell = rows[index][0][sorted]; return typeof cell !== "string" && cell[1] !== null && cell[1] !== undefined ? cell[1] : textOf(cell); };
        const sign = falling ? -1 : 1;
        found.sort((a, b) => {
          const x = value(a), y = value(b);
          // What has no number comes last, whichever way it is sorted.
          if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
          return sign * (typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true }));
        });
      }
      shown = found.map((index) => rows[index]);
      limit = PAGE;
      draw();
    }
    heads.forEach((head, index) => {
      const button = element("button", { type: "button", onclick: () => {
        falling = sorted === index ? !falling : false;
        sorted = index;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        choose();
      } });
      button.append(...head.childNodes);
      head.append(button);
    });
    if (rows.length > 8) {
      controls.hidden = false;
      controls.append(element("input", { type: "search", placeholder: say("filter"), "aria-label": say("filter"), oninput: (event) => { wanted = event.target.value; choose(); } }));
      const groups = [...new Set(rows.map((row) => row[3]).filter(Boolean))];
      if (groups.length > 1 && groups.length <= 12) {
        for (const name of groups) {
          controls.append(element("button", { type: "button", class: "chip", "aria-pressed": "false", text: say(name), onclick: (event) => {
            group = group === name ? "" : name;
            controls.querySelectorAll(".chip").forEach((chip) => chip.setAttribute("aria-pressed", String(chip === event.currentTarget && group !== "")));
            choose();
          } }));
        }
      }
      controls.append(element("span", { class: "count" }));
    }
    if (box.hasAttribute("data-of-nodes")) {
      document.addEventListener("show-node", (event) => {
        const input = controls.querySelector("input");
        if (input) { input.value = event.detail; wanted = event.detail; choose(); }
        box.scrollIntoView({ block: "center" });
      });
    }
    choose();
  }

  /* ---- charts ---- */
  let ready = null;
  function load() {
    if (!window.Plotly) {
      window.PlotlyConfig = { MathJaxConfig: "local" };
      const script = document.createElement("script");
      script.textContent = document.getElementById("plotly").textContent;
      document.head.append(script);
    }
    return window.Plotly;
  }
  function plotly() {
    // Run when the first chart comes into view: the page itself is there long before.
    ready ??= new Promise((done) => setTimeout(() => done(load())));
    return ready;
  }
  function colours() {
    const style = getComputedStyle(root);
    const names = ["ink", "dim", "line", "grid", "card", "accent", "good", "warn", "bad", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    return Object.fromEntries(names.map((name) => ["$" + name, style.getPropertyValue("--" + name).trim()]));
  }
  /* The page's colours for their names; and of what plotly.js takes for tags only line breaks stay. */
  function themed(value, known) {
    if (typeof value === "string") return Object.hasOwn(known, value) ? known[value] : value.replace(/<(?!br>|extra><|\/extra>)/g, "‹");
    if (Array.isArray(value)) return value.map((one) => themed(one, known));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, key === "bdata" ? one : themed(one, known)]));
    return value;
  }
  function merged(usual, other) {
    const made = { ...usual };
    for (const [key, value] of Object.entries(other)) {
      made[key] = value && typeof value === "object" && !Array.isArray(value) && made[key] && typeof made[key] === "object" ? merged(made[key], value) : value;
    }
    return made;
  }
  /* A name beside an axis, which must leave room for what is drawn. */
  function short(place, name) {
    const room = Math.max(12, Math.min(60, Math.floor(place.clientWidth / 18)));
    return name.length > room ? `${name.slice(0, room - 1)}…` : name;
  }
  /* Draw into a place: what the page looks like now is the layout's beginning. */
  async function paint(place, data, asked) {
    const Plotly = await plotly();
    const known = colours();
    // Places are shares of the plot's height: below what is written at its axis, however low it is.
    const below = -75 / Math.max(100, (asked.height || place.clientHeight || 450) - 70);
    const axis = { gridcolor: known.$grid, zerolinecolor: known.$line, linecolor: known.$line, automargin: true, title: { standoff: 8 } };
    const usual = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { color: known.$ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
      margin: { l: 60, r: 20, t: 20, b: 50 }, hoverlabel: { namelength: -1 }, hovermode: "closest",
      colorway: [0, 1, 2, 3, 4, 5, 6, 7].map((n) => known["$s" + n]), legend: { orientation: "h", y: below, font: { size: 11 } },
      xaxis: axis, yaxis: axis,
    };
    for (const key of Object.keys(asked)) if (/^[xy]axis\d+$/.test(key)) usual[key] = axis;
    const lying = data.find((one) => one.orientation === "h" && Array.isArray(one.y));
    if (lying) {
      const names = [...new Set(lying.y)];
      usual.yaxis = { ...axis, tickvals: names, ticktext: names.map((name) => short(place, name)) };
    }
    // Words of plotly.js, and its dates; numbers are written alike in both languages.
    const format = { date: "%Y-%m-%d", time: "%H:%M:%S", year: "%Y", month: "%Y-%m", dayMonth: "%m-%d", dayMonthYear: "%Y-%m-%d" };
    const told = root.lang === "en" ? {} : { locale: root.lang, locales: { [root.lang]: { dictionary: words, format } } };
    const buttons = { ...told, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "sendChartToCloud"], toImageButtonOptions: { format: "svg" } };
    await Plotly.react(place, themed(data, known), themed(merged(usual, asked), known), { responsive: true, ...buttons });
  }
  /* What is drawn when it comes into view, and again when the theme changes. */
  const drawings = [];
  function watch(box, draw) {
    const one = { box, drawn: false, draw: () => { one.drawn = true; return draw(); } };
    drawings.push(one);
    return one;
  }
  function chart(box) {
    // Read when it is drawn: a big page is there before its figures.
    let read = null;
    const figures = () => (read ??= JSON.parse(box.querySelector("script").textContent));
    const place = box.querySelector(".plot");
    const select = box.querySelector("select");
    const caption = box.querySelector(".of");
    let index = 0;
    const { draw } = watch(box, async () => {
      await paint(place, figures()[index].data, figures()[index].layout);
      place.removeAllListeners("plotly_click");
      place.on("plotly_click", ({ points: [{ customdata: tag }] }) => {
        if (typeof tag === "string" && tag.startsWith("node:")) go(tag.slice(5));
      });
    });
    if (select) select.addEventListener("change", () => { index = Number(select.value); caption.textContent = figures()[index].caption; draw(); });
  }

  /* ---- theme ---- */
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => drawings.forEach((one) => one.drawn && one.draw());
  dark.addEventListener("change", redraw);
  document.querySelector("[data-theme-toggle]").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    redraw();
  });

  /* ---- printing: all that is folded or not yet drawn, as wide as paper, by day ---- */
  let folded = [], before = new Set();
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
    root.classList.add("printing");
    // Nobody waits for a page that is printed: what is drawn now must not be put off.
    if (drawings.length) ready = Promise.resolve(load());
    before = new Set(drawings.filter((one) => one.drawn));
    drawings.forEach((one) => one.draw());
  });
  addEventListener("afterprint", () => {
    folded.forEach((one) => { one.open = false; });
    root.classList.remove("printing");
    // What was not in view yet is drawn as wide as the window when it is.
    drawings.forEach((one) => { one.drawn = before.has(one); });
    redraw();
  });

  window.hengsuan = {
    element, say, command, paint, short, go, watch,
  };
  document.querySelectorAll("[data-table]").forEach(table);
  document.querySelectorAll("[data-chart]").forEach(chart);
  // Blocks with a script of their own begin here.
  document.dispatchEvent(new CustomEvent("page-ready"));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        // Once drawn it is left alone, but for one that was drawn for paper.
        const one = drawings.find(({ box }) => box === entry.target);
        if (!one.drawn) one.draw();
      }
    }
  }, { rootMargin: "300px" });
  drawings.forEach((one) => seen.observe(one.box));

  const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
  const current = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        links.forEach((a) => a.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  document.querySelectorAll("main > section").forEach((one) => current.observe(one));
})();

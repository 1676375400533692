"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  /** Makes an element; text is always text, never markup. */
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...children.filter((one) => one != null));
    return made;
  }

  // ---- clipboard, messages -----------------------------------------------------------------------

  let toastTimer;
  function toast(text) {
    const box = $("#toast");
    box.textContent = text;
    box.classList.add("on");
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => box.classList.remove("on"), 1800);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No permission, as in some browsers on file://: the old way needs none.
      const area = el("textarea", { readonly: true, style: "position:fixed;opacity:0" });
      area.value = text;
      (($("dialog[open]")) || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    toast("Copied");
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button.dataset.copy);
  });

  function fitDiagram() {
    const frame = $("iframe.diagram");
    if (!frame) return;
    const fit = () => {
      const inside = frame.contentDocument && frame.contentDocument.body;
      if (inside) frame.style.height = Math.min(600, Math.max(80, inside.offsetHeight + 28)) + "px";
    };
    frame.addEventListener("load", fit);
    fit();
  }

  // ---- the section in view -----------------------------------------------------------------------

  function followSections(ended) {
    const links = new Map($$(".toc a").map((link) => [link.getAttribute("href").slice(1), link]));
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        const link = links.get(entry.target.id);
        if (link) link.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    $$("main section").forEach((section) => seen.observe(section));
    ended.addEventListener("abort", () => seen.disconnect());
  }

  // ---- the content: started once, and again when a running search has new results ----------------

  /** What the reader chose; it outlives new results. */
  const kept = {};

  function start() {
    const ending = new AbortController(), until = { signal: ending.signal };
    fitDiagram();
    followSections(ending.signal);
    const source = $("#data");
    if (!source) return () => ending.abort();
    const D = JSON.parse(source.textContent);

    // ---- numbers and parameters --------------------------------------------------------------------

    function num(value, digits = 5) {
      if (value == null || Number.isNaN(value)) return "–";
      if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
      return String(Number(value.toPrecision(digits)));
    }
    function seconds(value) {
      if (value == null) return "–";
      if (value < 1) return num(value * 1000, 3) + " ms";
      if (value < 100) return num(value, 3) + " s";
      if (value < 6000) return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s";
      return num(value / 3600, 3) + " h";
    }
    const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
    const count = (n, noun) => n.toLocaleString("en") + " " + noun + (n === 1 ? "" : "s");

    const rows = Array.from({ length: D.n }, (_, row) => row);
    const metricLabel = Object.fromEntries(D.metrics.map((one) => [one.key, one.label]));
    const byName = new Map(D.params.map((column) => [column.name, column]));
    const varying = D.params.filter((column) => column.distinct > 1 || hasGaps(column));
    const failed = (row) => D.failed[row] || 0;
    const done = (row) => (D.done ? D.done[row] : D.splits);
    const familyOf = (row) => (D.family ? D.family[row] : 0);
    const derived = new Set(D.derived);
    const alike = new Set(D.alike);
    const idOf = (row) => (D.ids ? D.ids[row] : row);
    const rowsOf = (ids) => { const place = D.ids ? new Map(D.ids.map((id, row) => [id, row])) : null; return ids.map((id) => (place ? place.get(id) : id)).filter((row) => row !== undefined); };
    const keptPlace = D.kept ? new Map(D.kept.map((row, place) => [row, place])) : null;
    const lastRound = D.round && D.best != null ? D.round[D.best] : null;
    const firstRound = D.round ? D.round[0] : null;

    function hasGaps(column) {
      return column.index ? column.index.includes(-1) : column.values.includes(null);
    }
    /** Position of a candidate's value among the distinct ones, -1 without one. */
    const codeOf = (column, row) => (column.index ? column.index[row] : row);
    const has = (column, row) => (column.index ? column.index[row] >= 0 : column.values[row] != null);
    const valueOf = (column, row) => (has(column, row) ? column.values[codeOf(column, row)] : null);
    const label = (column, row) => {
      const value = valueOf(column, row);
      return value == null ? "" : column.kind === "n" ? num(value) : value;
    };
    function python(column, row) {
      const value = valueOf(column, row);
      if (column.kind === "c") return column.code ? column.code[codeOf(column, row)] : value;
      if (!column.intCodes) column.intCodes = new Set(column.ints);
      const whole = Number.isInteger(value) && Math.abs(value) < 1e16;
      return whole && !column.intCodes.has(codeOf(column, row)) ? value.toFixed(1) : String(value);
    }
    const quoted = (text) => "'" + text.replace(/\\/g, "\\\\").replace(/'/g, "\\'").replace(/\n/g, "\\n") + "'";
    function pythonDict(row) {
      const items = D.params.filter((column) => has(column, row)).map((column) => quoted(column.name) + ": " + python(column, row));
      const line = "{" + items.join(", ") + "}";
      return line.length <= 72 ? line : "{\n" + items.map((item) => "    " + item + ",\n").join("") + "}";
    }
    const described = (row) => varying.filter((column) => has(column, row)).map((column) => column.name + "=" + label(column, row)).join(", ");
    function splitScores(row, metric, table = D.scores) {
      const place = keptPlace ? keptPlace.get(row) : row;
      return place === undefined || !table[metric] ? null : table[metric][place];
    }
    /** Sort key of a distinct category: numbers among categories first. */
    function ordered(column) {
      const codes = column.values.map((_, code) => code);
      if (column.kind === "n" || !column.order) return codes;
      return codes.sort((a, b) => (column.order[a] ?? Infinity) - (column.order[b] ?? Infinity) || a - b);
    }
    function isLog(list) {
      const values = [...new Set(list.filter((one) => one != null))].sort((a, b) => a - b);
      if (values.length < 3 || values[0] <= 0 || values.at(-1) / values[0] < 20) return false;
      const spread = (list) => {
        const steps = list.slice(1).map((one, place) => one - list[place]);
        const mean = steps.reduce((a, b) => a + b, 0) / steps.length;
        return Math.sqrt(steps.reduce((a, b) => a + (b - mean) ** 2, 0) / steps.length) / mean;
      };
      return spread(values.map(Math.log10)) < spread(values);
    }
    /** Kind of axis for a parameter; `used` are the candidates that have a score. */
    function axisKind(column, family, used) {
      if (column.kind === "c") return "category";
      if ((D.axes[family] || {})[column.name] === "log") return "log";
      return isLog(used.map((row) => valueOf(column, row))) ? "log" : "linear";
    }
    function shuffled(list) {
      // The same sample each time: a linear congruential generator (Numerical Recipes).
      let state = 1;
      const mixed = [...list];
      for (let place = mixed.length - 1; place > 0; place--) {
        state = (state * 1664525 + 1013904223) >>> 0;
        const other = state % (place + 1);
        [mixed[place], mixed[other]] = [mixed[other], mixed[place]];
      }
      return mixed;
    }
    const jitter = (seed) => (((seed * 2654435761) >>> 0) / 4294967296 - 0.5);

    // ---- colours -----------------------------------------------------------------------------------

    // Okabe and Ito's palette for categories; cividis (Nuñez, Anderton and Renslow 2018) for scores.
    const OKABE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#999999"];
    const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
    const scale = CIVIDIS.map((color, place) => [place / (CIVIDIS.length - 1), color]);
    let theme = {};
    function readTheme(light) {
      const style = getComputedStyle(document.documentElement);
      const read = (name, printed) => (light ? printed : style.getPropertyValue(name).trim());
      theme = {
        ink: read("--ink", "#000"), soft: read("--soft", "#444"), grid: read("--grid", "#e8ebf0"), line: read("--line", "#ccc"),
        accent: read("--accent", "#0072b2"), bad: read("--bad", "#b04a00"), bg: read("--bg", "#fff"), mark: "#e69f00", faint: read("--faint", "#888"),
        dark: !light && matchMedia("(prefers-color-scheme: dark)").matches,
      };
    }
    function alpha(color, opacity) {
      const [r, g, b] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
      return `rgba(${r},${g},${b},${opacity})`;
    }
    function hex(color) {
      return color.length === 4 ? "#" + [...color.slice(1)].map((one) => one + one).join("") : color;
    }

    // ---- plots -------------------------------------------------------------------------------------

    const plots = []; // {figure, canvas, draw, table}
    const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };

    function layout(more = {}) {
      const axis = { gridcolor: theme.grid, zerolinecolor: theme.grid, linecolor: theme.line, tickcolor: theme.line, automargin: true, title: { font: { size: 12, color: theme.soft }, standoff: 8 } };
      const merged = {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: theme.soft },
        margin: { l: 50, r: 12, t: 8, b: 36 }, hovermode: "closest", dragmode: false,
        hoverlabel: { bgcolor: theme.bg, bordercolor: theme.line, font: { color: theme.ink, size: 12 }, align: "left" },
        ...more,
      };
      for (const name of ["xaxis", "yaxis"]) {
        const given = more[name] || {};
        merged[name] = { ...axis, ...given, title: { ...axis.title, ...(given.title || {}) } };
      }
      return merged;
    }
    const plain = (text) => String(text).replace(/[&<>]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[one]);
    /** Text for Plotly, which reads some markup in texts: escaped, so that it is shown as it is. */
    const hover = (row) => [
      ...(varying.length ? varying.filter((column) => has(column, row)).slice(0, 12).map((column) => plain(column.name) + ": " + plain(label(column, row))) : ["candidate " + idOf(row)]),
    ].join("<br>");

    function addPlot(figure, aria, draw, table) {
      const canvas = el("div", { class: "canvas", role: "img", "aria-label": aria });
      figure.append(canvas);
      const entry = { figure, canvas, draw, table };
      plots.push(entry);
      if (table) {
        const details = el("details", {}, el("summary", {}, "Data as a table"));
        details.addEventListener("toggle", () => {
          $(".scroll", details)?.remove();
          if (details.open) details.append(dataTable(figure, table()));
        });
        figure.append(details);
      }
      return entry;
    }
    function dataTable(figure, { head, body }) {
      const MOST = 500;
      const caption = ($("h3", figure)?.textContent || "Data") + (body.length > MOST ? `: the first ${MOST} of ${body.length.toLocaleString("en")} rows` : "");
      return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
        el("table", {}, el("caption", {}, caption),
          el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
          el("tbody", {}, ...body.slice(0, MOST).map((line) => el("tr", {}, ...line.map((cell, place) => el(place ? "td" : "th", place ? {} : { scope: "row" }, String(cell))))))));
    }
    function drawOne(entry) {
      const { data, layout: shape, height } = entry.draw();
      if (height) entry.canvas.style.height = height + "px";
      Plotly.react(entry.canvas, data, shape, CONFIG);
      if (!entry.figure.dataset.drawn) {
        entry.canvas.on("plotly_click", (event) => {
          const row = event.points[0].customdata;
          if (Number.isInteger(row)) showDetails(row);
        });
      }
      entry.figure.dataset.drawn = "true";
    }
    function drawAll() {
      for (const entry of plots) drawOne(entry);
      parallel.draw();
    }
    function drop(figure) {
      for (let place = plots.length - 1; place >= 0; place--) {
        if (plots[place].figure !== figure) continue;
        Plotly.purge(plots[place].canvas);
        plots.splice(place, 1);
      }
    }

    function select(text, options, chosen, change) {
      const box = el("select", { onchange: () => change(box.value) });
      for (const [value, name] of options) box.append(el("option", { value, selected: String(value) === String(chosen) }, name));
      return el("label", {}, text, box);
    }

    // ---- state -------------------------------------------------------------------------------------

    const bestFamily = D.best == null ? 0 : familyOf(D.best);
    const state = Object.assign(kept, { metric: D.metric, family: bestFamily, filter: "", sort: ["rank", 1], page: 0, round: "", ...kept, chosen: null, chosenName: "" });
    if (!D.families.some((one) => one.index === state.family)) state.family = bestFamily;

    const score = (row) => (D.mean[state.metric] || [])[row] ?? null;
    const inFamily = (row) => familyOf(row) === state.family;
    const inFirstRound = (row) => !D.round || D.round[row] === firstRound;

    // ---- effects -----------------------------------------------------------------------------------

    const MOST_POINTS = 2500;
    const POWERS = { dtick: 1, exponentformat: "power" };

    function effectRows(column) {
      return rows.filter((row) => inFamily(row) && inFirstRound(row) && has(column, row) && score(row) != null);
    }
    /** Means and best candidates per value, or per group of equal size if most values occur once. */
    function effectLines(column, used) {
      const groups = new Map();
      for (const row of used) {
        const key = column.index ? column.index[row] : column.values[row];
        if (!groups.has(key)) groups.set(key, []);
        groups.get(key).push(row);
      }
      let entries = [...groups.entries()];
      if (column.kind === "n") entries.sort((a, b) => (column.index ? a[0] - b[0] : a[0] - b[0]));
      else {
        const place = new Map(ordered(column).map((code, at) => [code, at]));
        entries.sort((a, b) => place.get(a[0]) - place.get(b[0]));
      }
      let list = entries.map(([, group]) => group);
      const grouped = column.kind === "n" && list.length > 30 && list.length > used.length / 3;
      if (grouped) {
        const sorted = list.flat(), size = Math.ceil(sorted.length / 12);
        list = [];
        for (let at = 0; at < sorted.length; at += size) list.push(sorted.slice(at, at + size));
      }
      const log = axisKind(column, state.family, used) === "log";
      return list.map((group) => {
        const scores = group.map(score);
        const values = column.kind === "n" ? group.map((row) => valueOf(column, row)) : null;
        const x = values ? (log ? 10 ** mean(values.map(Math.log10)) : mean(values)) : label(column, group[0]);
        return { x: grouped ? x : values ? values[0] : x, mean: mean(scores), best: Math.max(...scores), group, grouped };
      });
    }
    const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

    function effectPlot(column) {
      const figure = el("figure", { class: "plot", "data-plot": "effect" }, el("figcaption", {}, el("h3", {}, column.name)));
      addPlot(figure, `Mean ${metricLabel[state.metric]} for each value of ${column.name}`, () => {
        const used = effectRows(column), lines = effectLines(column, used), kind = axisKind(column, state.family, used);
        if (kind === "category" || column.kind === "c") return categoryEffect(column, lines);
        const points = { x: [], y: [], row: [] };
        for (const row of shuffled(used)) {
          for (const one of splitScores(row, state.metric) || [score(row)]) {
            if (one == null) continue;
            points.x.push(valueOf(column, row));
            points.y.push(one);
            points.row.push(row);
          }
          if (points.x.length > MOST_POINTS) break;
        }
        const width = points.x.length > 600 ? 0.18 : 0.38;
        return {
          data: [
            { type: "scatter", mode: "markers", x: points.x, y: points.y, customdata: points.row, text: points.row.map(hover), hovertemplate: "%{y:.5g}<br>%{text}<extra></extra>", marker: { size: 5, color: alpha(hex(theme.faint), width) }, cliponaxis: false },
            { type: "scatter", mode: "lines+markers", x: lines.map((one) => one.x), y: lines.map((one) => one.mean), hovertemplate: "%{x}: mean %{y:.5g}<extra></extra>", line: { color: theme.accent, width: 2 }, marker: { size: 6, color: theme.accent } },
            { type: "scatter", mode: "markers", x: lines.map((one) => one.x), y: lines.map((one) => one.best), hovertemplate: "best candidate %{y:.5g}<extra></extra>", marker: { symbol: "line-ew-open", size: 13, line: { width: 2 }, color: theme.mark } },
          ],
          layout: layout({ xaxis: { type: kind === "log" ? "log" : "linear", ...(kind === "log" ? POWERS : {}), ...ticks(kind, lines) }, yaxis: { title: { text: plain(metricLabel[state.metric]) } } }),
        };
      }, () => ({
        head: [column.name, "mean " + metricLabel[state.metric], "best candidate", "candidates"],
        body: effectLines(column, effectRows(column)).map((one) => [(one.grouped ? "about " : "") + (column.kind === "n" ? num(one.x) : one.x), num(one.mean), num(one.best), one.group.length]),
      }));
      return figure;
    }
    /** Ticks at the values themselves where there are few. */
    function ticks(kind, lines) {
      if (lines.length > 8 || lines.some((one) => one.grouped)) return {};
      const texts = lines.map((one) => num(one.x, 4));
      if (kind !== "log") {
        const span = lines.at(-1).x - lines[0].x;
        if (lines.some((one, place) => place && one.x - lines[place - 1].x < span / 14)) return {};
      }
      return { tickmode: "array", tickvals: lines.map((one) => one.x), ticktext: texts };
    }
    function categoryEffect(column, lines) {
      const shown = lines.slice(0, 40);
      const names = shown.map((one) => plain(cut(one.x, 24)));
      const boxes = shown.map((one, place) => {
        const values = [], at = [];
        for (const row of shuffled(one.group).slice(0, 400)) {
          for (const value of splitScores(row, state.metric) || [score(row)]) if (value != null) (values.push(value), at.push(row));
        }
        return { type: "box", y: values, x0: place, name: names[place], customdata: at, boxpoints: values.length < 200 ? "all" : false, pointpos: 0, jitter: 0.5, marker: { size: 4, color: alpha(hex(theme.faint), 0.45) }, line: { color: theme.accent, width: 1.5 }, fillcolor: alpha(hex(theme.accent), 0.12), hoverinfo: "y", width: 0.5 };
      });
      boxes.push({ type: "scatter", mode: "markers", x: shown.map((_, place) => place), y: shown.map((one) => one.best), hovertemplate: "best candidate %{y:.5g}<extra></extra>", marker: { symbol: "line-ew-open", size: 13, line: { width: 2 }, color: theme.mark } });
      return {
        data: boxes,
        layout: layout({ xaxis: { type: "linear", tickmode: "array", tickvals: names.map((_, place) => place), ticktext: names, range: [-0.6, names.length - 0.4], zeroline: false, showgrid: false }, yaxis: { title: { text: plain(metricLabel[state.metric]) } } }),
      };
    }

    const familyName = (index) => {
      const one = D.families.find((family) => family.index === index);
      return (one && one.label) || "all candidates";
    };

    function buildEffects() {
      const box = $("#effect-plots");
      if (!box) return;
      for (const figure of $$("figure", box)) drop(figure);
      box.replaceChildren();
      const used = rows.filter((row) => inFamily(row) && inFirstRound(row));
      const columns = varying.filter((column) => new Set(used.filter((row) => has(column, row)).map((row) => label(column, row))).size > 1);
      const shown = state.allEffects ? columns : columns.slice(0, 12);
      for (const column of shown) box.append(effectPlot(column));
      if (!columns.length) box.append(el("p", { class: "small" }, "No parameter varies in this family."));
      if (shown.length < columns.length) box.append(el("p", {}, el("button", { type: "button", onclick: () => { state.allEffects = true; buildEffects(); drawAll(); } }, `Show all ${columns.length} parameters`)));
      state.effectColumns = columns;
    }

    function buildControls() {
      const box = $("#effect-controls");
      box.replaceChildren();
      if (D.metrics.length > 1) box.append(select("Metric", D.metrics.map((one) => [one.key, one.label]), state.metric, (value) => { state.metric = value; state.sort = ["rank", 1]; rebuild(); }));
      if (D.families.length > 1) box.append(select("Family", D.families.map((one) => [one.index, one.label || "all"]), state.family, (value) => { state.family = Number(value); rebuild(); }));
    }
    function rebuild() {
      buildControls();
      buildEffects();
      buildHeatControls();
      parallel.build();
      table.refresh();
      drawAll();
    }

    function familiesPlot(figure) {
      addPlot(figure, "Mean scores of the candidates of each family", () => {
        const names = D.families.map((one) => plain(cut(one.label || "all", 32)));
        const data = D.families.map((one, place) => {
          const used = rows.filter((row) => familyOf(row) === one.index && score(row) != null && inFirstRound(row));
          return { type: "box", orientation: "h", x: used.map(score), y0: place, name: names[place], customdata: used, text: used.map(hover), boxpoints: used.length < 400 ? "all" : false, pointpos: 0, jitter: 0.6, width: 0.5, marker: { size: 5, color: alpha(OKABE[place % 8], 0.6) }, line: { color: OKABE[place % 8], width: 1.5 }, fillcolor: alpha(OKABE[place % 8], 0.12), hovertemplate: "%{x:.5g}<br>%{text}<extra></extra>" };
        });
        return { data, height: 70 + 54 * names.length, layout: layout({ xaxis: { title: { text: plain("mean " + metricLabel[state.metric]) } }, yaxis: { tickmode: "array", tickvals: names.map((_, place) => place), ticktext: names, autorange: "reversed", showgrid: false, zeroline: false } }) };
      }, () => ({
        head: ["family", "candidates", "best mean", "parameters of the best"],
        body: D.families.map((one) => {
          const used = rows.filter((row) => familyOf(row) === one.index);
          return [one.label || "all", used.length, one.best == null ? "–" : num(score(one.best)), one.best == null ? "" : described(one.best)];
        }),
      }));
    }

    const importanceNow = () => D.importance.find((one) => one.family === state.family) || { main: [], pairs: [] };
    function importancePlot(figure) {
      const bars = () => [...importanceNow().main.map(([name, part]) => [name, part, false]), ...importanceNow().pairs.filter((one) => one[2] >= 0.005).slice(0, 5).map(([a, b, part]) => [a + " × " + b, part, true])].slice(0, 20);
      addPlot(figure, "Part of the variance that each parameter explains", () => {
        const list = bars();
        $("figcaption p", figure).textContent = importanceNow().note || "There is no result for this family.";
        return {
          height: 64 + 30 * Math.max(1, list.length),
          data: [{ type: "bar", orientation: "h", x: list.map((one) => one[1]), y: list.map((_, place) => place), marker: { color: list.map((one) => (one[2] ? alpha(hex(theme.accent), 0.45) : theme.accent)) }, width: 0.62, text: list.map((one) => (one[1] * 100).toFixed(one[1] < 0.1 ? 1 : 0) + " %"), textposition: "outside", cliponaxis: false, hoverinfo: "none" }],
          layout: layout({ margin: { l: 60, r: 48, t: 4, b: 36 }, xaxis: { tickformat: ".0%", range: [0, Math.max(0.1, ...list.map((one) => one[1])) * 1.05], title: { text: "part of the variance of the scores" } }, yaxis: { tickmode: "array", tickvals: list.map((_, place) => place), ticktext: list.map((one) => plain(cut(one[0], 40))), autorange: "reversed", showgrid: false, zeroline: false } }),
        };
      }, () => ({ head: ["parameter", "part of the variance"], body: bars().map((one) => [one[0], (one[1] * 100).toFixed(2) + " %"]) }));
    }

    // ---- heat map ----------------------------------------------------------------------------------

    function buildHeatControls() {
      const box = $("#heat-controls");
      if (!box) return;
      const columns = state.effectColumns, names = columns.map((one) => one.name);
      box.closest("figure").hidden = names.length < 2;
      const important = importanceNow().main.map((one) => one[0]).filter((name) => names.includes(name));
      const order = [...new Set([...important, ...names])];
      if (!names.includes(state.heatX)) state.heatX = order[0];
      if (!names.includes(state.heatY) || state.heatY === state.heatX) state.heatY = order.find((name) => name !== state.heatX);
      const redraw = () => { buildHeatControls(); plots.filter((one) => one.figure.dataset.plot === "heat").forEach(drawOne); };
      box.replaceChildren(
        select("Across", names.map((name) => [name, name]), state.heatX, (value) => { if (value === state.heatY) state.heatY = state.heatX; state.heatX = value; redraw(); }),
        select("Down", names.map((name) => [name, name]), state.heatY, (value) => { if (value === state.heatX) state.heatX = state.heatY; state.heatY = value; redraw(); }));
    }
    const MOST_CELLS_ACROSS = 30;
    function heatCells() {
      const x = byName.get(state.heatX), y = byName.get(state.heatY);
      if (!x || !y) return null;
      const used = rows.filter((row) => inFamily(row) && inFirstRound(row) && has(x, row) && has(y, row) && score(row) != null);
      const side = (column) => {
        if (!column.index) return null;
        const there = new Set(used.map((row) => column.index[row]));
        const codes = ordered(column).filter((code) => there.has(code));
        return codes.length > MOST_CELLS_ACROSS ? null : codes;
      };
      const xs = side(x), ys = side(y);
      if (!xs || !ys) return { x, y, used, scatter: true };
      const px = new Map(xs.map((code, at) => [code, at])), py = new Map(ys.map((code, at) => [code, at]));
      const z = ys.map(() => xs.map(() => null)), best = ys.map(() => xs.map(() => null));
      for (const row of used) {
        const i = py.get(y.index[row]), j = px.get(x.index[row]);
        if (z[i][j] == null || score(row) > z[i][j]) { z[i][j] = score(row); best[i][j] = row; }
      }
      const text = (column, codes) => codes.map((code) => (column.kind === "n" ? num(column.values[code], 4) : column.values[code]));
      return { x, y, z, best, xs: text(x, xs), ys: text(y, ys), used };
    }
    function heatPlot(figure) {
      addPlot(figure, "Best mean score for each pair of values", () => {
        const cells = heatCells();
        const bar = { thickness: 10, outlinewidth: 0, tickfont: { color: theme.soft }, len: 1 };
        if (!cells) return { data: [], layout: layout() };
        $("figcaption p", figure).textContent = cells.scatter ? `Each mark is a candidate; the color is its mean ${metricLabel[state.metric]}.` : `The best mean ${metricLabel[state.metric]} for each pair of values, over all other parameters.`;
        const titles = { xaxis: { title: { text: plain(cells.x.name) } }, yaxis: { title: { text: plain(cells.y.name) } } };
        if (cells.scatter) {
          const used = shuffled(cells.used).slice(0, 4000).sort((a, b) => score(a) - score(b));
          const place = (column, row) => (column.kind === "n" ? valueOf(column, row) : plain(label(column, row)));
          for (const [axis, column] of [["xaxis", cells.x], ["yaxis", cells.y]]) titles[axis].type = column.kind === "n" ? (axisKind(column, state.family, cells.used) === "log" ? "log" : "linear") : "category";
          for (const axis of ["xaxis", "yaxis"]) if (titles[axis].type === "log") Object.assign(titles[axis], POWERS);
          return { height: 380, data: [{ type: "scatter", mode: "markers", x: used.map((row) => place(cells.x, row)), y: used.map((row) => place(cells.y, row)), customdata: used, text: used.map(hover), hovertemplate: "%{marker.color:.5g}<br>%{text}<extra></extra>", marker: { size: 7, color: used.map(score), colorscale: scale, colorbar: bar, cmin: low(used.map(score)), line: { width: 0.5, color: theme.bg } } }], layout: layout(titles) };
        }
        const flat = cells.z.flat().filter((one) => one != null);
        const few = cells.xs.length * cells.ys.length <= 120 && cells.xs.length <= 12 && figure.clientWidth > 30 + 62 * cells.xs.length;
        const middle = (low(flat) + Math.max(...flat)) / 2;
        const notes = few ? cells.z.flatMap((line, i) => line.map((value, j) => (value == null ? null : { x: j, y: i, text: num(value, 3), showarrow: false, font: { size: 11, color: value > middle ? "#111" : "#fff" } }))).filter(Boolean) : [];
        const axis = (names) => ({ tickmode: "array", tickvals: names.map((_, at) => at), ticktext: names.map((one) => plain(cut(one, 20))), showgrid: false, zeroline: false });
        return {
          height: Math.max(220, 90 + 34 * cells.ys.length),
          data: [{ type: "heatmap", z: cells.z, x: cells.xs.map((_, at) => at), y: cells.ys.map((_, at) => at), customdata: cells.best, text: cells.best.map((line) => line.map((row) => (row == null ? "" : hover(row)))), hovertemplate: "%{z:.5g}<br>%{text}<extra></extra>", hoverongaps: false, colorscale: scale, zmin: low(flat), zmax: Math.max(...flat), xgap: 2, ygap: 2, colorbar: bar }],
          layout: layout({ xaxis: { ...titles.xaxis, ...axis(cells.xs) }, yaxis: { ...titles.yaxis, ...axis(cells.ys) }, annotations: notes }),
        };
      }, () => {
        const cells = heatCells();
        if (!cells || cells.scatter) return { head: ["candidate", "mean"], body: (cells ? cells.used : []).map((row) => [described(row), num(score(row))]) };
        return { head: [cells.y.name + " \\ " + cells.x.name, ...cells.xs], body: cells.ys.map((name, i) => [name, ...cells.z[i].map((one) => num(one))]) };
      });
    }
    /** Lower end of a colour scale: far outliers below would hide the differences at the top. */
    function low(scores) {
      const sorted = [...scores].sort((a, b) => a - b), at = (part) => sorted[Math.floor(part * (sorted.length - 1))];
      return Math.max(sorted[0], at(0.25) - 2.5 * (at(1) - at(0.25)));
    }

    // ---- parallel coordinates ----------------------------------------------------------------------

    const parallel = (() => {
      const box = $("#parallel");
      let axes = [], used = [], canvas, brushes = new Map();
      const TOP = 34, BOTTOM = 22, LEFT = 60, RIGHT = 60, HEIGHT = 360;

      function build() {
        if (!box) return;
        brushes = new Map();
        const columns = (state.effectColumns || varying).slice(0, 14);
        used = rows.filter((row) => inFamily(row) && inFirstRound(row) && score(row) != null);
        axes = columns.map((column) => axisOf(column));
        const scores = used.map(score);
        axes.push({ name: "mean " + metricLabel[state.metric], place: fractions(scores, false), texts: ends(scores), show: num, number: scores });
        box.replaceChildren();
        canvas = el("canvas", { role: "img", "aria-label": `Parallel coordinates of ${count(used.length, "candidate")}` });
        box.append(canvas);
        axes.forEach((axis, place) => box.append(handle(axis, place)));
        draw();
        choose();
      }
      const ends = (values) => { const known = values.filter((one) => one != null); return known.length ? [num(Math.min(...known.slice(0, 1e5)), 3), num(Math.max(...known.slice(0, 1e5)), 3)] : ["", ""]; };
      function fractions(values, log) {
        const f = log ? Math.log10 : (one) => one;
        const known = values.filter((one) => one != null).map(f);
        let least = Infinity, most = -Infinity;
        for (const one of known) { least = Math.min(least, one); most = Math.max(most, one); }
        return values.map((one) => (one == null ? NaN : most === least ? 0.5 : (f(one) - least) / (most - least)));
      }
      function axisOf(column) {
        if (column.kind === "n") {
          const values = used.map((row) => valueOf(column, row));
          return { name: column.name, place: fractions(values, axisKind(column, state.family, used) === "log"), texts: ends(values), number: values, show: num };
        }
        const there = new Set(used.map((row) => column.index[row]));
        const codes = ordered(column).filter((code) => there.has(code));
        const at = new Map(codes.map((code, place) => [code, codes.length > 1 ? place / (codes.length - 1) : 0.5]));
        const names = codes.length <= 12 ? codes.map((code) => [at.get(code), column.values[code]]) : [];
        return { name: column.name, place: used.map((row) => at.get(column.index[row]) ?? NaN), names, texts: names.length ? ["", ""] : [column.values[codes[0]], column.values[codes.at(-1)]], codes, values: column.values };
      }
      const width = () => Math.max(box.clientWidth, LEFT + RIGHT + 76 * (axes.length - 1));
      const xOf = (place) => (axes.length < 2 ? width() / 2 : LEFT + (place * (width() - LEFT - RIGHT)) / (axes.length - 1));
      const yOf = (fraction) => HEIGHT - BOTTOM - fraction * (HEIGHT - TOP - BOTTOM);
      const fractionAt = (y) => Math.min(1, Math.max(0, (HEIGHT - BOTTOM - y) / (HEIGHT - TOP - BOTTOM)));

      function handle(axis, place) {
        const node = el("div", { class: "axis", tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0, "aria-describedby": "parallel-help", "data-axis": place, title: axis.name }, el("span", { class: "name" }, axis.name));
        axis.node = node;
        let start = null;
        const at = (event) => fractionAt(event.clientY - box.getBoundingClientRect().top);
        node.addEventListener("pointerdown", (event) => { start = at(event); node.setPointerCapture(event.pointerId); brushes.delete(place); node.focus({ preventScroll: true }); event.preventDefault(); });
        node.addEventListener("pointermove", (event) => {
          if (start === null) return;
          const now = at(event);
          if (Math.abs(now - start) > 0.01) { brushes.set(place, [Math.min(start, now), Math.max(start, now)]); schedule(); }
        });
        const end = () => { if (start !== null) { start = null; schedule(); choose(); } };
        node.addEventListener("pointerup", end);
        node.addEventListener("pointercancel", end);
        node.addEventListener("keydown", (event) => {
          const step = event.key === "ArrowUp" ? 0.05 : event.key === "ArrowDown" ? -0.05 : 0;
          if (event.key === "Escape" || event.key === "Delete") brushes.delete(place);
          else if (step) {
            const [from, to] = brushes.get(place) || [0.75, 1];
            const fresh = !brushes.has(place);
            if (!fresh && event.shiftKey) brushes.set(place, [Math.max(0, Math.min(from - step, to - 0.02)), to]);
            else if (!fresh) { const move = Math.max(-from, Math.min(1 - to, step)); brushes.set(place, [from + move, to + move]); }
            else brushes.set(place, [from, to]);
          } else return;
          event.preventDefault();
          schedule();
          choose();
        });
        return node;
      }
      let waiting = false;
      function schedule() {
        if (waiting) return;
        waiting = true;
        requestAnimationFrame(() => { waiting = false; draw(); });
      }
      const inside = (at) => { for (const [place, [from, to]] of brushes) { const one = axes[place].place[at]; if (!(one >= from - 1e-9 && one <= to + 1e-9)) return false; } return true; };
      function range(axis, [from, to]) {
        const all = axis.number ? axis.number.filter((_, at) => axis.place[at] >= from && axis.place[at] <= to) : null;
        if (all) return all.length ? num(Math.min(...all.slice(0, 1e5)), 4) + " to " + num(Math.max(...all.slice(0, 1e5)), 4) : "nothing";
        const names = axis.codes.filter((_, at) => { const one = axis.codes.length > 1 ? at / (axis.codes.length - 1) : 0.5; return one >= from && one <= to; }).map((code) => axis.values[code]);
        return names.slice(0, 4).join(", ") || "nothing";
      }
      function choose() {
        for (const [place, axis] of axes.entries()) {
          const brush = brushes.get(place);
          axis.node.setAttribute("aria-label", axis.name);
          axis.node.setAttribute("aria-valuetext", brush ? range(axis, brush) : "no range chosen");
          axis.node.setAttribute("aria-valuenow", brush ? Math.round(50 * (brush[0] + brush[1])) : 0);
        }
        const status = $("#parallel-status");
        if (!brushes.size) { status.textContent = ""; if (state.chosenBy === "parallel") restrict(null); return; }
        const chosen = used.filter((_, at) => inside(at));
        const text = [...brushes].map(([place, brush]) => axes[place].name + ": " + range(axes[place], brush)).join("; ");
        status.textContent = `${count(chosen.length, "candidate")} of ${used.length.toLocaleString("en")}: ${text}`;
        restrict(chosen, text, "parallel");
      }
      function draw() {
        if (!box || !canvas) return;
        const ratio = Math.min(2, window.devicePixelRatio || 1), w = width();
        canvas.width = w * ratio; canvas.height = HEIGHT * ratio;
        canvas.style.width = w + "px"; canvas.style.height = HEIGHT + "px";
        const g = canvas.getContext("2d");
        g.scale(ratio, ratio);
        const shade = axes.at(-1).place, scores = axes.at(-1).number;
        const base = low(scores), top = Math.max(...scores.slice(0, 1e5));
        const tone = (at) => Math.max(0, Math.min(19, Math.floor((20 * (scores[at] - base)) / (top - base || 1))));
        const lists = Array.from({ length: 20 }, () => []), out = [];
        for (let at = 0; at < used.length; at++) (inside(at) ? lists[tone(at)] : out).push(at);
        const path = (list) => {
          g.beginPath();
          for (const at of list) {
            let pen = false;
            for (let place = 0; place < axes.length; place++) {
              const fraction = axes[place].place[at];
              if (!(fraction >= 0)) { pen = false; continue; }
              const spread = axes[place].names ? jitter(used[at] + 1) * 8 : 0;
              if (pen) g.lineTo(xOf(place), yOf(fraction) + spread); else g.moveTo(xOf(place), yOf(fraction) + spread);
              pen = true;
            }
          }
          g.stroke();
        };
        const many = used.length;
        g.lineWidth = many > 2000 ? 0.6 : 1;
        if (out.length) { g.strokeStyle = alpha(hex(theme.faint), many > 2000 ? 0.05 : 0.18); path(out); }
        const opacity = many > 5000 ? 0.12 : many > 500 ? 0.4 : 0.85;
        lists.forEach((list, at) => { g.strokeStyle = alpha(color(at / 19), at >= 18 ? Math.min(1, opacity * 3) : opacity); g.lineWidth = at >= 18 ? 1.4 : many > 2000 ? 0.6 : 1; if (list.length) path(list); });
        g.font = "11px " + getComputedStyle(document.body).fontFamily;
        for (const [place, axis] of axes.entries()) {
          const x = xOf(place);
          axis.node.style.left = x + "px";
          axis.node.style.height = HEIGHT + "px";
          g.strokeStyle = theme.soft; g.lineWidth = 1;
          g.beginPath(); g.moveTo(x, yOf(0)); g.lineTo(x, yOf(1)); g.stroke();
          const brush = brushes.get(place);
          if (brush) { g.fillStyle = alpha(hex(theme.mark), 0.35); g.strokeStyle = theme.mark; g.fillRect(x - 7, yOf(brush[1]), 14, yOf(brush[0]) - yOf(brush[1])); g.strokeRect(x - 7, yOf(brush[1]), 14, yOf(brush[0]) - yOf(brush[1])); }
          const write = (text, y) => {
            const short = cut(text, 16);
            g.lineWidth = 3; g.strokeStyle = theme.bg; g.fillStyle = theme.ink;
            g.strokeText(short, x, y); g.fillText(short, x, y);
          };
          g.textAlign = "center";
          write(axis.texts[1], yOf(1) - 6);
          write(axis.texts[0], yOf(0) + 15);
          for (const [fraction, text] of axis.names || []) write(text, yOf(fraction) + 4);
        }
        $("#parallel-legend").replaceChildren(num(base, 4), el("i", { style: `background:linear-gradient(90deg,${Array.from({ length: 10 }, (_, at) => color(at / 9)).join(",")})` }), num(top, 4));
        void shade;
        box.closest("figure").dataset.drawn = "true";
      }
      /** Cividis; lightened at its dark end on a dark page. */
      function color(fraction) {
        const from = theme.dark ? 0.3 : 0, to = theme.dark ? 1 : 0.9;
        const at = (from + fraction * (to - from)) * (CIVIDIS.length - 1), low = Math.floor(at), high = Math.min(CIVIDIS.length - 1, low + 1), part = at - low;
        const mix = [1, 3, 5].map((p) => Math.round(parseInt(CIVIDIS[low].slice(p, p + 2), 16) * (1 - part) + parseInt(CIVIDIS[high].slice(p, p + 2), 16) * part));
        return "#" + mix.map((one) => one.toString(16).padStart(2, "0")).join("");
      }
      return { build, draw, clear: () => { brushes = new Map(); draw(); $("#parallel-status").textContent = ""; choose(); } };
    })();

    // ---- splits, cost, slots -----------------------------------------------------------------------

    function topRows() {
      const there = rows.filter((row) => (lastRound === null || D.round[row] === lastRound) && score(row) != null);
      const rank = D.rank[state.metric];
      return there.sort((a, b) => (b === D.best) - (a === D.best) || rank[a] - rank[b] || a - b).slice(0, 10);
    }
    function splitsPlot(figure) {
      const values = () => topRows().map((row) => [row, splitScores(row, state.metric) || []]);
      addPlot(figure, "Scores of the best candidates on each split", () => {
        const data = Array.from({ length: D.splits }, (_, split) => {
          const some = values().filter(([, list]) => list[split] != null);
          return { type: "box", y: some.map(([, list]) => list[split]), x0: split, customdata: some.map(([row]) => row), text: some.map(([row]) => hover(row)), boxpoints: "all", pointpos: 0, jitter: 0.6, width: 0.5, name: "split " + split, marker: { size: 5, color: alpha(hex(theme.faint), 0.7) }, line: { color: theme.accent, width: 1.5 }, fillcolor: alpha(hex(theme.accent), 0.12), hovertemplate: "%{y:.5g}<br>%{text}<extra></extra>" };
        });
        const best = values().find(([row]) => row === D.best);
        if (best) data.push({ type: "scatter", mode: "markers", x: best[1].map((_, split) => split), y: best[1], customdata: best[1].map(() => D.best), hovertemplate: "the best: %{y:.5g}<extra></extra>", marker: { symbol: "diamond", size: 9, color: theme.mark, line: { width: 1, color: theme.bg } } });
        return { data, layout: layout({ xaxis: { title: { text: "split (the diamond is the best candidate)" }, type: "linear", tickmode: "array", tickvals: data.slice(0, D.splits).map((_, split) => split).filter((split) => D.splits <= 25 || split % 5 === 0), showgrid: false, zeroline: false, range: [-0.6, D.splits - 0.4] }, yaxis: { title: { text: plain(metricLabel[state.metric]) } } }) };
      }, () => ({ head: ["candidate", ...Array.from({ length: D.splits }, (_, split) => "split " + split)], body: values().map(([row, list]) => [described(row) || "candidate " + idOf(row), ...list.map((one) => num(one))]) }));
    }

    function costRows() {
      return (D.costRows || rows).filter((row) => D.fit[row] != null && score(row) != null && D.fit[row] > 0 && (lastRound === null || D.round[row] === lastRound));
    }
    /** Ticks of a logarithmic axis of seconds: 1, 2 and 5 of each power of ten, or the powers alone. */
    function durations(times) {
      let least = Infinity, most = 0;
      for (const one of times) { least = Math.min(least, one); most = Math.max(most, one); }
      const steps = most / least > 300 ? [1] : [1, 2, 5], tickvals = [];
      for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) for (const step of steps) tickvals.push(step * 10 ** power);
      return { tickmode: "array", tickvals, ticktext: tickvals.map(seconds) };
    }
    /** Candidates that no other beats in score and time, fastest first. */
    function front(list) {
      let best = -Infinity;
      return [...list].sort((a, b) => D.fit[a] - D.fit[b] || score(b) - score(a)).filter((row) => score(row) > best && ((best = score(row)), true));
    }
    function costPlot(figure) {
      addPlot(figure, "Mean score against mean fit time", () => {
        const all = costRows(), line = front(all), shown = all.length > 4000 ? [...new Set([...line, ...topRows(), ...shuffled(all).slice(0, 4000)])] : all;
        const families = D.families.length > 1;
        const tone = (row) => (families ? OKABE[familyOf(row) % 8] : hex(theme.accent));
        const data = [
          { type: "scatter", mode: "lines", x: line.map((row) => D.fit[row]), y: line.map(score), line: { shape: "hv", color: theme.mark, width: 2 }, hoverinfo: "skip" },
          { type: "scatter", mode: "markers", x: shown.map((row) => D.fit[row]), y: shown.map(score), customdata: shown, text: shown.map((row) => seconds(D.fit[row]) + (derived.has(row) ? " (derived)" : "") + "<br>" + hover(row)), hovertemplate: "%{y:.5g}<br>%{text}<extra></extra>", cliponaxis: false, marker: { size: 7, symbol: shown.map((row) => (derived.has(row) ? "circle-open" : "circle")), color: shown.map((row) => (derived.has(row) ? tone(row) : alpha(tone(row), shown.length > 1000 ? 0.35 : 0.6))) } },
          { type: "scatter", mode: "markers", x: line.map((row) => D.fit[row]), y: line.map(score), customdata: line, text: line.map((row) => seconds(D.fit[row]) + (derived.has(row) ? " (derived)" : "") + "<br>" + hover(row)), hovertemplate: "%{y:.5g}<br>%{text}<extra></extra>", cliponaxis: false, marker: { size: 9, color: theme.mark, line: { width: 1, color: theme.bg } } },
        ];
        const times = all.map((row) => D.fit[row]);
        const wide = times.length && Math.max(...times.slice(0, 1e5)) / Math.min(...times.slice(0, 1e5)) > 12;
        return { height: 360, data, layout: layout({ xaxis: { type: wide ? "log" : "linear", title: { text: "mean fit time" + (wide ? "" : ", seconds") }, ...(wide ? durations(times) : {}) }, yaxis: { title: { text: plain("mean " + metricLabel[state.metric]) } } }) };
      }, () => ({ head: ["candidate", "mean fit time", "mean score", "on the front"], body: (() => { const all = costRows(), line = new Set(front(all)); return all.sort((a, b) => D.fit[a] - D.fit[b]).map((row) => [described(row) || "candidate " + idOf(row), seconds(D.fit[row]) + (derived.has(row) ? " (derived)" : ""), num(score(row)), line.has(row) ? "yes" : ""]); })() }));
    }

    function slotsPlot(figure) {
      addPlot(figure, "Time in which each slot was fitting", () => {
        const names = D.slots.map((one) => plain(one.label));
        const bars = { base: [], x: [], y: [], color: [], text: [] };
        const span = Math.max(...D.slots.flatMap((line) => line.stretches.map(([begin, length]) => begin + length)));
        const unit = span > 7200 ? [3600, "hours"] : span > 180 ? [60, "minutes"] : [1, "seconds"];
        D.slots.forEach((line, place) => {
          for (const [begin, length, fits, bad] of line.stretches) {
            bars.base.push(begin / unit[0]); bars.x.push(Math.max(length, span / 5000) / unit[0]); bars.y.push(place);
            bars.color.push(bad ? "#d55e00" : theme.dark ? "#4f9fd0" : "#4a90c2");
            bars.text.push(`${count(fits, "fit")}${bad ? ", " + bad + " failed" : ""}, ${seconds(length)}`);
          }
        });
        const shapes = [], notes = [];
        for (const event of D.events) {
          if (event.what === "starting" || event.at > span * 1.2) continue;
          const lost = event.what.startsWith("lost");
          if (D.events.length > 60 && !lost) continue;
          shapes.push({ type: "line", x0: event.at / unit[0], x1: event.at / unit[0], yref: "paper", y0: 0, y1: 1, line: { color: lost ? theme.bad : theme.faint, width: 1, dash: "dot" } });
          if (D.events.length <= 8 || lost) notes.push({ x: event.at / unit[0], yref: "paper", y: 1, yanchor: "bottom", xanchor: event.at > span * 0.8 ? "right" : "left", text: plain(event.node + ": " + (lost ? "lost" : event.what === "working" ? "ready" : event.what)), showarrow: false, font: { size: 11, color: lost ? theme.bad : theme.soft }, yshift: 2 + 13 * (notes.length % 3) });
        }
        const tall = names.length > 60 ? 7 : names.length > 24 ? 13 : 24;
        return {
          height: 100 + tall * names.length,
          data: [{ type: "bar", orientation: "h", base: bars.base, x: bars.x, y: bars.y, marker: { color: bars.color, line: { width: 0 } }, text: bars.text, textposition: "none", hovertemplate: "%{text}<extra></extra>", width: 0.72 }],
          layout: layout({ margin: { l: 50, r: 12, t: notes.length ? 46 : 8, b: 36 }, xaxis: { title: { text: unit[1] + " since the start of the run" }, zeroline: false }, yaxis: { tickmode: "array", tickvals: names.map((_, place) => place).filter((place) => tall > 7 || place % 4 === 0), ticktext: names.filter((_, place) => tall > 7 || place % 4 === 0), autorange: "reversed", showgrid: false, zeroline: false }, shapes, annotations: notes }),
        };
      }, () => ({ head: ["slot", "fits", "busy", "first fit at", "last fit ended at"], body: D.slots.map((line) => { const last = line.stretches.at(-1); return [line.label, line.fits, seconds(line.stretches.reduce((sum, one) => sum + one[1], 0)), seconds(line.stretches[0][0]), seconds(last[0] + last[1])]; }) }));
    }

    // ---- details of a candidate --------------------------------------------------------------------

    const dialog = $("#details");
    function showDetails(row) {
      const code = pythonDict(row);
      const metrics = D.metrics.map(({ key, label: name }) => {
        const train = D.trainMean[key];
        const list = splitScores(row, key) || [];
        return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, num(D.mean[key][row])), el("td", { class: "n" }, num(D.std[key][row])), el("td", { class: "n" }, String(D.rank[key][row])), train ? el("td", { class: "n" }, num(train[row])) : null, el("td", {}, list.map((one) => num(one, 4)).join("  ")));
      });
      const withTrain = Object.keys(D.trainMean).length > 0;
      dialog.replaceChildren(
        el("h3", { id: "details-h" }, `Candidate ${idOf(row)}`),
        el("p", { class: "small" }, [D.round ? `iteration ${D.round[row]}, ${D.nTrain[row].toLocaleString("en")} training samples` : null, `mean fit time ${seconds(D.fit[row])}${derived.has(row) ? " (derived)" : ""}`, failed(row) ? `${failed(row)} of ${D.splits} fits failed` : null, done(row) < D.splits ? `${done(row)} of ${D.splits} splits` : null, alike.has(row) ? "as good as the best" : null].filter(Boolean).join(" · ")),
        el("div", { class: "code" }, el("pre", { tabindex: 0 }, el("code", {}, code)), el("button", { type: "button", class: "copy", "data-copy": code }, "Copy")),
        el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...["metric", "mean", "std", "rank", ...(withTrain ? ["train"] : []), "splits"].map((text, place) => el("th", { scope: "col", class: place > 0 && text !== "splits" ? "n" : "" }, text)))), el("tbody", {}, ...metrics))),
        el("p", {}, el("button", { type: "button", onclick: () => dialog.close() }, "Close")));
      dialog.showModal();
    }

    // ---- table of candidates -----------------------------------------------------------------------

    function restrict(list, name = "", by = "") {
      state.chosen = list ? new Set(list) : null;
      state.chosenName = name;
      state.chosenBy = by;
      state.page = 0;
      table.refresh();
    }
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button.rows");
      if (!button) return;
      restrict(rowsOf(button.dataset.rows.split(",").map(Number)), button.dataset.name, "group");
      const section = $("#candidates");
      section.scrollIntoView();
      section.setAttribute("tabindex", "-1");
      section.focus({ preventScroll: true });
    }, until);

    const table = (() => {
      const box = $("#candidate-table");
      const PAGE = 50;
      let found = [], body, status, chips, head, previous, next;

      function columns() {
        const train = D.trainMean[state.metric];
        const others = D.metrics.filter((one) => one.key !== state.metric);
        return [
          { key: "rank", text: "rank", n: true, value: (row) => D.rank[state.metric][row], show: (row) => (score(row) == null ? "–" : String(D.rank[state.metric][row])), first: 1 },
          { key: "mean", text: "mean " + metricLabel[state.metric], n: true, value: score, show: (row) => num(score(row)), first: -1 },
          { key: "std", text: "std", n: true, value: (row) => D.std[state.metric][row], show: (row) => num(D.std[state.metric][row], 3), first: 1 },
          ...(train ? [{ key: "train", text: "train", n: true, value: (row) => train[row], show: (row) => num(train[row]), first: -1 }] : []),
          ...others.map((one) => ({ key: "m:" + one.key, text: one.label, n: true, value: (row) => D.mean[one.key][row], show: (row) => num(D.mean[one.key][row]), first: -1 })),
          { key: "fit", text: "fit time", n: true, value: (row) => D.fit[row], show: (row) => seconds(D.fit[row]) + (derived.has(row) ? "*" : ""), first: 1 },
          ...(D.done ? [{ key: "done", text: "splits", n: true, value: done, show: (row) => `${done(row)} of ${D.splits}`, first: -1 }] : []),
          ...(Object.keys(D.failed).length ? [{ key: "failed", text: "failed", n: true, value: failed, show: (row) => (failed(row) ? String(failed(row)) : ""), first: -1 }] : []),
          ...(D.round ? [{ key: "round", text: "iteration", n: true, value: (row) => D.round[row], show: (row) => String(D.round[row]), first: -1 }, { key: "train-n", text: "n_resources", n: true, value: (row) => resources(row), show: (row) => resources(row).toLocaleString("en"), first: -1 }] : []),
          ...(varying.length ? varying : D.params).map((column) => ({ key: "p:" + column.name, text: column.name, n: column.kind === "n", value: (row) => { const value = valueOf(column, row); return column.kind === "c" && column.order && has(column, row) ? column.order[codeOf(column, row)] ?? value : value; }, show: (row) => label(column, row), first: 1, param: true })),
        ];
      }
      const resources = (row) => (D.resources ? D.resources[row] : D.nTrain[row]);

      /** `C>0.1 kernel=rbf text`: all terms must hold. */
      function matcher(text) {
        const tests = (text.match(/"[^"]*"|\S+/g) || []).map((term) => {
          const parts = /^([^=<>!~]+)(<=|>=|!=|=|<|>)(.*)$/.exec(term);
          const name = parts && (byName.has(parts[1]) ? parts[1] : [...byName.keys()].find((one) => one.endsWith("__" + parts[1])));
          const special = parts && { score: score, mean: score, fit: (row) => D.fit[row], rank: (row) => D.rank[state.metric][row], failed }[parts[1]];
          if (!parts || (!name && !special)) { const word = term.replaceAll('"', "").toLowerCase(); return (row) => described(row).toLowerCase().includes(word); }
          const [, , sign, wanted] = parts, column = byName.get(name);
          const get = special || ((row) => valueOf(column, row));
          return (row) => {
            const value = get(row);
            if (value == null) return false;
            const a = typeof value === "number" ? value : Number.isNaN(Number(value)) ? NaN : Number(value), b = Number(wanted);
            const numbers = wanted !== "" && !Number.isNaN(a) && !Number.isNaN(b);
            const same = numbers ? a === b || num(a) === num(b) : String(value).toLowerCase() === wanted.toLowerCase();
            if (sign === "=") return same;
            if (sign === "!=") return !same;
            return numbers && (sign === "<" ? a < b : sign === ">" ? a > b : sign === "<=" ? a <= b : a >= b);
          };
        });
        return (row) => tests.every((test) => test(row));
      }
      function compare(get, way) {
        return (a, b) => {
          const x = get(a), y = get(b);
          if (x == null || y == null) return (x == null) - (y == null) || a - b;
          const by = typeof x === "number" && typeof y === "number" ? x - y : typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
          return by * way || a - b;
        };
      }
      function build() {
        if (!box) return;
        const filter = el("input", { type: "search", placeholder: example(), "aria-describedby": "filter-help", spellcheck: "false", autocomplete: "off", oninput: () => { state.filter = filter.value; state.page = 0; refresh(); } });
        filter.value = state.filter;
        const controls = el("div", { class: "controls" },
          el("label", { class: "grow" }, "Filter", filter),
          D.metrics.length > 1 ? select("Metric", D.metrics.map((one) => [one.key, one.label]), state.metric, (value) => { state.metric = value; rebuild(); }) : null,
          D.round ? select("Iteration", [["", "all"], ...[...new Set(D.round)].map((round) => [round, rung(round)])], state.round, (value) => { state.round = value; state.page = 0; refresh(); }) : null,
          el("button", { type: "button", onclick: download }, "Download CSV"));
        head = el("tr");
        body = el("tbody");
        status = el("span", { role: "status", class: "small" });
        chips = el("div", { class: "chips" });
        previous = el("button", { type: "button", onclick: () => { state.page--; refresh(); } }, "Previous");
        next = el("button", { type: "button", onclick: () => { state.page++; refresh(); } }, "Next");
        box.replaceChildren(
          el("p", { class: "small", id: "filter-help" }, "Filter by value, as in ", el("code", {}, example()), ", or by any text. ", D.derived.length ? "* The fit time was computed from another candidate's fit. " : "", D.ids ? `The page has the best ${Math.floor(D.n / 2).toLocaleString("en")} and a sample of the other ${D.of.toLocaleString("en")} candidates. cv_results.csv in the run's folder has all of them. ` : "", D.ids ? "" : "cv_results.csv in the run's folder has every digit."),
          controls, chips,
          el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of candidates" }, el("table", {}, el("caption", {}, "Candidates"), el("thead", {}, head), body)),
          el("div", { class: "bar" }, status, el("span", { class: "space" }), previous, next));
        refresh();
      }
      const rung = (round) => { const first = D.round.indexOf(round); return `${round}: ${count(D.round.filter((one) => one === round).length, "candidate")}, n_resources ${resources(first).toLocaleString("en")}`; };
      function example() {
        const number = varying.find((one) => one.kind === "n"), other = varying.find((one) => one.kind === "c");
        const middle = number && number.values.filter((one) => one != null).sort((a, b) => a - b);
        return [number ? `${number.name}>=${num(middle[Math.floor(middle.length / 2)], 3)}` : "mean>0.5", other ? `${other.name}=${other.values[0]}`.slice(0, 30) : null].filter(Boolean).join(" ");
      }
      function refresh() {
        if (!box || !body) return;
        const shown = columns(), [key, way] = state.sort, by = shown.find((one) => one.key === key) || shown[0];
        const fits = matcher(state.filter);
        found = rows.filter((row) => (!state.chosen || state.chosen.has(row)) && (state.round === "" || !D.round || D.round[row] === Number(state.round)) && fits(row));
        const late = by.key === "rank" && D.round ? (a, b) => D.round[b] - D.round[a] : () => 0;
        const order = compare(by.value, way);
        found.sort((a, b) => late(a, b) || order(a, b));
        const pages = Math.max(1, Math.ceil(found.length / PAGE));
        state.page = Math.max(0, Math.min(state.page, pages - 1));
        const part = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
        const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.sort : null;
        head.replaceChildren(...shown.map((column) => {
          const active = column === by;
          return el("th", { scope: "col", class: column.n ? "n" : "", "aria-sort": active ? (way > 0 ? "ascending" : "descending") : "none" }, el("button", { type: "button", "data-sort": column.key, title: column.text, onclick: () => { state.sort = [column.key, active ? -way : column.first]; state.page = 0; refresh(); } }, column.text));
        }), el("th", { scope: "col" }, "actions"));
        if (focused) head.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
        body.replaceChildren(...part.map((row) => el("tr", { class: row === D.best ? "best" : "", "data-row": row },
          ...shown.map((column, place) => { const text = column.show(row); return el(place ? "td" : "th", { ...(place ? {} : { scope: "row" }), class: column.n ? "n" : "", title: text.length > 24 ? text : null }, text); }),
          el("td", {}, el("button", { type: "button", "aria-label": `Details of candidate ${idOf(row)}`, onclick: () => showDetails(row) }, "Details"), " ", el("button", { type: "button", "aria-label": `Copy candidate ${idOf(row)} as a Python dict`, onclick: () => copy(pythonDict(row)) }, "Copy dict")))));
        if (!part.length) body.replaceChildren(el("tr", {}, el("td", { colspan: shown.length + 1 }, "No candidate fits the filter.")));
        status.textContent = `${found.length.toLocaleString("en")} of ${count(D.n, "candidate")}${pages > 1 ? `, page ${state.page + 1} of ${pages}` : ""}`;
        previous.disabled = state.page === 0;
        next.disabled = state.page >= pages - 1;
        previous.hidden = next.hidden = pages === 1;
        chips.replaceChildren();
        if (state.chosen) chips.append(el("button", { type: "button", title: "Show all candidates again", onclick: () => { if (state.chosenBy === "parallel") parallel.clear(); restrict(null); } }, `${state.chosenName}  ✕`));
      }
      function download() {
        const shown = columns().filter((column) => !column.param);
        const cell = (value) => { const text = value == null ? "" : String(value); return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text; };
        const split = (table_, prefix) => Object.keys(table_).flatMap((key) => Array.from({ length: D.splits }, (_, at) => ({ name: `split${at}_${prefix}_${key}`, get: (row) => (splitScores(row, key, table_) || [])[at] })));
        const singles = keptPlace ? [] : [...split(D.scores, "test"), ...split(D.train, "train")];
        const lines = [["candidate", ...shown.map((one) => one.text), ...D.params.map((one) => "param_" + one.name), ...singles.map((one) => one.name)]];
        for (const row of found) lines.push([idOf(row), ...shown.map((one) => one.value(row)), ...D.params.map((column) => (has(column, row) ? (column.kind === "n" ? valueOf(column, row) : python(column, row)) : "")), ...singles.map((one) => one.get(row))]);
        const blob = new Blob([lines.map((line) => line.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" });
        const link = el("a", { href: URL.createObjectURL(blob), download: D.name + "-candidates.csv" });
        document.body.append(link);
        link.click();
        link.remove();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      }
      return { build, refresh, get found() { return found; } };
    })();

    // ---- start -------------------------------------------------------------------------------------

    readTheme(false);
    const BUILDERS = { families: familiesPlot, importance: importancePlot, heat: heatPlot, splits: splitsPlot, cost: costPlot, slots: slotsPlot };
    for (const figure of $$("figure[data-plot]")) {
      const build = BUILDERS[figure.dataset.plot];
      if (build) build(figure);
    }
    if ($("#effects")) {
      buildControls();
      buildEffects();
      buildHeatControls();
      parallel.build();
    }
    table.build();
    drawAll();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(false); drawAll(); }, until);
    addEventListener("beforeprint", () => { readTheme(true); drawAll(); }, until);
    addEventListener("afterprint", () => { readTheme(false); drawAll(); }, until);
    let resized;
    addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => parallel.draw(), 100); }, until);
    return () => {
      ending.abort();
      for (const entry of plots) Plotly.purge(entry.canvas);
    };
  }

  let stop = start();
  document.documentElement.dataset.ready = "true";

  // ---- a search in progress: `skygrid watch` -----------------------------------------------------

  if (document.documentElement.dataset.live) {
    const bar = $("#live progress"), text = $("#live-text");
    let shown = Number(document.documentElement.dataset.version), latest = null, busy = false;
    const span = (s) => (s < 60 ? Math.round(s) + " s" : s < 3600 ? Math.floor(s / 60) + " min " + Math.round(s % 60) + " s" : Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min");
    const stream = new EventSource("events");
    stream.onmessage = (event) => {
      latest = JSON.parse(event.data);
      bar.max = Math.max(1, latest.total);
      bar.value = latest.done;
      text.textContent = [
        latest.state,
        `${latest.done.toLocaleString("en")} of ${latest.total.toLocaleString("en")} fits`,
        latest.rate ? `${Number(latest.rate.toPrecision(3))} fits a second` : null,
        latest.left != null && latest.state === "running" ? `about ${span(latest.left)} left` : null,
      ].filter(Boolean).join(" · ");
      refresh();
      if (latest.state !== "running") stream.close();
    };
    stream.onerror = () => { text.textContent = "No connection to skygrid watch. The page shows the last state."; };

    /** Shows the newest content, unless the reader is typing, dragging or reading details. */
    async function refresh() {
      if (!latest || latest.version === shown || busy || pressed || $("dialog[open]") || /^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
      busy = true;
      try {
        const answer = await fetch("./?have=" + shown, { cache: "no-store" });
        if (answer.status !== 200) return;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        shown = Number(fresh.documentElement.dataset.version);
        const focus = document.activeElement?.dataset?.sort;
        document.body.style.minHeight = document.body.scrollHeight + "px"; // keeps the place
        stop();
        for (const part of ["header.top", "nav.toc", "main"]) $(part).replaceWith(fresh.querySelector(part));
        $("#data")?.remove();
        const data = fresh.querySelector("#data");
        if (data) document.body.append(data);
        stop = start();
        document.body.style.minHeight = "";
        if (focus) $(`[data-sort="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
      } finally {
        busy = false;
      }
    }
    setInterval(refresh, 2000); // what waited for the reader
    let pressed = false;
    addEventListener("pointerdown", () => { pressed = true; });
    addEventListener("pointerup", () => { pressed = false; });
    addEventListener("pointercancel", () => { pressed = false; });
  }
})();

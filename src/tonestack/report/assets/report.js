// The report's page: charts drawn when they come into view, tables sorted, clips played. No request leaves the folder.
"use strict";

const find = (selector, within = document) => [...within.querySelectorAll(selector)];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");
const { labels, clips } = JSON.parse(document.getElementById("clips").textContent);
const STATES = ["test clip", "unverified", "verified"];

// ------------------------------------------------------------------------------------------------------------- charts

function themed(figure, width) {
  const { data, layout } = figure;
  const scales = {
    sequential: [[0, colour("--low")], [0.5, colour("--middle")], [1, colour("--high")]],
    diverging: [[0, colour("--minus")], [0.5, colour("--low")], [1, colour("--middle")]],
  };
  for (const trace of data) {
    if (scales[trace.meta]) trace.colorscale = scales[trace.meta];
  }
  for (const [name, axis] of Object.entries(layout)) {
    if (/^[xy]axis/.test(name)) Object.assign(axis, { gridcolor: colour("--grid"), zerolinecolor: colour("--grid") });
  }
  const text = { color: colour("--text"), family: "system-ui, 'DejaVu Sans', sans-serif", size: 13 };
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: text,
    hoverlabel: { bgcolor: colour("--surface"), bordercolor: colour("--line"), font: text, align: "left" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : layout.dragmode,
  });
  for (const trace of width < 700 ? data : []) {
    if (trace.type !== "heatmap") continue;
    trace.showscale = false;
    layout.xaxis.showticklabels = layout.xaxis.tickvals.length <= 16; // a tap on a cell names both classes
  }
  if (width < 700) legendAbove(data, layout);
  return figure;
}

function legendAbove(data, layout) { // on a phone, and left out where it would fill the screen
  if (data.length > 20) layout.showlegend = false;
  else if (data.length > 2) {
    layout.height += 20 * Math.min(data.length, 6); // long names stand one below the other
    layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom" };
  }
}

function draw(plot) {
  const source = plot.parentElement.querySelector("script").textContent;
  const { data, layout } = themed(JSON.parse(source), plot.clientWidth);
  plot.style.height = `${layout.height}px`;
  Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
  if (!plot.dataset.drawn) plot.on("plotly_click", (event) => offer(event.points[0].customdata));
  plot.dataset.drawn = "yes";
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !entry.target.dataset.drawn) draw(entry.target);
  }
}, { rootMargin: "300px" });
for (const plot of find(".plot")) seen.observe(plot);
dark.addEventListener("change", () => find(".plot[data-drawn]").forEach(draw));

// ------------------------------------------------------------------------------------------------------------- tables

function key(row, column, numeric) {
  const cell = row.cells[column];
  const value = cell.dataset.value ?? cell.textContent.trim();
  if (!numeric) return value;
  return cell.dataset.value === undefined ? NaN : Number(value);
}

function sort(head) {
  const numeric = head.classList.contains("number");
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  for (const sibling of head.parentElement.cells) sibling.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = head.closest("table").tBodies[0];
  const compare = (a, b) => {
    const [x, y] = [key(a, head.cellIndex, numeric), key(b, head.cellIndex, numeric)];
    if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
    return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y); // what is missing stays last
  };
  body.append(...[...body.rows].sort(compare));
}

for (const button of find("th button")) button.addEventListener("click", () => sort(button.parentElement));

// --------------------------------------------------------------------------------------------------------------- tabs

function choose(tab) {
  const tabs = find("[role=tab]", tab.parentElement);
  const panels = find(":scope > [role=tabpanel]", tab.closest(".tabs"));
  tabs.forEach((one, i) => {
    one.setAttribute("aria-selected", String(one === tab));
    one.tabIndex = one === tab ? 0 : -1;
    panels[i].hidden = one !== tab;
  });
  tab.focus();
}

for (const list of find("[role=tablist]")) {
  const tabs = find("[role=tab]", list);
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose(tabs[(i + step + tabs.length) % tabs.length]);
    });
  });
}

// -------------------------------------------------------------------------------------------------------------- player

const dock = document.getElementById("dock");
const audio = dock.querySelector("audio");

function describe(number) {
  const [, given, choice, sure, state] = clips[number];
  const known = given < 0 ? STATES[state] : `${labels[given]}, ${STATES[state]}`;
  return choice < 0 ? known : `${known}; models: ${labels[choice]} (${sure.toFixed(2)})`;
}

function show(number) {
  const [name, , , , , source] = clips[number];
  dock.hidden = false;
  dock.querySelector("strong").textContent = name;
  dock.querySelector(".now span").textContent = source ? describe(number) : `${describe(number)}; not to be heard here`;
  audio.hidden = !source;
  audio.pause();
  if (!source) return;
  audio.src = source;
  audio.play().catch(() => {}); // a browser that wants a click first shows its own button
}

function button(number) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "play";
  made.dataset.clip = number;
  made.textContent = clips[number][0];
  return made;
}

function fill(list, numbers) {
  list.replaceChildren(...numbers.map((number) => {
    const item = document.createElement("li");
    item.append(button(number));
    return item;
  }));
}

function offer(numbers) {
  if (numbers === undefined || numbers === null) return;
  const every = [numbers].flat();
  fill(dock.querySelector("ul"), every.length > 1 ? every : []);
  if (every.length) show(every[0]);
}

document.addEventListener("click", (event) => {
  const pressed = event.target.closest(".play");
  if (pressed) show(Number(pressed.dataset.clip));
});
dock.querySelector(".close").addEventListener("click", () => {
  audio.pause();
  dock.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !dock.hidden) dock.querySelector(".close").click();
});

for (const finder of find(".finder")) {
  const field = finder.querySelector("input");
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const found = [];
    for (let i = 0; wanted && i < clips.length && found.length < 12; i++) {
      const [name, given] = clips[i];
      if (name.toLowerCase().includes(wanted) || (labels[given] ?? "").toLowerCase().includes(wanted)) found.push(i);
    }
    fill(finder.querySelector("ul"), found);
  });
}

// Draws the figures that the server made, in the page's own colours; without it the tables behind them are there.
"use strict";

const charts = document.querySelector("[data-charts]");
const areas = [...document.querySelectorAll("[data-figure]")];
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
const TOKEN = /^var\((--[\w-]+)\)$/;

// A figure names the tokens of the page; what they are in the theme of the moment, the browser knows.
function inColours(value, colours) {
  if (typeof value === "string") return TOKEN.test(value) ? colours(value) : value;
  if (Array.isArray(value)) return value.map((item) => inColours(item, colours));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, inColours(item, colours)]));
}

function coloursOfNow() {
  const probe = charts.appendChild(document.createElement("i"));
  probe.style.forcedColorAdjust = "none";
  const known = new Map();
  const find = (token) => {
    if (!known.has(token)) {
      probe.style.color = token;
      known.set(token, getComputedStyle(probe).color);
    }
    return known.get(token);
  };
  return { find, done: () => probe.remove() };
}

async function draw(figures) {
  const colours = coloursOfNow();
  for (const area of areas) {
    const figure = inColours(figures[area.dataset.figure], colours.find);
    await Plotly.react(area, figure.data, figure.layout, CONFIG);
    area.removeAttribute("aria-busy");
  }
  colours.done();
}

function follow({ points }) {
  const href = points.map((point) => point.customdata).find(Boolean);
  if (href) location.href = href;
}

async function start() {
  const answer = await fetch(charts.dataset.charts, { headers: { Accept: "application/json" } });
  if (!answer.ok || answer.redirected) throw new Error(`the figures were answered ${answer.status}`);
  const figures = await answer.json();
  await draw(figures);
  for (const area of areas) area.on("plotly_click", follow);
  const again = () => draw(figures);
  new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

if (charts) {
  // Drawing leaves a chart without its height for a moment: what is below it would jump, each time.
  for (const area of areas) if (area.dataset.height) area.style.height = `${area.dataset.height}px`;
  start().catch((error) => {
    charts.querySelector("[data-charts-failed]").hidden = false;
    for (const area of areas) area.hidden = true;
    for (const table of charts.querySelectorAll(".chart details")) table.open = true;
    console.error(error);
  });
}

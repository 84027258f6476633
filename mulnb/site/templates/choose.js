// The choosing half of the explorer: strata of precomputed scores, drawn as the sliders move. No library, no network.
"use strict";

const DATA = window.MULNB;
const STRATA = ["low", "medium", "high"];
const TITLES = { low: "Low: hardly memorized", medium: "Medium", high: "High: strongly memorized" };
const BINS = 48;
const SHOWN = 24; // images of a stratum

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const images = bytes(DATA.images); // [N, H, W, C]
const labels = bytes(DATA.labels);
const flipped = bytes(DATA.flipped);
const scores = DATA.scores.map((score) => ({ ...score, values: new Float32Array(bytes(score.values).buffer) }));
const memorization = scores[0];

const form = document.querySelector("form.controls");
const histogram = document.querySelector("svg.histogram");

// Indices by score, from hardly to strongly memorized. Equal scores are ordered by number; the package draws them by seed.
function sorted(values) {
  return Uint32Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
}

for (const score of scores) score.order = sorted(score.values);

// The strata as mulnb.forget.strata chooses them: both ends of the order, then the nearest to the middle of what is left.
function strataOf(score, sizes) {
  const rest = score.order.slice(sizes.low, DATA.n - sizes.high);
  const distance = (i) => Math.abs(score.values[i] - score.middle);
  return {
    low: score.order.slice(0, sizes.low),
    medium: rest.sort((a, b) => distance(a) - distance(b) || a - b).slice(0, sizes.medium),
    high: score.order.slice(DATA.n - sizes.high).reverse(),
  };
}

const mean = (indices, values) => indices.reduce((sum, i) => sum + values[i], 0) / indices.length;

// --- drawing ---------------------------------------------------------------------------------------------------------

function element(name, attributes, parent, text) {
  const svg = ["rect", "line"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function drawHistogram(score, strata) {
  const low = score.values[score.order[0]];
  const high = score.values[score.order[DATA.n - 1]];
  const bin = (i) => Math.min(BINS - 1, Math.floor(((score.values[i] - low) / (high - low || 1)) * BINS));
  const counts = { all: new Array(BINS).fill(0) };
  for (let i = 0; i < DATA.n; i++) counts.all[bin(i)]++;
  for (const name of STRATA) {
    counts[name] = new Array(BINS).fill(0);
    for (const i of strata[name]) counts[name][bin(i)]++;
  }

  histogram.replaceChildren();
  const top = Math.log1p(Math.max(...counts.all));
  const width = 600 / BINS;
  for (let k = 0; k < BINS; k++) {
    const height = (Math.log1p(counts.all[k]) / top) * 165;
    const box = { x: k * width + 1, width: width - 2 };
    element("rect", { ...box, y: 175 - height, height, class: "all" }, histogram);

    // of a bar, the part that each stratum takes
    let below = 175;
    for (const name of STRATA) {
      const part = counts.all[k] ? (height * counts[name][k]) / counts.all[k] : 0;
      below -= part;
      if (part) element("rect", { ...box, y: below, height: part, class: name }, histogram);
    }
  }
  element("line", { x1: 0, x2: 600, y1: 175, y2: 175, class: "axis" }, histogram);
  document.querySelector("[data-axis]").textContent = `${score.label} (${score.unit}), from ${low.toFixed(2)} to ${high.toFixed(2)}.`;
}

function drawImage(i, parent) {
  const { side, channels } = DATA;
  const figure = element("figure", {}, parent);
  const canvas = element("canvas", { width: side, height: side, role: "img" }, figure);
  const picture = canvas.getContext("2d").createImageData(side, side);
  for (let pixel = 0; pixel < side * side; pixel++) {
    for (let c = 0; c < 3; c++) {
      picture.data[4 * pixel + c] = images[(i * side * side + pixel) * channels + (channels === 1 ? 0 : c)];
    }
    picture.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);

  const text = DATA.classes[labels[i]] + (flipped[i] ? " ✗" : "");
  canvas.setAttribute("aria-label", `image ${i}, labelled ${text}`);
  figure.title = `image ${i}: memorization ${memorization.values[i].toFixed(2)}${flipped[i] ? ", wrong label" : ""}`;
  element("figcaption", {}, figure, text);
}

function drawStrata(strata) {
  const place = document.querySelector(".strata");
  place.replaceChildren();
  for (const name of STRATA) {
    const section = element("section", { class: name }, place);
    element("h2", {}, section, TITLES[name]);
    const wrong = strata[name].reduce((sum, i) => sum + flipped[i], 0);
    const facts = `${strata[name].length} images, mean memorization ${mean(strata[name], memorization.values).toFixed(2)}`;
    element("p", {}, section, facts + (wrong ? `; ${wrong} have a wrong label (✗)` : ""));
    const pictures = element("div", { class: "pictures" }, section);
    for (const i of strata[name].slice(0, SHOWN)) drawImage(i, pictures);
  }
}

// --- what the controls do --------------------------------------------------------------------------------------------

function update() {
  const score = scores[form.score.value];
  const sizes = Object.fromEntries(STRATA.map((name) => [name, Number(form[name].value)]));
  const strata = strataOf(score, sizes);

  const edge = { low: strata.low[sizes.low - 1], high: strata.high[sizes.high - 1] };
  form["low-text"].value = `score ≤ ${score.values[edge.low].toFixed(3)}: ${sizes.low} images`;
  form["medium-text"].value = `${sizes.medium} images around ${score.middle.toFixed(3)}`;
  form["high-text"].value = `score ≥ ${score.values[edge.high].toFixed(3)}: ${sizes.high} images`;

  drawHistogram(score, strata);
  drawStrata(strata);

  const truly = new Set(memorization.order.slice(DATA.n - sizes.high));
  const found = strata.high.filter((i) => truly.has(i)).length;
  document.querySelector(".agreement").textContent =
    score === memorization
      ? "This is the exact score. Choose a cheap proxy above to see how many of the most memorized images it finds."
      : `Of the ${sizes.high} images that ${score.label} puts on top, ${found} are among the ${sizes.high} most memorized.`;
}

document.querySelector("[data-title]").textContent = DATA.title;
scores.forEach((score, number) => element("option", { value: number }, form.score, score.label));
for (const name of STRATA) {
  form[name].max = Math.floor(DATA.n / 4); // at least a quarter is always retained
  form[name].value = DATA.size;
}
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
update();

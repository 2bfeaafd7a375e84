// The module of the model is above. Below, the field that it computes is drawn anew for every frame.
const SECONDS = 6; // to play from the first time to the last
const CURVE_POINTS = 1025;
const MOST_CELLS = 2 ** 18;
const FRAMES = 120; // that the measured times are of
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] };

const facts = JSON.parse(document.getElementById("facts").textContent);
const { across, up, time } = facts; // which inputs: a number, or null
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const colours = new Uint32Array(bytes(facts.colours).buffer);
const values = facts.inputs.map(({ lower, upper }, i) => (i === time ? lower : (lower + upper) / 2));
const choices = Object.entries(functions).flatMap(([name, columns]) =>
  columns.map((label, column) => ({ name, column, label, unit: facts.functions[name].units[column] })));
const probe = [0.5, 0.5]; // the place under the pointer, as shares of the two axes
let shown = choices[0], range = [0, 1], model, waiting = false, withMap = false, playing = false, before = 0;
let spent = { points: 0, ms: 0 }, frames = [];

const $ = (selector, root = document) => root.querySelector(selector);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const number = (value, digits = 4) => String(Number(value.toPrecision(digits))).replaceAll("-", "−");
const measure = (value, unit, digits) => number(value, digits) + (unit && unit !== "1" ? ` ${unit}` : "");
const titled = (name, unit) => (unit && unit !== "1" ? `${name} in ${unit}` : name);
const input = (i, value = values[i]) => `${inputs[i]} = ${measure(value, facts.inputs[i].unit)}`;
const between = (i, share) => facts.inputs[i].lower + (facts.inputs[i].upper - facts.inputs[i].lower) * share;
const ends = (i, n) => Array.from({ length: n }, (_, k) => between(i, k / (n - 1)));
const centres = (i, n) => Array.from({ length: n }, (_, k) => between(i, (k + 0.5) / n));
const clamped = (share) => Math.min(1, Math.max(0, share));

/** What is shown, on the grid of axes [input, places], the first of which runs fastest; other inputs are as set. */
function field(axes) {
  const n = axes.reduce((product, [, places]) => product * places.length, 1);
  const x = new Numbers(n * inputs.length);
  inputs.forEach((_, i) => {
    let stride = 1, places = [values[i]];
    for (const [axis, along] of axes) {
      if (axis === i) { places = along; break; }
      stride *= along.length;
    }
    for (let k = 0, at = 0, left = stride; k < n; k++) {
      x[k * inputs.length + i] = places[at];
      if (--left === 0) { left = stride; at = at + 1 === places.length ? 0 : at + 1; }
    }
  });
  const start = performance.now(), y = model.evaluate(x, shown.name);
  spent.ms += performance.now() - start;
  spent.points += n;
  const columns = functions[shown.name].length;
  return columns === 1 ? y : new Numbers(n).map((_, k) => y[k * columns + shown.column]);
}

/** The colours and heights are of all times and of the whole domain, so that they stay as they are while it plays. */
function rescale() {
  const axes = [[across, ends(across, 257)]];
  if (up !== null) axes.push([up, ends(up, 129)]);
  if (time !== null && time !== across && time !== up) axes.push([time, ends(time, 9)]);
  let low = Infinity, high = -Infinity;
  for (const v of field(axes)) if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
  range = low < high ? [low, high] : low === high ? [low - 0.5, low + 0.5] : [0, 1];
  frames = [];
  redraw();
}

function redraw(all = true) {
  withMap ||= all;
  if (!waiting) requestAnimationFrame(frame);
  waiting = true;
}

function frame(now) {
  waiting = false;
  if (playing) {
    const { lower, upper } = facts.inputs[time];
    const passed = Math.max(0, now - before) / 1000 / SECONDS;
    set(time, between(time, ((values[time] - lower) / (upper - lower) + passed) % 1));
    redraw(up !== time);
  }
  before = now;
  spent = { points: 0, ms: 0 };
  drawCurve($("#curve"));
  if (up !== null) drawMap($("#map"));
  withMap = false;
  if (frames.length && frames[0].points !== spent.points) frames = [];
  frames = [...frames, spent].slice(-FRAMES);
  const ms = frames.reduce((sum, { ms }) => sum + ms, 0);
  const rate = number(frames.length * spent.points / ms / 1000, 2);
  const mean = ms ? `${number(ms / frames.length, 2)} ms, ${rate} million points/s` : "less than 0.1 ms";
  about.evaluation.textContent = `${spent.points.toLocaleString("en")} points per frame: ${mean}`;
}

function drawCurve(view) {
  const pad = (range[1] - range[0]) / 20, low = range[0] - pad, high = range[1] + pad;
  const height = (v) => (high - v) / (high - low);
  const y = field([[across, ends(across, CURVE_POINTS)]]);
  let line = "", pen = "M";
  y.forEach((v, k) => {
    const x = 1000 * k / (CURVE_POINTS - 1), y = 1000 * height(v);
    if (Number.isFinite(v)) line += `${pen}${x.toFixed(2)} ${y.toFixed(2)}`;
    pen = Number.isFinite(v) ? "L" : "M";
  });
  $(".line", view).setAttribute("d", line);
  const { lower, upper } = facts.inputs[across];
  const rows = scale($(".up", view), low, high), columns = scale($(".across", view), lower, upper);
  const level = rows.map((share) => `M0 ${1000 * (1 - share)}H1000`);
  const upright = columns.map((share) => `M${1000 * share} 0V1000`);
  $(".grid", view).setAttribute("d", [...level, ...upright].join(""));
  caption(view, [across]);
  mark(view, probe[0], height(read(view, [[across, probe[0]]])));
}

function drawMap(view) {
  const canvas = $("canvas", view), { lower, upper } = facts.inputs[up];
  if (withMap) {
    const sides = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, side * devicePixelRatio));
    const pixels = Math.ceil(Math.sqrt(sides[0] * sides[1] / MOST_CELLS)); // along each side of a cell
    [canvas.width, canvas.height] = sides.map((side) => Math.ceil(side / pixels));
    const image = new ImageData(canvas.width, canvas.height), cells = new Uint32Array(image.data.buffer);
    const y = field([[across, centres(across, canvas.width)], [up, centres(up, canvas.height).reverse()]]);
    const [low, high] = range, n = colours.length;
    y.forEach((v, k) => {
      cells[k] = colours[Math.min(n - 1, Math.max(0, Math.floor((v - low) / (high - low) * n)))]; // none for NaN
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    scale($(".across", view), facts.inputs[across].lower, facts.inputs[across].upper);
    scale($(".up", view), lower, upper);
    const [first, last] = view.querySelectorAll(".scale span");
    [first.textContent, last.textContent] = range.map((v) => measure(v, shown.unit, 3));
    caption(view, [across, up]);
  }
  $(".cut", view).style.top = `${100 * (upper - values[up]) / (upper - lower)}%`;
  read(view, [[across, probe[0]], [up, probe[1]]]);
  mark(view, probe[0], 1 - probe[1]);
}

/** What is drawn over which inputs, and what the others are. */
function caption(view, axes) {
  const over = axes.map((i) => titled(inputs[i], facts.inputs[i].unit)).join(" and ");
  const at = values.map((_, i) => i).filter((i) => !axes.includes(i)).map((i) => input(i)).join(", ");
  $("figcaption", view).textContent = `${titled(shown.label, shown.unit)} over ${over}${at && ` at ${at}`}`;
}

/** The value at a place, which is also written under the figure. */
function read(view, shares) {
  const point = values.slice();
  for (const [i, share] of shares) point[i] = between(i, share);
  const value = model.evaluate(Numbers.from(point), shown.name)[shown.column];
  const at = point.map((v, i) => input(i, v)).join(", ");
  $("output", view).textContent = `${shown.label} = ${measure(value, shown.unit, 6)} at ${at}`;
  return value;
}

function mark(view, left, top) {
  const dot = $(".probe", view);
  dot.hidden = !(top >= 0 && top <= 1);
  [dot.style.left, dot.style.top] = [`${100 * left}%`, `${100 * top}%`];
}

/** Round numbers from low to high, written along an axis; their shares of it. */
function scale(axis, low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power * 5 >= high - low);
  const first = Math.ceil(low / step - 1e-9), n = Math.floor(high / step + 1e-9) - first + 1;
  const shares = Array.from({ length: n }, (_, k) => ((first + k) * step - low) / (high - low));
  axis.replaceChildren(...shares.map((share, k) => {
    const label = make("span", { textContent: number((first + k) * step, 6) });
    label.style[axis.className === "up" ? "bottom" : "left"] = `${100 * share}%`;
    return label;
  }));
  return shares;
}

function set(i, value) {
  values[i] = value;
  const { slider, text } = sliders[i], { lower, upper } = facts.inputs[i];
  slider.value = Math.round(slider.max * (value - lower) / (upper - lower));
  text.textContent = input(i);
  slider.setAttribute("aria-valuetext", input(i));
}

function play(on) {
  playing = on;
  before = performance.now();
  button.textContent = on ? "Pause" : "Play";
  for (const output of document.querySelectorAll("output")) output.ariaLive = on ? "off" : "polite";
  redraw(false);
}

const sliders = {}, about = {};
const button = make("button", { type: "button", textContent: "Play", onclick: () => play(!playing) });

function begin() {
  $("#equation").textContent = facts.equation ?? "";
  if (up === null) $("#map").remove();
  for (const place of document.querySelectorAll(".frame")) {
    const isMap = $("canvas", place) !== null;
    place.ariaLabel = `${isMap ? "map" : "curve"}; arrow keys move the point that is read`;
    place.onpointermove = place.onpointerdown = (event) => {
      const box = place.getBoundingClientRect();
      probe[0] = clamped((event.clientX - box.left) / box.width);
      if (isMap) probe[1] = clamped((box.bottom - event.clientY) / box.height);
      if (isMap && event.buttons) set(up, between(up, probe[1]));
      redraw(false);
    };
    place.onkeydown = (event) => {
      const [axis, sign] = ARROWS[event.key] ?? [];
      if (!sign) return;
      event.preventDefault();
      probe[axis] = clamped(probe[axis] + sign * (event.shiftKey ? 0.1 : 0.01));
      redraw(false);
    };
  }
  for (const i of facts.sliders) {
    const slider = make("input", { type: "range", min: 0, max: 1000 }), text = make("span", { className: "value" });
    sliders[i] = { slider, text };
    slider.oninput = () => {
      set(i, between(i, slider.value / slider.max));
      if (i === time || i === up) redraw(i !== up);
      else rescale();
    };
    slider.ariaLabel = inputs[i];
    $("#choice").before(...(i === time ? [button] : []), make("label", { className: "slider" }, slider, text));
    set(i, values[i]);
  }
  const select = $("select");
  for (const name of Object.keys(functions)) {
    const options = functions[name].map((label) => make("option", { textContent: label }));
    select.append(make("optgroup", { label: facts.functions[name].title }, ...options));
  }
  select.onchange = () => {
    shown = choices[select.selectedIndex];
    about.program.textContent = facts.functions[shown.name].sha256;
    rescale();
  };
  $("#choice").hidden = choices.length < 2;
  $("#controls").hidden = choices.length < 2 && facts.sliders.length === 0;
  for (const [term, text] of [["Evaluation", ""], ...facts.about, ["Program", facts.functions.eval.sha256]]) {
    const description = make("dd", { className: term.toLowerCase() }, text);
    about[term.toLowerCase()] = description;
    $("dl").append(make("div", {}, make("dt", { textContent: term }), description));
  }
  if (up !== null) {
    const bar = new ImageData(new Uint8ClampedArray(colours.buffer), colours.length), place = $("#map .frame");
    $(".scale canvas").getContext("2d").putImageData(bar, 0, 0);
    const [width, height] = [across, up].map((i) => facts.inputs[i].upper - facts.inputs[i].lower);
    if (up !== time) $("#figures").className = "space";
    if (up !== time) place.style.aspectRatio = Math.min(2, Math.max(0.8, width / height));
    new ResizeObserver(() => redraw()).observe(place);
  }
  $("main").hidden = false;
  rescale();
}

const verdict = (text, className) => Object.assign($("#verdict"), { textContent: text, className });
try {
  model = await instantiate(bytes(facts.wasm));
  const fault = model.selftest();
  if (fault) throw new Error(`self-test failed (${fault}): this browser computes other bits`);
  verdict("self-test passed", "good");
  begin();
  globalThis.model = model; // for the console: model.evaluate(…)
} catch (error) {
  verdict(`The model cannot run here: ${error.message}`, "bad");
}

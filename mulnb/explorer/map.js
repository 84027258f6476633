// The map of all examples on a canvas: 45 000 points are too many for SVG. The pointer draws a lasso, the keyboard moves a brush;
// both send the path around what they select, in units of the picture (0 … 1). A click on a point names the example.

const COLORS = ["--bar", "--low", "--medium", "--high"]; // by the group of an example, as Python numbers them
const SELECTED = 4; // added to the group of an example that is selected
const NEAR = 12; // pixels from a click to the point it means
const MARGIN = 8; // pixels around the points
const STEP = 8; // pixels that an arrow key moves the brush
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function render({ model, el }) {
  el.innerHTML = '<div class="mx"><canvas class="map" tabindex="0" role="application"></canvas></div>';
  const canvas = el.querySelector("canvas");
  const context = canvas.getContext("2d");
  let lasso = null; // the pointer's path in pixels
  let brush = null; // the keyboard's circle in pixels: { x, y, r }

  const size = () => [canvas.clientWidth - 2 * MARGIN, canvas.clientHeight - 2 * MARGIN];
  const points = () => new Uint16Array(bytes(model.get("points")).slice().buffer); // x, y, x, y, … of 0 … 65535

  const draw = () => {
    canvas.setAttribute("aria-label", model.get("about"));
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const [width, height] = size();
    const at = points();
    const groups = bytes(model.get("groups"));
    const many = groups.length > 5000;
    const any = groups.some((group) => group & SELECTED);

    // the retained first, so that the strata lie on top of them
    for (let group = 0; group < COLORS.length; group++) {
      const side = (group ? 5 : 3) - (many ? 2 : 0);
      context.fillStyle = style.getPropertyValue(COLORS[group]);
      for (let i = 0; i < groups.length; i++) {
        if ((groups[i] & 3) !== group) continue;
        context.globalAlpha = any && !(groups[i] & SELECTED) ? 0.25 : 1; // what is not selected steps back
        context.fillRect(MARGIN + (at[2 * i] / 65535) * width - side / 2, MARGIN + (at[2 * i + 1] / 65535) * height - side / 2, side, side);
      }
    }

    context.globalAlpha = 1;
    context.strokeStyle = style.getPropertyValue("--ink");
    context.lineWidth = 1.5;
    context.setLineDash([4, 3]);
    context.beginPath();
    if (lasso) lasso.forEach(([x, y]) => context.lineTo(x, y));
    if (brush) context.ellipse(brush.x, brush.y, brush.r, brush.r, 0, 0, 2 * Math.PI);
    context.stroke();
  };

  const select = (path) => {
    const [width, height] = size();
    model.send({ act: "lasso", path: path.map(([x, y]) => [(x - MARGIN) / width, (y - MARGIN) / height]) });
  };

  const nearest = (x, y) => {
    const [width, height] = size();
    const at = points();
    let best = -1;
    let least = NEAR ** 2;
    for (let i = 0; i < at.length / 2; i++) {
      const away = (MARGIN + (at[2 * i] / 65535) * width - x) ** 2 + (MARGIN + (at[2 * i + 1] / 65535) * height - y) ** 2;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  };

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    lasso = [place(event)];
    brush = null;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!lasso) return;
    lasso.push(place(event));
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (!lasso) return;
    const path = lasso;
    lasso = null;
    const reach = Math.max(...path.map(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1])));
    const example = reach < 4 ? nearest(...path[0]) : -1; // hardly moved: a click
    if (example >= 0) model.send({ act: `image:${example}` });
    else if (reach >= 4) select(path);
    draw();
  });
  canvas.addEventListener("pointercancel", () => {
    lasso = null;
    draw();
  });

  canvas.addEventListener("keydown", (event) => {
    const [width, height] = size();
    const from = brush ?? { x: MARGIN + width / 2, y: MARGIN + height / 2, r: 30 };
    if (event.key in MOVES) {
      const [right, down] = MOVES[event.key];
      brush = { ...from, x: from.x + STEP * right, y: from.y + STEP * down };
    } else if (["+", "=", "-"].includes(event.key)) {
      brush = { ...from, r: Math.max(6, from.r + (event.key === "-" ? -6 : 6)) };
    } else if (event.key === "Enter" || event.key === " ") {
      brush = from;
      const turns = [...Array(24).keys()].map((turn) => (2 * Math.PI * turn) / 24);
      select(turns.map((turn) => [from.x + from.r * Math.cos(turn), from.y + from.r * Math.sin(turn)]));
    } else if (event.key === "Escape") {
      brush = null;
      model.send({ act: "all" });
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // JupyterLab's own shortcuts use these keys
    draw();
  });
  canvas.addEventListener("blur", () => {
    brush = null;
    draw();
  });

  for (const name of ["points", "groups", "about"]) model.on(`change:${name}`, draw);
  const resized = new ResizeObserver(draw);
  resized.observe(canvas);
  const themed = new MutationObserver(draw); // the colours are those of the theme
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return () => {
    resized.disconnect();
    themed.disconnect();
  };
}

export default { render };

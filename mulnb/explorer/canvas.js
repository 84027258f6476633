// A picture whose elements can be clicked, dragged and reached with the Tab key. Python draws `html`; this file reports to it
// what the reader does with the elements that have a `data-act`.

const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: "first", End: "last" };

function render({ model, el }) {
  let held = null; // the handle that the pointer drags
  let busy = false; // Python has not drawn the last move yet
  let next = null; // the newest move meanwhile; older ones are dropped

  const tell = (message) => {
    if (busy) {
      next = message;
      return;
    }
    busy = true;
    model.send(message);
  };

  const drawn = () => {
    busy = false;
    if (next !== null) {
      const message = next;
      next = null;
      tell(message);
    }
  };

  const draw = () => {
    const focused = el.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
    el.innerHTML = model.get("html");
    if (focused !== undefined) {
      el.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  };

  // The pointer's place in the units of the picture, whatever size it is shown at.
  const place = (event) => {
    const svg = el.querySelector("svg");
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
  };

  const target = (event) => event.target.closest("[data-act]");
  const isHandle = (element) => element?.getAttribute("role") === "slider";

  el.addEventListener("pointerdown", (event) => {
    if (isHandle(target(event))) {
      held = target(event).dataset.act;
      target(event).focus({ preventScroll: true });
      el.setPointerCapture(event.pointerId);
      event.preventDefault();
    }
  });
  el.addEventListener("pointermove", (event) => {
    if (held !== null) tell({ act: held, x: place(event) });
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    el.addEventListener(kind, () => (held = null));
  }

  el.addEventListener("click", (event) => {
    const clicked = target(event);
    if (clicked && !isHandle(clicked)) tell({ act: clicked.dataset.act });
  });
  el.addEventListener("keydown", (event) => {
    const focused = target(event);
    if (!focused) return;
    if (isHandle(focused) && event.key in STEPS) {
      tell({ act: focused.dataset.act, step: STEPS[event.key] });
    } else if (!isHandle(focused) && (event.key === "Enter" || event.key === " ")) {
      tell({ act: focused.dataset.act });
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // JupyterLab's own shortcuts use these keys
  });

  model.on("change:html", draw);
  model.on("msg:custom", drawn);
  draw();
}

export default { render };

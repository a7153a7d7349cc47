// The map: images as dots in the colour of their class, centres as ringed dots with their names.
// Mouse, touch and keyboard: drag and scroll, or arrow keys from dot to dot, Enter, + and −.
import { ask, count, element, link, picture, say } from "./page.js";

const LABEL_GAP = 14;

export class Atlas {
  constructor(chosen, go) {
    this.chosen = chosen;
    this.go = go;
    this.scale = 1;
    this.offset = [0, 0];
    this.at = null; // the dot under the mouse or the keyboard
  }

  view() {
    this.canvas = element("canvas", { tabIndex: 0, role: "application", "aria-label": "Map of the images: arrow keys go from image to image, Enter opens one, plus and minus zoom" });
    this.tip = element("div", { className: "tip", hidden: true });
    this.wait = element("p", { className: "wait muted" }, "Laying the images out …");
    this.note = element("p", { className: "muted" }, "What is near here is near in fact; long distances mean nothing.");
    const zoom = [["+", "Zoom in", 1.5], ["−", "Zoom out", 1 / 1.5]].map(([sign, label, factor]) =>
      element("button", { className: "button quiet", type: "button", "aria-label": label, onclick: () => this.zoom(factor) }, sign));
    this.frame = element("div", { className: "map" }, this.canvas, element("div", { className: "zoom" }, ...zoom), this.tip, this.wait);
    const heading = element("div", {}, element("h1", { tabIndex: -1 }, this.chosen ? `Map: ${this.chosen}` : "Map"), this.note);
    this.load();
    return { parts: [element("div", { className: "top" }, heading), this.frame], title: "Map", said: "Map, loading" };
  }

  async load() {
    try {
      this.data = await ask("/api/map");
    } catch (error) {
      this.wait.textContent = error.message;
      return;
    }
    this.wait.remove();
    const { points, centres, total } = this.data;
    this.note.textContent = `${count(points.length, "image")}${points.length < total ? ` of ${total.toLocaleString("en")}, evenly spread,` : ""} as dots, and ${count(centres.length, "centre")} as ringed dots. What is near here is near in fact; long distances mean nothing.`;
    this.names = centres.map((centre) => centre.name);
    this.focus = this.names.indexOf(this.chosen);
    this.dots = [
      ...points.map((p) => ({ ...p, image: true })),
      ...centres.map((c, row) => ({ ...c, class: row, image: false })),
    ];
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    say(`Map of ${count(points.length, "image")}`);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, [event.offsetX, event.offsetY]); }, { passive: false });
    const fingers = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, [event.offsetX, event.offsetY]); moved = 0; });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = [event.offsetX, event.offsetY];
      const before = fingers.get(event.pointerId);
      if (!before) return this.point(this.nearest(x, y, 14));
      const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      if (others.length) {
        const spread = (place) => Math.hypot(place[0] - others[0][0], place[1] - others[0][1]);
        this.zoom(spread([x, y]) / Math.max(spread(before), 1), others[0]);
      } else {
        this.offset = [this.offset[0] + x - before[0], this.offset[1] + y - before[1]];
      }
      moved += Math.hypot(x - before[0], y - before[1]);
      fingers.set(event.pointerId, [x, y]);
      this.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      fingers.delete(event.pointerId);
      const dot = this.nearest(event.offsetX, event.offsetY, 14);
      if (moved < 5 && dot) this.open(dot);
    });
    canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key === "Enter" && this.at) this.open(this.at);
    else if (event.key === "+") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key in steps) this.point(this.beside(steps[event.key]));
    else return;
    event.preventDefault();
  }

  // The nearest dot in a direction: far along counts once, far aside twice.
  beside([dx, dy]) {
    const [x, y] = this.at ? this.screen(this.at) : [this.frame.clientWidth / 2, this.frame.clientHeight / 2];
    const cost = (dot) => {
      const [u, v] = this.screen(dot);
      const along = (u - x) * dx + (v - y) * dy;
      return along > 0.5 ? along + 2 * Math.abs((u - x) * dy + (v - y) * dx) : Infinity;
    };
    const found = this.dots.filter((dot) => dot !== this.at).reduce((best, dot) => { const c = cost(dot); return c < best[0] ? [c, dot] : best; }, [Infinity, this.at]);
    return found[1];
  }

  nearest(x, y, most) {
    let best = null;
    for (const dot of this.dots) {
      const [u, v] = this.screen(dot);
      const away = Math.hypot(u - x, v - y) - (dot.image ? 0 : 4);
      if (away < most) { most = away; best = dot; }
    }
    return best;
  }

  open(dot) { this.go(link(dot.image ? { item: dot.id } : { class: dot.name })); }

  point(dot) {
    if (dot === this.at) return;
    this.at = dot;
    this.tip.hidden = !dot;
    if (dot) {
      const name = this.names[dot.class];
      this.tip.replaceChildren(...(dot.image ? [picture(dot.thumbnail), element("span", {}, name)] : [element("strong", {}, name), element("span", { className: "muted" }, "centre")]));
      say(dot.image ? `Image of ${name}` : `Centre of ${name}`);
    }
    this.draw();
  }

  zoom(factor, around = [this.frame.clientWidth / 2, this.frame.clientHeight / 2]) {
    const scale = Math.min(Math.max(this.scale * factor, 0.8), 60);
    this.offset = this.offset.map((o, axis) => around[axis] - (around[axis] - o) * (scale / this.scale));
    this.scale = scale;
    this.draw();
  }

  // Places are in [0, 1] both ways; the map keeps its shape and stands in the middle.
  screen({ x, y }) {
    const { clientWidth: width, clientHeight: height } = this.frame;
    const side = Math.min(width, height) - 60;
    const stretch = [Math.min(width - 60, 1.6 * side), side];
    return [x, y].map((value, axis) => ([width, height][axis] - stretch[axis]) / 2 * this.scale + value * stretch[axis] * this.scale + this.offset[axis]);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.frame;
    const pixels = devicePixelRatio;
    Object.assign(this.canvas, { width: width * pixels, height: height * pixels });
    const pen = this.canvas.getContext("2d");
    pen.scale(pixels, pixels);
    const style = getComputedStyle(this.canvas);
    const [text, halo] = [style.color, getComputedStyle(this.frame).backgroundColor];
    const light = matchMedia("(prefers-color-scheme: dark)").matches ? 0.76 : 0.6;
    const colour = (row) => `oklch(${light} 0.14 ${(row * 137.508) % 360})`;
    const dim = (row) => this.focus >= 0 && row !== this.focus;
    const visible = this.dots.map((dot) => [dot, ...this.screen(dot)]).filter(([, x, y]) => x > -20 && y > -20 && x < width + 20 && y < height + 20);
    // Smaller where many share little room.
    const room = Math.sqrt((width * height) / this.dots.length) / 7;
    const size = Math.min(Math.max(room * Math.sqrt(this.scale), 1.1), 5);
    const disc = (x, y, radius) => { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); };
    for (const [dot, x, y] of visible) {
      pen.globalAlpha = dim(dot.class) ? 0.12 : dot.image ? 0.75 : 1;
      pen.fillStyle = colour(dot.class);
      disc(x, y, dot.image ? size : 1.5 * size);
      pen.fill();
      if (!dot.image) { pen.strokeStyle = text; pen.lineWidth = size > 2 ? 1.4 : 0.8; pen.stroke(); }
    }
    pen.globalAlpha = 1;
    this.label(pen, visible.filter(([dot]) => !dot.image && !dim(dot.class)), { text, halo });
    if (this.at) this.mark(pen, ...this.screen(this.at), { text, width, height, disc });
  }

  // Names where there is room for them, those of the largest classes first.
  label(pen, centres, { text, halo }) {
    pen.font = "550 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineJoin = "round";
    const taken = [];
    for (const [dot, x, y] of centres.sort(([a], [b]) => b.num_images - a.num_images)) {
      const name = dot.name.length > 24 ? `${dot.name.slice(0, 23)}…` : dot.name;
      const half = pen.measureText(name).width / 2 + LABEL_GAP;
      const box = [x - half, y - 32, x + half, y + 4];
      if (taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) continue;
      taken.push(box);
      pen.strokeStyle = halo;
      pen.lineWidth = 4;
      pen.strokeText(name, x, y - 10);
      pen.fillStyle = text;
      pen.fillText(name, x, y - 10);
    }
  }

  mark(pen, x, y, { text, width, height, disc }) {
    pen.strokeStyle = text;
    pen.lineWidth = 2;
    disc(x, y, 9);
    pen.stroke();
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    this.tip.style.left = `${Math.min(Math.max(x + 16, 8), width - wide - 8)}px`;
    this.tip.style.top = `${Math.min(Math.max(y - high / 2, 8), height - high - 8)}px`;
  }
}

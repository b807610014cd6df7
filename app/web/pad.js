// The drawing pad: strokes of a pen and an eraser, or a picture, with undo and redo.

import { drawStroke, fitted } from "./strokes.js";

const SIDE = 280; // pixels of the drawing that is sent, and the size that canvases are mostly sent in
const ERASER_FACTOR = 2; // an eraser as narrow as the pen would leave a rim of ink
const newId = () => crypto.getRandomValues(new Uint32Array(1))[0];
const EMPTY = { id: null, picture: null, strokes: [] };

/**
 * Events: `draw` while a stroke grows, at most once a frame; `change` when a stroke ends, and after
 * undo and redo; `empty` when nothing is left to read.
 */
export class Pad extends EventTarget {
  penWidth = 0.06; // share of the pad's width
  isErasing = false;
  #state = EMPTY;
  #past = [];
  #future = [];
  #stroke = null;
  #pointer = null;
  #frame = 0;
  #screen;
  #sheet;

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.#screen = canvas.getContext("2d");
    // Read back with every answer, which is quick only where it is kept in memory.
    this.#sheet = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE })
      .getContext("2d", { willReadFrequently: true });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    new ResizeObserver(() => this.#resize()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.#redraw());
    }
    this.#resize();
  }

  get isEmpty() {
    return !this.#state.picture && this.strokes.every((stroke) => stroke.isEraser);
  }

  get isDrawing() {
    return this.#stroke !== null;
  }

  /** Names the drawing or picture, and stays the same while a drawing grows; null when empty. */
  get id() {
    return this.#state.id;
  }

  get picture() {
    return this.#state.picture;
  }

  get strokes() {
    return this.#stroke ? [...this.#state.strokes, this.#stroke] : this.#state.strokes;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** The drawing as a data URL of a PNG. At once: `toBlob` waits up to a second for an idle moment. */
  toDataURL() {
    return this.#sheet.canvas.toDataURL("image/png");
  }

  /** Put a picture, `{image, width, height, …}`, in place of what is there; undo brings that back. */
  show(picture, id = newId()) {
    this.#become({ id, picture, strokes: [] });
  }

  /** Put an earlier drawing in place of what is there, to be drawn on. */
  restore(strokes, id) {
    this.#become({ id, picture: null, strokes });
  }

  clear() {
    if (this.#state !== EMPTY || this.#stroke) this.#become(EMPTY);
    this.#emit("empty");
  }

  undo() {
    this.#travel(this.#past, this.#future);
  }

  redo() {
    this.#travel(this.#future, this.#past);
  }

  #travel(from, to) {
    if (this.#stroke || from.length === 0) return;
    to.push(this.#state);
    this.#state = from.pop();
    this.#redraw();
    this.#emit(this.isEmpty ? "empty" : "change");
  }

  #become(state) {
    this.#dropStroke();
    this.#past.push(this.#state);
    this.#future = [];
    this.#state = state;
    this.#redraw();
  }

  #dropStroke() {
    this.#stroke = null;
    this.#pointer = null;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  #down(event) {
    const isPenEraser = event.pointerType === "pen" && event.button === 5;
    if (this.#pointer !== null || !(event.button === 0 || isPenEraser)) return;
    this.#pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    const isEraser = this.isErasing || isPenEraser;
    if (this.#state.picture) this.#become(EMPTY); // a new drawing, not one on top of the picture
    this.#pointer = event.pointerId;
    const width = this.penWidth * (isEraser ? ERASER_FACTOR : 1);
    this.#stroke = { isEraser, width, points: [this.#point(event)] };
    this.#drawFrom(0);
    this.#announce();
  }

  #move(event) {
    if (event.pointerId !== this.#pointer || !this.#stroke) return;
    const { points } = this.#stroke;
    const known = points.length - 1;
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) points.push(this.#point(part));
    this.#drawFrom(known);
    this.#announce();
  }

  #up(event) {
    if (event.pointerId !== this.#pointer || !this.#stroke) return;
    const id = this.#state.id ?? newId();
    const state = { id, picture: null, strokes: this.strokes };
    this.#dropStroke();
    this.#past.push(this.#state);
    this.#future = [];
    this.#state = state;
    this.#redraw(); // as one line: where its parts met, its rim was drawn twice
    this.#emit(this.isEmpty ? "empty" : "change");
  }

  #point(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const rounded = (share) => Math.round(share * 1e4) / 1e4;
    return [rounded((event.clientX - left) / width), rounded((event.clientY - top) / height)];
  }

  #drawFrom(index) {
    const { paper, ink } = this.#colours();
    const style = this.#stroke.isEraser ? paper : ink;
    for (const context of [this.#screen, this.#sheet]) drawStroke(context, this.#stroke, style, index);
  }

  #announce() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#stroke && !this.isEmpty) this.#emit("draw");
    });
  }

  #emit(name) {
    this.dispatchEvent(new Event(name));
  }

  #colours() {
    const style = getComputedStyle(this.canvas);
    return { paper: style.getPropertyValue("--paper"), ink: style.getPropertyValue("--ink") };
  }

  #resize() {
    const side = Math.max(1, Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 3)));
    if (this.#screen.canvas.width !== side) Object.assign(this.#screen.canvas, { width: side, height: side });
    this.#redraw();
  }

  #redraw() {
    const { paper, ink } = this.#colours();
    for (const context of [this.#screen, this.#sheet]) {
      const side = context.canvas.width;
      context.fillStyle = paper;
      context.fillRect(0, 0, side, side);
      const { picture } = this.#state;
      if (picture?.image) {
        const box = fitted(picture);
        context.imageSmoothingEnabled = picture.width > 64; // small ones are shown as the pixels they are
        context.drawImage(picture.image, box.left * side, box.top * side, box.width * side, box.height * side);
      }
      for (const stroke of this.strokes) drawStroke(context, stroke, stroke.isEraser ? paper : ink);
    }
  }
}

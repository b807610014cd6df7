// Pictures to try, drawn by code: each kind of input that people send, and two that hold no digit.

import { drawStroke } from "./strokes.js";

const SIDE = 320;

/** Part of an ellipse about (x, y); degrees are clockwise from the right. */
function arc(x, y, width, height, from, to) {
  return Array.from({ length: 33 }, (_, step) => {
    const angle = ((from + ((to - from) * step) / 32) * Math.PI) / 180;
    return [x + width * Math.cos(angle), y + height * Math.sin(angle)];
  });
}

// In a unit square, y downwards.
const SHAPES = {
  2: [[...arc(0.48, 0.31, 0.23, 0.2, -165, 35), [0.25, 0.86], [0.53, 0.84], [0.78, 0.87]]],
  3: [[...arc(0.45, 0.29, 0.22, 0.19, -160, 80), ...arc(0.45, 0.69, 0.27, 0.23, -80, 155)]],
  4: [[[0.42, 0.12], [0.24, 0.58], [0.78, 0.56]], [[0.62, 0.34], [0.58, 0.9]]],
  5: [[[0.72, 0.12], [0.36, 0.13], [0.31, 0.46], ...arc(0.45, 0.66, 0.26, 0.22, -120, 150)]],
  7: [[[0.2, 0.16], [0.5, 0.13], [0.78, 0.14], [0.6, 0.45], [0.42, 0.92]]],
  K: [[[0.28, 0.12], [0.29, 0.9]], [[0.74, 0.13], [0.3, 0.54], [0.76, 0.9]]],
};

/** Numbers in [0, 1) that are the same on every machine (mulberry32). */
function randomness(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Write a shape into the square of `size` at (left, top), all shares of the side. */
function write(context, shape, { left, top, size, width, style }) {
  for (const points of SHAPES[shape]) {
    const placed = points.map(([x, y]) => [left + x * size, top + y * size]);
    drawStroke(context, { width, points: placed }, style);
  }
}

function ground(context, style) {
  context.fillStyle = style;
  context.fillRect(0, 0, SIDE, SIDE);
}

function grain(context, amount, seed) {
  const random = randomness(seed);
  const pixels = context.getImageData(0, 0, SIDE, SIDE);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const noise = (random() + random() - 1) * amount;
    for (let channel = 0; channel < 3; channel += 1) pixels.data[at + channel] += noise;
  }
  context.putImageData(pixels, 0, 0);
}

function shade(context, ...stops) {
  const light = context.createLinearGradient(0, 0, SIDE, SIDE);
  stops.forEach((stop, index) => light.addColorStop(index / (stops.length - 1), stop));
  context.fillStyle = light;
  context.fillRect(0, 0, SIDE, SIDE);
}

function photo(context) {
  ground(context, "#ece4d2");
  context.translate(SIDE / 2, SIDE / 2);
  context.rotate(0.09);
  context.translate(-SIDE / 2, -SIDE / 2);
  write(context, 7, { left: 0.32, top: 0.28, size: 0.4, width: 0.018, style: "#28407e" });
  context.resetTransform();
  shade(context, "rgb(255 250 235 / 0)", "rgb(60 40 20 / 0.14)", "rgb(40 25 10 / 0.42)");
  grain(context, 22, 7);
}

function formBox(context) {
  ground(context, "#fdfdfb");
  context.strokeStyle = "#3b3b3b";
  context.lineWidth = 4;
  context.strokeRect(SIDE * 0.16, SIDE * 0.12, SIDE * 0.68, SIDE * 0.76);
  write(context, 4, { left: 0.26, top: 0.22, size: 0.5, width: 0.03, style: "#1b2f7d" });
}

function chalkboard(context) {
  ground(context, "#2d4a3e");
  shade(context, "rgb(255 255 255 / 0.08)", "rgb(0 0 0 / 0)", "rgb(255 255 255 / 0.05)");
  write(context, 3, { left: 0.2, top: 0.16, size: 0.62, width: 0.05, style: "#e9ebe4" });
  grain(context, 34, 3);
}

function whiteOnBlack(context) {
  ground(context, "#000");
  write(context, 5, { left: 0.16, top: 0.13, size: 0.7, width: 0.08, style: "#fff" });
}

function scan(context) {
  ground(context, "#fff");
  write(context, 2, { left: 0.24, top: 0.22, size: 0.5, width: 0.03, style: "#4a4a4a" });
  grain(context, 60, 2);
  const pixels = context.getImageData(0, 0, SIDE, SIDE); // a scanner in black and white
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at] < 140 ? 20 : 255, at, at + 3);
  }
  context.putImageData(pixels, 0, 0);
}

function letter(context) {
  ground(context, "#f6f3ea");
  write(context, "K", { left: 0.2, top: 0.18, size: 0.62, width: 0.045, style: "#222" });
}

function blank(context) {
  ground(context, "#efeae0");
  shade(context, "rgb(255 255 255 / 0.2)", "rgb(60 40 20 / 0.12)");
  grain(context, 10, 1);
}

const EXAMPLES = [
  { title: "Photo", name: "photo.jpg", paint: photo },
  { title: "Form box", name: "form-box.jpg", paint: formBox },
  { title: "Chalkboard", name: "chalkboard.jpg", paint: chalkboard },
  { title: "White on black", name: "white-on-black.png", paint: whiteOnBlack },
  { title: "Scan", name: "scan.png", paint: scan },
  { title: "Letter", name: "letter.jpg", paint: letter },
  { title: "Blank", name: "blank.jpg", paint: blank },
];

/** The examples as `{title, picture, dataUrl}`. */
export function drawnExamples() {
  return EXAMPLES.map(({ title, name, paint }) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
    paint(canvas.getContext("2d", { willReadFrequently: true }));
    const type = name.endsWith("png") ? "image/png" : "image/jpeg";
    const picture = { name, image: canvas, width: SIDE, height: SIDE };
    return { title, picture, dataUrl: canvas.toDataURL(type, 0.85) };
  });
}

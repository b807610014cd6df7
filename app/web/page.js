// The page: what is drawn or opened is read, shown, listed, and written as a request.

import { AnswerView } from "./answer.js";
import { Problem, correct, isNumber, readNumber } from "./api.js";
import { drawnExamples } from "./examples.js";
import { History } from "./history.js";
import { Pad } from "./pad.js";
import { inputOf, openFile, openKept, shrunk, thumbnail } from "./pictures.js";
import { Pause, Reader, patiently } from "./reader.js";
import { Snippets } from "./snippets.js";
import { load, save } from "./storage.js";
import { fitted } from "./strokes.js";

const at = (id) => document.getElementById(id);
const MAY_BE_SEVERAL = ["several_digits", "not_a_digit"];
const DRAWING = { name: "drawing.png", width: 280, height: 280 };

const pad = new Pad(at("pad"));
const view = new AnswerView();
const pauses = [new Pause(), new Pause()];
const reader = new Reader({ show: showAnswer, fail, wait }, pauses[0]);
const history = new History(at("history"), at("past-hint"), openEntry);
const snippets = new Snippets({
  tabs: at("tabs"), panel: at("snippet"), text: at("snippet-text"), copy: at("copy"), copied: at("copied"),
});

let files = new AbortController(); // of the files that are being read
let unread = []; // files that wait for a key
let shown = null; // {input, answer} of what is on the pad
let toCorrect = null; // the digit, {id?, place?}, that a correction is of
let wholeId; // of the number, where there is one

// What is on the pad

const inputOnPad = () => pad.picture?.input ?? inputOf(DRAWING.name, pad.toDataURL());

pad.addEventListener("draw", () => read(false));
pad.addEventListener("change", () => read(true));
pad.addEventListener("empty", forget);

function read(isFinished) {
  view.stale();
  frame(null);
  refresh();
  reader.read(inputOnPad, isFinished);
}

function forget() {
  reader.cancel();
  shown = null;
  view.empty();
  frame(null);
  refresh();
}

function showAnswer(input, answer, isFinished) {
  const picture = pad.picture ?? DRAWING;
  shown = { input, answer };
  view.show(answer.prediction, picture, isFinished);
  at("model").textContent = answer.model ? `Model ${answer.model.name}, version ${answer.model.version}` : "";
  frame(answer.prediction.seen?.box, picture);
  refresh();
  if (!isFinished) return;
  const entry = entryOf({ prediction: answer.prediction, model: answer.model });
  history.add(entry);
  write(input);
  if (MAY_BE_SEVERAL.includes(answer.prediction.rejected)) readSeveral(input, picture, entry);
}

async function readSeveral(input, picture, entry) {
  const number = await readNumber(input);
  if (!number || shown?.input !== input) return; // something newer is on the pad
  history.add({ ...entry, number });
  showReading(input, number, picture);
}

/** Show a number; of one that was rejected, offer the correction beside what is on the screen. */
function showReading(input, number, picture) {
  if (isNumber(number)) showNumber(input, number, picture);
  else offerWhole(number);
}

function showNumber(input, number, picture) {
  frame(null);
  at("number").value = "";
  const parts = number.digits.map(({ box }) => partOf(box, picture));
  if (picture.image !== null) at("parts").replaceChildren(...parts);
  view.showNumber(number, (place) => {
    parts.forEach((part, index) => part.classList.toggle("chosen", index === place));
    correctable({ ...number.digits[place], place });
    offerWhole(number);
  });
  write(input, "read");
}

/** Have corrections be those of a digit: of the only one, or of that at a place in a number. */
function correctable(digit) {
  toCorrect = digit;
  at("wrong").textContent = digit?.place === undefined ? "Wrong? It was a …" : `Wrong? Digit ${digit.place + 1} was a …`;
  at("thanks").textContent = "";
  at("whole").hidden = true;
}

/** Take a number's digits from the keyboard, too: cut into too many or too few, none of them is right. */
function offerWhole({ id, text, digits }) {
  if (!id && toCorrect.id) return; // corrections are taken, but none of a picture without ink
  wholeId = id;
  at("whole").hidden = false;
  at("number").placeholder = digits?.length > 1 ? text : "";
}

function partOf(box, picture) {
  const part = document.createElement("i");
  Object.assign(part.style, placeOf(box, picture));
  return part;
}

function fail(input, problem) {
  shown = null;
  view.fail(problem);
  frame(null);
  refresh();
  if (input) write(input);
}

function wait(problem, secondsLeft) {
  view.wait(problem, secondsLeft);
  frame(null);
}

/** Lay the box of the ink, in pixels of the picture, over the pad. */
function frame(box, { image, width, height } = DRAWING) {
  const isSeen = Boolean(box) && image !== null; // null where the browser can't show the picture
  at("frame").hidden = !isSeen;
  at("parts").replaceChildren();
  if (isSeen) Object.assign(at("frame").style, placeOf(box, { width, height }));
}

/** Place of a box, in pixels of the picture, on the pad. */
function placeOf([left, top, right, bottom], { width, height }) {
  const place = fitted({ width, height });
  const percent = (share) => `${100 * share}%`;
  return {
    left: percent(place.left + (left / width) * place.width),
    top: percent(place.top + (top / height) * place.height),
    width: percent(((right - left) / width) * place.width),
    height: percent(((bottom - top) / height) * place.height),
  };
}

/** Bring what depends on the pad's state up to date. */
function refresh() {
  const { picture } = pad;
  const isEmpty = pad.isEmpty && !pad.isDrawing;
  const content = picture ? `showing ${picture.name}` : isEmpty ? "empty" : "with a drawing";
  at("pad").setAttribute("aria-label", `Drawing pad, ${content}`);
  at("hint").hidden = !isEmpty;
  at("unshown").hidden = !picture || picture.image !== null;
  at("unshown").textContent = picture ? `The browser can't show ${picture.name}.` : "";
  at("undo").disabled = !pad.canUndo;
  at("redo").disabled = !pad.canRedo;
  at("correction").disabled = shown === null;
  correctable(shown?.answer.prediction);
}

/** Write the request for `input`, and offer a picture that has no file of its own to be saved. */
function write(input, path = "predict") {
  snippets.show(input, Boolean(load("key")), path);
  const link = at("save");
  link.hidden = !input.dataUrl;
  if (input.dataUrl) Object.assign(link, { href: input.dataUrl, download: input.name });
}

// Tools

for (const radio of document.getElementsByName("width")) {
  radio.addEventListener("change", () => { pad.penWidth = Number(radio.value); });
  if (radio.checked) pad.penWidth = Number(radio.value);
}

at("eraser").addEventListener("click", () => {
  pad.isErasing = !pad.isErasing;
  at("eraser").setAttribute("aria-pressed", String(pad.isErasing));
  at("sheet").classList.toggle("erasing", pad.isErasing);
});

function clear() {
  files.abort();
  if (pad.isErasing) at("eraser").click();
  pad.clear();
}

at("clear").addEventListener("click", clear);
at("undo").addEventListener("click", () => pad.undo());
at("redo").addEventListener("click", () => pad.redo());

addEventListener("keydown", (event) => {
  if (event.target.matches?.("#key, #number")) return;
  const hasCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
  const key = event.key.toLowerCase();
  if (key === "escape") clear();
  else if (hasCommand && key === "z") event.shiftKey ? pad.redo() : pad.undo();
  else if (hasCommand && key === "y") pad.redo();
  else return;
  event.preventDefault();
});

// Files

async function openFiles(list) {
  const chosen = [...list];
  if (chosen.length === 0) return;
  reader.cancel();
  files.abort();
  files = new AbortController();
  at("refused").replaceChildren();
  const { signal } = files;
  for (const [index, file] of chosen.entries()) {
    const isRead = await readFile(file, signal, chosen.length > 1);
    if (signal.aborted) return;
    if (!isRead) {
      unread = chosen.slice(index);
      return;
    }
  }
}

/** Read one file of the list; false where a key is wanted first. */
async function readFile(file, signal, isOneOfMany) {
  const { input, picture, isReadable } = await openFile(file);
  if (signal.aborted) return true;
  const shownPicture = { ...(picture ?? { name: input.name, image: null, width: 1, height: 1 }), input };
  pad.show(shownPicture);
  view.stale();
  frame(null);
  refresh();
  const { id } = pad;
  const isOnPad = () => pad.id === id; // drawing goes on while files are read
  try {
    if (!isReadable) throw unreadable(input.name);
    const answer = await patiently(input, signal, pauses[1], (problem, left) => isOnPad() && wait(problem, left));
    if (isOnPad()) showAnswer(input, answer, true);
    else history.add(entryOf({ id, picture: shownPicture, prediction: answer.prediction, model: answer.model }));
  } catch (problem) {
    if (signal.aborted) return true;
    if (!(problem instanceof Problem)) throw problem;
    if (isOnPad()) fail(input, problem);
    if (problem.status === 401 || problem.status === 403) return false;
    const { title, detail } = problem;
    history.add(entryOf({ id, picture: shownPicture, problem: { title, detail } }));
    if (isOneOfMany) refuse(`${input.name}: ${title}. ${detail}`);
  }
  return true;
}

const unreadable = (name) => new Problem({
  title: "This can't be opened",
  detail: `${name} is a folder, or was moved or changed. Choose the picture files themselves.`,
  status: 415,
});

function refuse(sentence) {
  at("refused").append(Object.assign(document.createElement("li"), { textContent: sentence }));
}

for (const picker of [at("file"), at("camera")]) {
  picker.addEventListener("change", async () => {
    const chosen = [...picker.files];
    picker.value = ""; // else the same file, chosen again, would be no change
    await openFiles(chosen);
  });
}

addEventListener("paste", (event) => {
  if (event.target.matches?.("#key, #number")) return;
  take(event.clipboardData, "There is no picture on the clipboard", "Copy a picture, or open the file.");
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("sheet").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("sheet").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  at("sheet").classList.remove("over");
  take(event.dataTransfer, "That is no file", "Save the picture first, then drop the file here.");
});

function take(transfer, title, detail) {
  if (transfer.files.length > 0) openFiles(transfer.files);
  else fail(null, new Problem({ title, detail, status: 415 }));
}

// What was there before

function entryOf({ id = pad.id, picture = pad.picture, prediction, model, problem }) {
  const kept = { id, name: picture?.name ?? "Drawing", prediction, model, problem };
  if (!picture) {
    const drawing = { ...DRAWING, image: at("pad") };
    return { ...kept, strokes: pad.strokes, thumb: thumbnail(drawing) };
  }
  const { width, height } = picture;
  return { ...kept, width, height, shown: shrunk(picture), thumb: thumbnail(picture) };
}

async function openEntry(entry) {
  reader.cancel();
  files.abort();
  if (entry.strokes) {
    pad.restore(entry.strokes, entry.id);
  } else {
    const picture = await openKept(entry);
    picture.input = entry.shown ? inputOf(entry.name, entry.shown) : { name: entry.name, type: "application/octet-stream", body: "" };
    pad.show(picture, entry.id);
  }
  if (entry.problem) {
    fail(null, new Problem({ ...entry.problem, status: 415 }));
  } else {
    const { prediction, model } = entry;
    const input = inputOnPad();
    shown = { input, answer: { prediction, model } };
    view.show(prediction, pad.picture ?? DRAWING, true);
    frame(prediction.seen?.box, pad.picture ?? DRAWING);
    write(input);
  }
  refresh();
  if (entry.number) showReading(inputOnPad(), entry.number, pad.picture ?? DRAWING);
  reveal();
}

/** Scroll to the answer where it is out of sight, as below the lists on a phone. */
function reveal() {
  at("answer").scrollIntoView({ block: "nearest" });
}

for (const { title, picture, dataUrl } of drawnExamples()) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "card" });
  const image = Object.assign(document.createElement("img"), { src: dataUrl, alt: "" });
  button.append(image, Object.assign(document.createElement("span"), { textContent: title }));
  button.addEventListener("click", () => {
    files.abort();
    pad.show({ ...picture, input: inputOf(picture.name, dataUrl) });
    read(true);
    reveal();
  });
  at("examples").append(document.createElement("li"));
  at("examples").lastChild.append(button);
}

// What goes wrong

function again() {
  if (pauses.some((pause) => pause.isOn)) pauses.forEach((pause) => pause.end());
  else if (unread.length > 0) openFiles(unread.splice(0));
  else if (!pad.isEmpty) read(true);
}

at("retry").addEventListener("click", again);
at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  save("key", at("key").value.trim());
  again();
});

for (const label of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, null]) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: label ?? "no digit" });
  button.addEventListener("click", () => {
    const { id, place } = toCorrect;
    const which = place === undefined ? "" : `digit ${place + 1} is `;
    sendCorrection(id, { label }, `${which}${label ?? "no digit"}`);
  });
  at("labels").append(button);
}

at("whole").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("number").value;
  sendCorrection(wholeId, { text }, text);
});

async function sendCorrection(id, shows, words) {
  const thanks = at("thanks");
  if (!id) { // where feedback is on, every answer has one
    thanks.textContent = "This server takes no corrections: its operator has to switch feedback on, by DIGITS_FEEDBACK_DIR.";
    return;
  }
  thanks.textContent = "Sending…";
  try {
    await correct(id, shows);
    thanks.textContent = `Thank you, noted: ${words}.`;
  } catch (problem) {
    thanks.textContent = `Not sent. ${problem.message}. ${problem.detail}`;
  }
}

refresh();

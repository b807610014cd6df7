// Draw or open a picture, send it to /predict as any client would, and show the whole answer.

const at = (id) => document.getElementById(id);
const pad = at("pad");
const pen = pad.getContext("2d");
const PEN_WIDTH = 34;
const PAUSE_MS = 250; // a digit may take several strokes; the answer follows the pen, not each dot

const VERDICTS = {
  blank: "There is nothing to read.",
  not_a_digit: "This does not look like a digit.",
  uncertain: "Perhaps, but not sure enough to be used.",
};
const WARNINGS = {
  "frame-removed": "a frame was taken away",
  "touches-edge": "the ink touches the edge",
  "low-contrast": "there is little contrast",
};

let latest = 0;
let pause;
let refused; // the picture that a key was missing for

const bars = Array.from({ length: 10 }, (_, digit) => {
  const row = document.createElement("li");
  const meter = document.createElement("meter");
  meter.setAttribute("aria-label", `Probability of ${digit}`);
  const figure = document.createElement("span");
  row.append(String(digit), meter, figure);
  at("bars").append(row);
  return { row, meter, figure };
});

function clear() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, pad.width, pad.height);
  latest += 1;
  clearTimeout(pause);
  show({ label: null, probabilities: Array(10).fill(0), rejected: null }, "Draw something on the left.");
}

function point(event) {
  const box = pad.getBoundingClientRect();
  const scale = pad.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  clearTimeout(pause);
  Object.assign(pen, { lineWidth: PEN_WIDTH, lineCap: "round", lineJoin: "round", strokeStyle: "#111" });
  pen.beginPath();
  pen.moveTo(...point(event));
  pen.lineTo(...point(event));
  pen.stroke();
});

pad.addEventListener("pointermove", (event) => {
  if (!pad.hasPointerCapture(event.pointerId)) return;
  for (const part of event.getCoalescedEvents?.() ?? [event]) pen.lineTo(...point(part));
  pen.stroke();
});

pad.addEventListener("pointerup", () => {
  pause = setTimeout(() => pad.toBlob(read, "image/png"), PAUSE_MS);
});

async function open(file) {
  if (!file?.type.startsWith("image/")) return;
  read(file);
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(pad.width / picture.width, pad.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, pad.width, pad.height);
    pen.drawImage(picture, (pad.width - width) / 2, (pad.height - height) / 2, width, height);
  } catch {
    // The browser can't show it; what the service says of it is shown all the same.
  }
}

async function read(picture) {
  const mine = ++latest;
  const form = new FormData();
  form.append("file", picture, "drawing.png");
  let response, answer;
  try {
    const key = sessionStorage.getItem("key"); // forgotten with the tab
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    response = await fetch("predict?include=seen", { method: "POST", body: form, headers });
    answer = await response.json();
  } catch {
    if (mine === latest) fail("The service does not answer.");
    return;
  }
  if (mine !== latest) return; // a newer drawing is on its way
  at("door").hidden = response.status !== 401 && response.status !== 403;
  if (!response.ok) {
    refused = picture;
    fail(`${answer.title}: ${answer.detail}`);
    return;
  }
  at("model").textContent = `model ${answer.model.name}, version ${answer.model.version}`;
  const prediction = answer.predictions[0];
  const sure = `${(100 * prediction.confidence).toFixed(1)} % sure`;
  show(prediction, VERDICTS[prediction.rejected] ?? sure);
}

function fail(message) {
  show({ label: null, probabilities: Array(10).fill(0), rejected: "failed" }, message);
}

function show(prediction, verdict) {
  at("label").textContent = prediction.label ?? "–";
  at("verdict").textContent = verdict;
  at("answer").classList.toggle("doubt", prediction.rejected !== null);
  prediction.probabilities.forEach((probability, digit) => {
    const { row, meter, figure } = bars[digit];
    meter.value = probability;
    figure.textContent = `${(100 * probability).toFixed(1)} %`;
    row.classList.toggle("best", digit === prediction.label);
  });
  const seen = prediction.seen;
  at("seen").hidden = !seen?.box;
  at("why").textContent = "";
  if (!seen?.box) return;
  at("seen").src = seen.image;
  at("seen").alt = "The 28 by 28 pixels that the model saw";
  const done = ["found, cut out, brought to 20 pixels and centred"];
  if (seen.inverted) done.unshift("turned to white on black");
  done.push(...seen.warnings.map((slug) => WARNINGS[slug] ?? slug.replaceAll("-", " ")));
  at("why").textContent = `What the model saw: ${done.join("; ")}.`;
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value);
  read(refused);
});

at("clear").addEventListener("click", clear);
at("file").addEventListener("change", (event) => open(event.target.files[0]));
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
addEventListener("dragover", (event) => { event.preventDefault(); pad.classList.add("over"); });
addEventListener("dragleave", () => pad.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  pad.classList.remove("over");
  open(event.dataTransfer.files[0]);
});

at("curl").textContent = `curl -F file=@seven.png ${new URL("predict", location.href)}`;
clear();

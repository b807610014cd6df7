// The request for a picture, to be copied: as a shell command, as Python and as JavaScript.

import { address } from "./api.js";

const ANSWERS = { predict: "predictions", read: "numbers" }; // by path, where the answer has them
const LONGEST_INLINE = 60_000; // characters; longer pictures are named by their file

/** `whole` is to be copied and runs as it is; `short`, to be shown, leaves out most of the picture. */
function snippet(write, { name, type, dataUrl }, hasKey, path) {
  const base64 = dataUrl && dataUrl.length <= LONGEST_INLINE ? dataUrl.slice(dataUrl.indexOf(",") + 1) : null;
  const request = { url: address(path), path, name, type, hasKey };
  const short = base64 && `${base64.slice(0, 24)}…${base64.length - 36} more characters…${base64.slice(-12)}`;
  return { whole: write({ ...request, base64 }), short: write({ ...request, base64: short }) };
}

const inShell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl({ url, name, base64, hasKey }) {
  const key = hasKey ? ` \\\n  -H "Authorization: Bearer $DIGITS_API_KEY"` : "";
  const quoted = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  if (!base64) return `curl -F ${inShell(`file=@"${quoted}"`)}${key} \\\n  ${inShell(url)}`;
  return `echo ${base64} |\n  base64 -d |\n  curl -F ${inShell(`file=@-;filename="${quoted}"`)}${key} \\\n  ${inShell(url)}`;
}

function python({ url, path, name, type, base64, hasKey }) {
  const headers = [`"Content-Type": ${JSON.stringify(type)}`];
  if (hasKey) headers.push(`"Authorization": "Bearer " + os.environ["DIGITS_API_KEY"]`);
  const picture = base64 ? `base64.b64decode(${JSON.stringify(base64)})` : `open(${JSON.stringify(name)}, "rb").read()`;
  const imports = [base64 && "base64", "json", hasKey && "os", "urllib.request"].filter(Boolean);
  return [
    `import ${imports.join(", ")}`,
    "",
    `picture = ${picture}`,
    "request = urllib.request.Request(",
    `    ${JSON.stringify(url)}, picture, {${headers.join(", ")}}`,
    ")",
    "with urllib.request.urlopen(request) as response:",
    `    print(json.load(response)["${ANSWERS[path]}"][0])`,
  ].join("\n");
}

function javascript({ url, path, name, type, base64, hasKey }) {
  const headers = [`"Content-Type": ${JSON.stringify(type)}`];
  if (hasKey) headers.push('Authorization: `Bearer ${process.env.DIGITS_API_KEY}`');
  const picture = base64
    ? `Uint8Array.from(atob(${JSON.stringify(base64)}), (c) => c.charCodeAt(0))`
    : `await (await import("node:fs/promises")).readFile(${JSON.stringify(name)})`;
  return [
    `const picture = ${picture};`,
    `const response = await fetch(${JSON.stringify(url)}, {`,
    '  method: "POST",',
    `  headers: { ${headers.join(", ")} },`,
    "  body: picture,",
    "});",
    `console.log((await response.json()).${ANSWERS[path]}[0]);`,
  ].join("\n");
}

const LANGUAGES = [["curl", curl], ["Python", python], ["JavaScript", javascript]];

/** Tabs of the languages, the text for the chosen one, and a button that copies all of it. */
export class Snippets {
  #input = { name: "seven.png", type: "image/png" };
  #hasKey = false;
  #path = "predict";
  #chosen = 0;
  #tabs;

  constructor({ tabs, panel, text, copy, copied }) {
    Object.assign(this, { panel, text, copied });
    this.#tabs = LANGUAGES.map(([name], index) => {
      const tab = document.createElement("button");
      Object.assign(tab, { type: "button", id: `tab-${index}`, textContent: name });
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      tab.addEventListener("click", () => this.#choose(index));
      return tab;
    });
    tabs.append(...this.#tabs);
    tabs.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      this.#choose((this.#chosen + step + LANGUAGES.length) % LANGUAGES.length);
      this.#tabs[this.#chosen].focus();
    });
    copy.addEventListener("click", () => this.#copy());
    this.#choose(0);
  }

  /** Write the request for `input`, `{name, type, dataUrl?}`, to `path`. */
  show(input, hasKey, path) {
    this.#input = input;
    this.#path = path;
    this.#hasKey = hasKey;
    this.#render();
  }

  #choose(index) {
    this.#chosen = index;
    this.#tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
    });
    this.panel.setAttribute("aria-labelledby", this.#tabs[index].id);
    this.#render();
  }

  get #snippet() {
    return snippet(LANGUAGES[this.#chosen][1], this.#input, this.#hasKey, this.#path);
  }

  #render() {
    this.text.textContent = this.#snippet.short;
    this.copied.textContent = "";
  }

  async #copy() {
    const { whole } = this.#snippet;
    const isCopied = await copyText(whole);
    if (!isCopied) this.text.textContent = whole; // to be selected and copied by hand
    this.copied.textContent = isCopied ? "Copied, with the whole picture in it where it is short." : "The browser does not let the page copy: select the text.";
  }
}

/** Whether `text` is on the clipboard; over plain HTTP only the older way is there. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

// What is kept for as long as the tab is: sessionStorage, or memory where the browser refuses it.

const memory = new Map();

export function load(name) {
  try {
    return JSON.parse(sessionStorage.getItem(`digits.${name}`)) ?? memory.get(name) ?? null;
  } catch {
    return memory.get(name) ?? null;
  }
}

export function save(name, value) {
  memory.set(name, value);
  try {
    sessionStorage.setItem(`digits.${name}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the value lasts until the page is left.
  }
}

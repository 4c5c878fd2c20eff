// What every page needs: questions to the app, and a line that says what happened.

const token = document.querySelector("meta[name=write-token]").content;
const line = document.querySelector("#said");
let fading, listening = new AbortController();

export function say(text, error = false) {
  clearTimeout(fading);
  listening.abort();
  line.textContent = text;
  line.classList.toggle("error", error);
  const clear = () => line.textContent = "";
  if (!error) fading = setTimeout(clear, 20_000);
  // Its text can be selected: only a click elsewhere clears it. Capturing does so before the click's own message is said.
  listening = new AbortController();
  addEventListener("click", event => line.contains(event.target) || clear(), {capture: true, signal: listening.signal});
}

export async function ask(method, address, body) {
  const headers = method === "GET" ? {} : {"x-wordmint": token};
  if (body !== undefined && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address, {method, headers, body});
  } catch {
    throw new Error("the app does not answer; is `wordmint ui` still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error || `the app answered ${answer.status}`);
  return content;
}

// Runs what a button does and shows its error. The button is inert meanwhile but not `disabled`, which would take the focus from it.
export async function doing(button, work) {
  if (button?.ariaDisabled === "true") return;
  if (button) button.ariaDisabled = "true";
  try {
    return await work();
  } catch (error) {
    say(error.message, true);
  } finally {
    if (button) button.ariaDisabled = null;
  }
}

// Follows server-sent events while the page is seen, for a browser has six connections to an app; it connects again by itself after an interruption.
export function follow(address, show) {
  let source = null;
  const close = () => {
    source?.close();
    source = null;
  };
  const fit = () => {
    if (document.hidden) close();
    else if (!source) {
      source = new EventSource(address);
      source.onmessage = event => show(JSON.parse(event.data));
    }
  };
  document.addEventListener("visibilitychange", fit);
  addEventListener("pagehide", close);
  addEventListener("pageshow", fit); // Back brings a page as it was left
  fit();
}

// Puts an element in the place of an old one. If a control in the old one had the focus, the same one in the new has it then, or else its first.
export function swap(old, made) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null, does = control => control.href ?? control.textContent;
  old.replaceWith(made);
  if (!focused) return;
  const controls = [...made.querySelectorAll("a, button")];
  (controls.find(control => does(control) === does(focused)) ?? controls.find(control => control.matches("button")) ?? controls[0])?.focus({preventScroll: true});
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list" && key !== "form") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

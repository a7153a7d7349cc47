// The page: the URL says what is shown, and everything else follows from it.
import { Classes } from "./classes.js";
import { Atlas } from "./map.js";
import { ask, element, link, say } from "./page.js";
import { bones, results } from "./results.js";

const main = document.getElementById("main");
const aside = document.getElementById("classes");
const toggle = document.getElementById("toggle");
const text = document.getElementById("text");
const classes = new Classes(aside, (parameters) => go(link(parameters)));
let turn = 0;

function go(url) {
  history.replaceState({ top: scrollY }, "");
  history.pushState(null, "", url);
  open(false);
  show({ moveFocus: true });
}

async function show({ moveFocus = false, top = 0 } = {}) {
  const mine = ++turn;
  const parameters = new URLSearchParams(location.search);
  const onMap = parameters.get("view") === "map";
  text.value = parameters.get("text") ?? "";
  document.getElementById("to-map").setAttribute("aria-current", onMap ? "page" : "false");
  classes.show();
  main.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => main.replaceChildren(bones()), 200);
  let found;
  try {
    found = onMap ? new Atlas(parameters.get("class"), go).view() : await results(parameters, { remove });
  } catch (error) {
    found = { parts: [problem(error)], title: "That did not work", said: error.message };
  }
  clearTimeout(slow);
  if (mine !== turn) return;
  main.replaceChildren(...found.parts);
  main.setAttribute("aria-busy", "false");
  document.title = `${found.title} · semcentres`;
  say(found.said);
  if (moveFocus) main.querySelector("h1")?.focus({ preventScroll: true });
  scrollTo(0, top);
}

function problem(error) {
  return element("div", { className: "notice bad" },
    element("h1", { tabIndex: -1 }, "That did not work"), element("p", {}, error.message),
    element("p", {}, element("a", { className: "link", href: "/" }, "Back to the start")));
}

async function remove(name) {
  try {
    await ask("/api/classes", { name }, { method: "DELETE" });
    await classes.load();
    go("/");
  } catch (error) {
    fail(error);
  }
}

async function upload(file) {
  say("Reading the image");
  try {
    const made = await ask("/api/uploads", {}, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    go(link({ upload: made.id }));
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  ++turn;
  main.replaceChildren(problem(error));
  say(error.message);
}

function open(wanted) {
  aside.classList.toggle("open", wanted);
  toggle.setAttribute("aria-expanded", String(wanted));
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  go(text.value.trim() ? link({ text: text.value.trim() }) : "/");
});
document.getElementById("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(event.target.files[0]);
  event.target.value = "";
});
document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a");
  const ours = anchor && (anchor.getAttribute("href") === "/" || anchor.getAttribute("href").startsWith("?"));
  if (!ours || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(anchor.href);
});
toggle.addEventListener("click", () => open(!aside.classList.contains("open")));
addEventListener("popstate", (event) => show({ top: event.state?.top }));

const drop = document.getElementById("drop");
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.hidden = ![...event.dataTransfer.items].some((item) => item.kind === "file");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.hidden = true;
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
});

history.scrollRestoration = "manual";
classes.load().catch((error) => say(error.message));
show();

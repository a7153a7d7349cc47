// A search's answer: what was asked, and a grid of images.
import { ask, count, element, link, number, picture } from "./page.js";

export async function results(parameters, { remove }) {
  const k = Number(parameters.get("k")) || 48;
  const answer = await ask("/api/search", { ...Object.fromEntries(parameters), k });
  const parts = [heading(answer, remove)];
  if (answer.hits.length) {
    parts.push(element("ul", { className: "grid" }, ...answer.hits.map((hit) => card(hit))));
  } else {
    parts.push(element("p", { className: "notice" }, "No image: every one is nearer to another class."));
  }
  if (answer.hits.length === k && k < answer.total) {
    const next = { ...Object.fromEntries(parameters), k: Math.min(2 * k, 384) };
    if (next.k > k) parts.push(element("p", { className: "more" }, element("a", { className: "button quiet", href: link(next) }, "Show more")));
  }
  return { parts, title: title(answer), said: `${title(answer)}: ${count(answer.hits.length, "image")}` };
}

function title({ query }) {
  if (query.kind === "browse") return "A look around";
  if (query.kind === "text") return `“${query.value}”`;
  if (query.kind === "item") return "Neighbours of this image";
  if (query.kind === "upload") return "Like your image";
  return query.value;
}

function heading(answer, remove) {
  const { query, hits, total } = answer;
  const lines = [element("h1", { tabIndex: -1 }, title(answer))];
  const shown = `the nearest ${hits.length} of ${count(total, "image")}`;
  if (query.kind === "browse") lines.push(element("p", { className: "muted" }, `${count(hits.length, "image")} of ${total.toLocaleString("en")}, evenly spread. Describe what you look for, pick a class, drop an image, or open one of these.`));
  else if (query.kind === "members") lines.push(element("p", { className: "muted" }, query.class.added ? `${count(total, "image")} moved here from other classes.` : `${count(total, "image")} of this class.`));
  else if (query.kind !== "class") lines.push(element("p", { className: "muted" }, `${shown[0].toUpperCase()}${shown.slice(1)}.`));
  if (query.subject) lines.push(facts(query.subject));
  if (query.class) lines.push(...aboutClass(query, shown, remove));
  const image = query.thumbnail ? picture(query.thumbnail) : null;
  return element("div", { className: "top" }, image, element("div", {}, ...lines));
}

function facts(subject) {
  const pairs = [["Class", subject.predicted], ["Runner-up", subject.runner_up], ["Was", subject.was], ["Label", subject.label]];
  return element("dl", { className: "facts" }, ...pairs.filter(([, value]) => value).map(([name, value]) => {
    const linked = typeof value === "string" ? [value] : [element("a", { className: "link", href: link({ class: value.name }) }, value.name), ` ${number(value.cosine)}`];
    return element("div", {}, element("dt", {}, name), element("dd", {}, ...linked));
  }));
}

function aboutClass({ kind, value, class: its }, shown, remove) {
  const lines = [];
  if (kind === "class") lines.push(element("p", { className: "muted" }, `${count(its.num_images, "image")} of this class; ${shown}.`));
  const to = (words, parameters) => element("a", { className: "link", href: link({ class: value, ...parameters }) }, words);
  const actions = [to("Show on the map", { view: "map" })];
  if (kind === "members") actions.unshift(to("All that is near", {}));
  else actions.unshift(to(its.added ? "What moved here" : "Its images alone", { members: "true" }));
  if (its.added) {
    actions.push(element("button", { className: "link", type: "button", onclick: () => remove(value) }, "Remove the class"));
    lines.push(element("p", { className: "muted" }, "Added here, by name alone, until the server stops; no other class moved."));
  }
  lines.push(element("p", { className: "actions" }, ...actions));
  return lines;
}

function card(hit) {
  const { predicted, runner_up: second } = hit;
  const pair = (className, name, value) => element("span", { className: `line ${className}` }, element("span", {}, name), element("span", {}, value));
  return element("li", {}, element("a", { className: "card", href: link({ item: hit.id }), title: predicted.name },
    element("span", { className: "frame" }, picture(hit.thumbnail),
      hit.was ? element("span", { className: "was" }, `was ${hit.was}`) : null,
      hit.cosine === null ? null : element("span", { className: "score", title: "cosine to what was asked" }, number(hit.cosine))),
    pair("first", predicted.name, number(predicted.cosine)),
    second ? pair("second", `or ${second.name}`, number(second.cosine)) : null));
}

export function bones() {
  const cell = () => element("li", {}, element("div", { className: "bone" }));
  return element("ul", { className: "grid", "aria-hidden": "true" }, ...Array.from({ length: 18 }, cell));
}

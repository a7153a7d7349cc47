// What all parts of the page share: elements, requests, links.

// Text goes in as text, never as markup: class names come from files of strangers.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && !name.startsWith("aria-")) made[name] = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// The answer as JSON; throws an Error with the server's own words.
export async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(parameters).toString();
  let response, found;
  try {
    response = await fetch(query ? `${path}?${query}` : path, options);
    found = response.status === 204 ? null : await response.json();
  } catch {
    throw new Error("The server does not answer. Is semcentres serve still running?");
  }
  if (!response.ok) throw new Error(found.error);
  return found;
}

export const link = (parameters) => `?${new URLSearchParams(parameters)}`;
export const number = (cosine) => cosine.toFixed(2).replace("-", "−");
export const count = (many, one) => `${many.toLocaleString("en")} ${one}${many === 1 ? "" : one.endsWith("s") ? "es" : "s"}`;
export const say = (text) => { document.getElementById("status").textContent = text; };

// Small pictures are shown as the pixels that they are.
export function picture(source) {
  const image = element("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth < 48));
  return image;
}

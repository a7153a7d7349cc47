// The list of classes: filter it, choose one, add one that is not there.
import { ask, count, element, link } from "./page.js";

export class Classes {
  constructor(place, added) {
    this.all = [];
    this.added = added;
    this.title = element("h2", {}, "Classes");
    this.input = element("input", { type: "text", maxLength: 200, autocomplete: "off", placeholder: "Find or add a class", "aria-label": "Find or add a class" });
    this.button = element("button", { className: "button", hidden: true });
    this.problem = element("p", { className: "muted", role: "alert" });
    this.form = element("form", { id: "add" }, this.input, this.button, this.problem);
    this.list = element("ul");
    this.input.addEventListener("input", () => this.show());
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    place.append(this.title, this.form, this.list);
  }

  async load() {
    const about = await ask("/api/about");
    // The visitor's own first, then by name.
    this.all = about.classes.sort((a, b) => b.added - a.added || a.name.localeCompare(b.name));
    this.title.textContent = count(this.all.length, "class");
    this.show();
    return about;
  }

  get wanted() { return this.input.value.trim(); }

  show() {
    const wanted = this.wanted.toLowerCase();
    const current = new URLSearchParams(location.search).get("class");
    const shown = this.all.filter(({ name }) => name.toLowerCase().includes(wanted));
    this.list.replaceChildren(...shown.map((its) => element("li", { className: its.added ? "added" : "" },
      element("a", { href: link({ class: its.name }), title: its.name, "aria-current": its.name === current ? "page" : null },
        element("span", {}, its.name), element("span", { "aria-label": count(its.num_images, "image") }, its.num_images.toLocaleString("en"))))));
    this.button.hidden = !wanted || this.all.some(({ name }) => name.toLowerCase() === wanted);
    this.button.textContent = `Add “${this.wanted}” as a class`;
    this.problem.textContent = "";
  }

  async submit() {
    const name = this.wanted;
    const there = this.all.find((its) => its.name.toLowerCase() === name.toLowerCase());
    if (!name) return;
    this.button.disabled = true;
    try {
      const body = JSON.stringify({ name });
      if (!there) await ask("/api/classes", {}, { method: "POST", body, headers: { "Content-Type": "application/json" } });
      this.input.value = "";
      await this.load();
      this.added(there ? { class: there.name } : { class: name, members: "true" });
    } catch (error) {
      this.problem.textContent = error.message;
    } finally {
      this.button.disabled = false;
    }
  }
}

"""The page in a real browser against the real command, each flow as a visitor goes through it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

expect.set_options(timeout=60_000)  # a busy machine is slow

MARKUP = "<img src=x onerror=window.hit=1>"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page at the start; at the end nothing has gone elsewhere, failed or popped up."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(60_000)
    hosts, trouble = set[str | None](), list[str]()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append(dialog.message))
    page.on(
        "console",
        lambda said: (
            trouble.append(said.text)
            # What the server refuses is shown on the page, and noted here by the browser.
            if said.type == "error" and "status of 4" not in said.text
            else None
        ),
    )
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("A look around")
    yield page
    context.close()
    assert hosts == {"127.0.0.1"}
    assert trouble == []


@pytest.fixture
def added(page: Page) -> Iterator[str]:
    """A class added at the page; it is removed in the end, because the server is shared."""
    box = page.get_by_role("textbox", name="Find or add a class")
    box.fill("red yellow")
    page.get_by_role("button", name="Add “red yellow” as a class").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("red yellow")
    yield "red yellow"
    page.request.delete("/api/classes", params={"name": "red yellow"})


def cards(page: Page) -> list[str]:
    """The class on each card."""
    page.wait_for_selector("main[aria-busy=false]")
    return page.locator(".card .first span:first-child").all_inner_texts()


def in_list(page: Page, start: str) -> Locator:
    """A class in the list beside the results."""
    return page.locator("#classes").get_by_role("link", name=re.compile(f"^{re.escape(start)}"))


def heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def drawn(page: Page, centres: int) -> None:
    """Wait for the map."""
    said = page.get_by_text(f"55 images as dots, and {centres} centres")
    expect(said).to_be_visible()


def test_search_by_text_is_in_the_address(page: Page) -> None:
    page.get_by_role("searchbox", name="Search by text").fill("red")
    page.get_by_role("button", name="Search", exact=True).click()
    heading(page, "“red”")
    assert page.url.endswith("/?text=red")
    assert cards(page)[:8] == ["red"] * 8
    expect(page.locator(".card").first).to_have_text(re.compile(r"red.*0\.\d\d.*or \w+", re.S))
    page.reload()
    heading(page, "“red”")


def test_back_and_forward_go_through_the_queries(page: Page) -> None:
    in_list(page, "blue").click()
    heading(page, "blue")
    assert page.url.endswith("/?class=blue")
    page.locator(".card").nth(2).click()
    heading(page, "Neighbours of this image")
    page.go_back()
    heading(page, "blue")
    assert set(cards(page)[:8]) == {"blue"}
    page.go_back()
    heading(page, "A look around")
    page.go_forward()
    heading(page, "blue")


def test_click_on_an_image_shows_its_neighbours(page: Page) -> None:
    page.goto("/?class=green")
    page.locator(".card").first.click()
    heading(page, "Neighbours of this image")
    assert re.search(r"\?item=\d+$", page.url)
    assert set(cards(page)[:8]) == {"green"}
    facts = page.locator(".facts")
    expect(facts).to_contain_text("Runner-up")
    facts.get_by_role("link", name="green").click()
    heading(page, "green")


def test_search_by_a_chosen_image(page: Page, images: Path) -> None:
    page.locator("#file").set_input_files(images / "yellow" / "03.png")
    heading(page, "Like your image")
    assert set(cards(page)[:8]) == {"yellow"}
    assert re.search(r"\?upload=[0-9a-f]+$", page.url)
    page.reload()
    heading(page, "Like your image")


def test_search_by_a_dropped_image(page: Page, images: Path) -> None:
    data = list((images / "blue" / "01.png").read_bytes())
    transfer = page.evaluate_handle(
        """data => { const t = new DataTransfer();
        t.items.add(new File([new Uint8Array(data)], "x.png", { type: "image/png" }));
        return t; }""",
        data,
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop the image to search by it")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    heading(page, "Like your image")
    expect(page.get_by_text("Drop the image to search by it")).to_be_hidden()
    assert set(cards(page)[:8]) == {"blue"}


def test_added_class_shows_at_once_what_moves_to_it(page: Page, added: str) -> None:
    answer = page.request.get("/api/search", params={"class": added, "members": "true"}).json()
    assert answer["total"] > 0
    expect(page.locator(".card")).to_have_count(answer["total"])
    expect(page.locator(".was").first).to_have_text(re.compile("^was (red|yellow|green|blue)$"))
    expect(in_list(page, f"{added} {answer['total']}")).to_be_visible()
    page.get_by_role("button", name="Remove the class").click()
    heading(page, "A look around")
    expect(in_list(page, added)).to_have_count(0)
    expect(page.locator(".was")).to_have_count(0)


def test_filter_narrows_the_classes_and_offers_only_new_ones(page: Page) -> None:
    box = page.get_by_role("textbox", name="Find or add a class")
    box.fill("RE")
    expect(page.locator("#classes li")).to_have_text([re.compile("green"), re.compile("red")])
    expect(page.get_by_role("button", name="Add “RE” as a class")).to_be_visible()
    box.fill("Red")
    expect(page.get_by_role("button", name=re.compile("as a class"))).to_have_count(0)
    box.press("Enter")
    heading(page, "red")


def test_map_is_drawn_and_leads_to_images(page: Page) -> None:
    page.get_by_role("link", name="Map").click()
    heading(page, "Map")
    drawn(page, 4)
    assert page.url.endswith("?view=map")
    colours = page.evaluate(
        """() => { const c = document.querySelector("canvas");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        const seen = new Set();
        for (let i = 0; i < d.length; i += 4) seen.add(`${d.slice(i, i + 4)}`);
        return seen.size; }"""
    )
    assert colours > 10
    canvas = page.locator("canvas")
    canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
    expect(page.get_by_role("status")).to_have_text(re.compile("^(Image|Centre) of "))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?(item|class)="))
    page.go_back()
    heading(page, "Map")


def test_click_on_the_map_opens_what_is_there(page: Page) -> None:
    page.goto("/?view=map")
    drawn(page, 4)
    dot = page.request.get("/api/map").json()["points"][10]
    frame = page.locator("canvas").bounding_box()
    assert frame is not None
    side = min(frame["width"], frame["height"]) - 60
    wide = min(frame["width"] - 60, 1.6 * side)
    x = frame["x"] + (frame["width"] - wide) / 2 + dot["x"] * wide
    y = frame["y"] + (frame["height"] - side) / 2 + dot["y"] * side
    page.mouse.move(x, y)
    expect(page.locator(".tip")).to_be_visible()
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(r"\?(item|class)="))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/?text=qzxqzx", "qzxqzx"),
        ("/?class=zebra", "zebra"),
        ("/?item=99", "they go from 0 to 54"),
        ("/?upload=123", "drop it again"),
    ],
)
def test_what_is_wrong_is_said(page: Page, address: str, said: str) -> None:
    page.goto(address)
    heading(page, "That did not work")
    expect(page.locator("main")).to_contain_text(said)
    page.get_by_role("link", name="Back to the start").click()
    heading(page, "A look around")


def test_file_that_is_no_image_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    page.locator("#file").set_input_files(tmp_path / "notes.png")
    heading(page, "That did not work")
    expect(page.locator("main")).to_contain_text("not a readable image")


def test_class_that_cannot_be_placed_is_told(page: Page) -> None:
    page.get_by_role("textbox", name="Find or add a class").fill("qzxqzx")
    page.get_by_role("button", name="Add “qzxqzx” as a class").click()
    expect(page.get_by_role("alert")).to_contain_text("qzxqzx")
    heading(page, "A look around")


def test_markup_in_a_class_name_is_text(page: Page) -> None:
    told = {"name": MARKUP, "description": "red yellow"}
    assert page.request.post("/api/classes", data=told).ok
    try:
        page.goto("/")
        in_list(page, MARKUP).click()
        heading(page, MARKUP)
        page.get_by_role("link", name="What moved here").click()
        expect(page.get_by_role("link", name="All that is near")).to_be_visible()
        expect(page.locator(".card").first).to_contain_text(MARKUP)
        page.locator(".card").first.click()
        expect(page.locator(".facts")).to_contain_text(MARKUP)
        page.get_by_role("link", name="Map").click()
        drawn(page, 5)
        assert page.evaluate("window.hit") is None
        assert page.locator("img[src=x]").count() == 0
    finally:
        page.request.delete("/api/classes", params={"name": MARKUP})


def test_keyboard_alone_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("yellow")
    page.keyboard.press("Enter")
    heading(page, "“yellow”")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".card").first).to_be_focused()
    page.keyboard.press("Enter")
    heading(page, "Neighbours of this image")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(page: Page, added: str, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 780})
    views = ["/", "/?text=red", "/?item=1", f"/?class={added}&members=true", "/?class=red"]
    for address in [*views, "/?view=map", "/?text=qzxqzx"]:
        page.goto(address)
        page.wait_for_selector("main[aria-busy=false]")
        if width == 360:
            page.get_by_role("button", name="Classes").click()
        if "map" in address:
            expect(page.get_by_text("55 images as dots, and 5 centres")).to_be_visible(
                timeout=60_000
            )
        options = {"runOnly": {"type": "tag", "values": WCAG}}
        found = Axe().run(page, options=options).response["violations"]
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_classes_open_and_close_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    box, button = page.locator("#add input"), page.get_by_role("button", name="Classes")
    expect(box).to_be_hidden()
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    in_list(page, "green").click()
    heading(page, "green")
    expect(box).to_be_hidden()

"""The JSON API: right answers against plain numpy, and one clear line for whatever is wrong."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor

from semcentres.cli import main
from semcentres.settings import ServeConfig
from semcentres.web.app import make_app
from semcentres.web.routes import READERS
from semcentres.web.serve import open_session
from semcentres.web.session import Session

MARKUP = "<img src=x onerror=alert(1)>"


def ids(client: TestClient, **query: object) -> list[int]:
    answer = client.get("/api/search", params=query)
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def as_file(
    colour: tuple[int, int, int], kind: str = "PNG", size: tuple[int, int] = (30, 20)
) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def upload(client: TestClient, data: bytes) -> str:
    answer = client.post("/api/uploads", content=data)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_about_counts_images_by_their_nearest_centre(client: TestClient, session: Session) -> None:
    about = client.get("/api/about").json()
    cosines = session.collection.vectors @ session.model.bank.vectors.T
    counts = np.bincount(cosines.argmax(axis=1), minlength=4).tolist()
    assert about["num_images"] == 55
    assert [its["name"] for its in about["classes"]] == ["blue", "green", "red", "yellow"]
    assert [its["num_images"] for its in about["classes"]] == counts
    assert not any(its["added"] for its in about["classes"])


def test_lists_on_the_disk_are_served_from_there(
    index: Path, run_dir: Path, session: Session, tmp_path: Path
) -> None:
    """As a flat index is, and without their rows in memory."""
    words = [f"embeddings={index.parent / 'embeddings'}", f"out={tmp_path / 'lists'}"]
    assert main(["index", *words, "on_disk=true", "recall=1"]) == 0
    served = open_session(ServeConfig(model=str(run_dir), index=str(tmp_path / "lists")))
    for each in (served, session):
        each.add("orange", None)
    assert served.about() == session.about()
    for one, other in zip(served.layout().images, session.layout().images, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    for row in range(55):
        assert served.item(row).predicted.name == session.item(row).predicted.name
    assert served.by_item(3, 5).hits[0].cosine == pytest.approx(
        session.by_item(3, 5).hits[0].cosine
    )
    assert "vectors" not in vars(served.collection.index)


@pytest.mark.parametrize("name", ["red", "blue"])
def test_search_by_class_is_by_falling_cosine_to_its_centre(
    client: TestClient, session: Session, name: str
) -> None:
    cosines = session.collection.vectors @ session.model.bank.vectors[session.classes.row(name)]
    answer = client.get("/api/search", params={"class": name, "k": 9}).json()
    wanted = np.sort(cosines)[::-1][:9]
    np.testing.assert_allclose([hit["cosine"] for hit in answer["hits"]], wanted, atol=1e-5)
    assert {hit["label"] for hit in answer["hits"]} == {name}
    assert answer["query"]["class"]["name"] == name
    assert answer["total"] == 55


def test_class_and_runner_up_are_the_two_nearest_centres(
    client: TestClient, session: Session
) -> None:
    for row in (0, 17, 54):
        cosines = session.collection.vectors[row] @ session.model.bank.vectors.T
        first, second = np.argsort(-cosines)[:2]
        item = client.get(f"/api/items/{row}").json()
        assert item["predicted"]["name"] == session.model.bank.names[first]
        assert item["runner_up"]["name"] == session.model.bank.names[second]
        assert item["runner_up"]["cosine"] == pytest.approx(float(cosines[second]), abs=1e-5)


def test_text_finds_what_it_names(client: TestClient) -> None:
    near = client.get("/api/search", params={"text": "red", "k": 5}).json()["hits"]
    assert {hit["label"] for hit in near} == {"red"}
    assert ids(client, text="crimson and scarlet", k=5)


def test_item_finds_its_neighbours_without_itself(client: TestClient, session: Session) -> None:
    cosines = session.collection.vectors @ session.collection.vectors[3]
    cosines[3] = -2
    found = ids(client, item=3, k=6)
    np.testing.assert_allclose(cosines[found], np.sort(cosines)[::-1][:6], atol=1e-5)


def test_upload_is_embedded_as_a_file_of_the_collection_is(
    client: TestClient, images: Path
) -> None:
    data = (images / "green" / "05.png").read_bytes()
    token = upload(client, data)
    answer = client.get("/api/search", params={"upload": token, "k": 3}).json()
    assert answer["hits"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    assert answer["query"]["subject"]["predicted"]["name"] == "green"
    picture = client.get(answer["query"]["thumbnail"])
    assert picture.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(picture.content)).size == (192, 192)


def test_added_class_takes_exactly_the_images_that_are_nearest_to_it(
    client: TestClient, session: Session
) -> None:
    before = session.classes.nearest().copy()
    added = client.post("/api/classes", json={"name": "red yellow"})
    assert added.status_code == 201
    vectors, bank = session.collection.vectors, session.classes.bank
    moved = np.flatnonzero((vectors @ bank.vectors.T).argmax(axis=1) == 4)
    assert 0 < len(moved) < 55, "the test needs images that move and images that stay"
    assert added.json() == {"name": "red yellow", "added": True, "num_images": len(moved)}
    answer = client.get("/api/search", params={"class": "red yellow", "members": True}).json()
    assert sorted(hit["id"] for hit in answer["hits"]) == moved.tolist()
    for hit in answer["hits"]:
        assert hit["was"] == bank.names[before[hit["id"]]]
        assert hit["predicted"]["name"] == "red yellow"
    stayed = client.get(f"/api/items/{np.setdiff1d(range(55), moved)[0]}").json()
    assert stayed["was"] is None


def test_removed_class_leaves_everything_as_it_was(client: TestClient) -> None:
    before = client.get("/api/search", params={"k": 55}).json()
    for name in ("red yellow", "purple"):
        assert client.post("/api/classes", json={"name": name}).status_code == 201
    assert client.get("/api/search", params={"k": 55}).json() != before
    for name in ("red yellow", "purple"):
        assert client.delete("/api/classes", params={"name": name}).status_code == 204
    assert client.get("/api/search", params={"k": 55}).json() == before


def test_classes_can_be_added_up_to_a_limit(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcentres.web.classes.MOST_ADDED", 2)
    names = ["red blue", "green blue", "yellow blue"]
    said = [client.post("/api/classes", json={"name": name}) for name in names]
    assert [answer.status_code for answer in said] == [201, 201, 400]
    assert said[-1].json()["error"] == "2 classes were added, which is the most; remove one first"
    for name in names[:2]:
        assert client.delete("/api/classes", params={"name": name}).status_code == 204


def test_files_of_the_model_stay_as_they_are(client: TestClient, run_dir: Path) -> None:
    before = (run_dir / "centres.safetensors").read_bytes()
    client.post("/api/classes", json={"name": "red yellow"})
    assert (run_dir / "centres.safetensors").read_bytes() == before


def test_naughty_class_names_come_back_to_the_letter(client: TestClient) -> None:
    for name in (MARKUP, "AC/DC", "..", "a&b=c#d", "été ☃ 'quoted\""):
        told = {"name": name, "description": f"dark {len(name)} red"}
        assert client.post("/api/classes", json=told).status_code == 201, name
        found = client.get("/api/search", params={"class": name, "k": 1}).json()
        assert found["query"]["value"] == name
        assert client.delete("/api/classes", params={"name": name}).status_code == 204


def test_map_has_every_image_and_centre_once(client: TestClient, session: Session) -> None:
    client.post("/api/classes", json={"name": "red yellow"})
    atlas = client.get("/api/map").json()
    assert [dot["id"] for dot in atlas["points"]] == list(range(55))
    assert [c["name"] for c in atlas["centres"]] == [*session.model.bank.names, "red yellow"]
    places = np.array([[dot["x"], dot["y"]] for dot in atlas["points"] + atlas["centres"]])
    assert ((places >= 0) & (places <= 1)).all()
    for dot in atlas["points"]:
        assert dot["class"] == session.classes.nearest()[dot["id"]]
    # Neighbours in the space are neighbours on the map, or t-SNE was given something else.
    by_class = [places[:55][session.classes.nearest() == row] for row in (0, 1)]
    spread = max(np.linalg.norm(p - p.mean(axis=0), axis=1).mean() for p in by_class)
    assert np.linalg.norm(by_class[0].mean(axis=0) - by_class[1].mean(axis=0)) > 2 * spread


def test_browse_spreads_evenly(client: TestClient) -> None:
    assert ids(client, k=4) == [0, 18, 36, 54]
    assert ids(client, k=100) == list(range(55))


WRONG = {
    "no such image": ("GET", "/api/items/55", 404, "they go from 0 to 54"),
    "no such image to search by": ("GET", "/api/search?item=-1", 404, "no image -1"),
    "no such picture": ("GET", "/api/items/1000/thumbnail", 404, "no image 1000"),
    "a path for an id": ("GET", "/api/items/..%2f..%2fetc%2fpasswd/thumbnail", 404, ""),
    "no number": ("GET", "/api/items/one", 422, "row: "),
    "no such class": ("GET", "/api/search?class=zebra", 400, "'zebra'"),
    "word that is not known": ("GET", "/api/search?text=qzxqzx", 400, "qzxqzx"),
    "empty text": ("GET", "/api/search?text=", 400, ""),
    "two queries": ("GET", "/api/search?text=red&class=red", 400, "one of text, class"),
    "k of nothing": ("GET", "/api/search?k=0", 422, "k: "),
    "k of everything": ("GET", "/api/search?k=100000", 422, "k: "),
    "upload that is gone": ("GET", "/api/search?upload=abc", 404, "drop it again"),
    "trained class to remove": ("DELETE", "/api/classes?name=red", 400, "was trained"),
    "unknown address": ("GET", "/api/nothing", 404, ""),
    "file beside the page": ("GET", "/static/..%2fapp.py", 404, ""),
    "wrong method": ("PUT", "/api/classes", 405, ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_told_in_one_line(client: TestClient, case: str) -> None:
    method, address, code, said = WRONG[case]
    answer = client.request(method, address)
    assert answer.status_code == code, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"name": "red"}, 400, "'red'"),
        ({"name": ""}, 422, "name: "),
        ({"name": "x" * 201}, 422, "name: "),
        ({"name": "qzxqzx"}, 400, "qzxqzx"),
        ({}, 422, "name: "),
    ],
)
def test_class_that_cannot_be_is_refused(
    client: TestClient, body: dict[str, str], code: int, said: str
) -> None:
    answer = client.post("/api/classes", json=body)
    assert (answer.status_code, said in answer.json()["error"]) == (code, True), answer.text
    assert len(client.get("/api/about").json()["classes"]) == 4


def test_uploads_that_are_no_images_are_refused(client: TestClient) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    whole = as_file((9, 9, 9), "JPEG", (200, 200))
    for data in (b"", b"no image", eps, whole[: len(whole) // 2], b"<svg/>"):
        answer = client.post("/api/uploads", content=data)
        assert answer.status_code in (400, 422), data[:20]
        assert "/tmp" not in answer.json()["error"]
        assert "0x" not in answer.json()["error"]


def test_upload_of_too_many_bytes_is_refused(client: TestClient) -> None:
    assert client.post("/api/uploads", content=bytes((8 << 20) + 1)).status_code == 413

    def drip() -> "list[bytes]":
        return [bytes(1 << 20)] * 9

    # In pieces, with no length said before.
    answer = client.post("/api/uploads", content=iter(drip()))
    assert answer.status_code == 413
    assert list(answer.json()) == ["error"]


def test_upload_of_too_many_pixels_is_refused(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(buffer, "PNG")
    answer = client.post("/api/uploads", content=buffer.getvalue())
    assert answer.status_code == 400
    assert "10000x6000 pixels" in answer.json()["error"]


def test_old_uploads_are_forgotten(client: TestClient, session: Session) -> None:
    tokens = [upload(client, as_file((i, 0, 0))) for i in range(256)]
    upload(client, as_file((0, 0, 7)))
    assert client.get(f"/api/uploads/{tokens[0]}/thumbnail").status_code == 404
    assert client.get(f"/api/uploads/{tokens[1]}/thumbnail").status_code == 200


def test_file_that_is_gone_is_told_without_its_path(client: TestClient, images: Path) -> None:
    row = client.get("/api/search", params={"class": "yellow", "k": 1}).json()["hits"][0]["id"]
    moved = images.rename(images.with_name("elsewhere"))
    try:
        answer = client.get(f"/api/items/{row}/thumbnail")
    finally:
        moved.rename(images)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"the file of image {row} cannot be read any more"}


def test_no_path_is_in_any_answer(client: TestClient, images: Path) -> None:
    for address in ("/api/about", "/api/search?k=384", "/api/map", "/api/items/3"):
        text = client.get(address).text
        assert str(images) not in text
        assert ".png" not in text


def test_answers_are_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert operation["responses"]["400"]["content"]["application/json"]["schema"]
    assert described["components"]["schemas"]["Query"]["properties"]["class"]


def test_few_files_are_read_at_a_time(session: Session) -> None:
    """Forty PNGs of 50 million pixels would take 6 GB."""
    lock, now, most = threading.Lock(), 0, 0

    def slowly(row: int) -> Tensor:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return torch.full((3, 4, 4), row, dtype=torch.uint8)

    app = make_app(Session(session.model, session.collection, slowly), host="127.0.0.1")
    asked = [f"/api/items/{row}/thumbnail" for row in range(24)]
    with TestClient(app, "http://127.0.0.1") as client, ThreadPoolExecutor(12) as visitors:
        answers = list(visitors.map(client.get, asked))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 24
    assert 1 < most <= READERS


def test_many_at_once_get_what_each_asked(client: TestClient) -> None:
    alone = {name: ids(client, **{"class": name}) for name in ("red", "blue", "green", "yellow")}
    wrong: list[str] = []

    def ask(name: str, number: int) -> None:
        for turn in range(10):
            if ids(client, **{"class": name}) != alone[name]:
                wrong.append(name)
            if turn % 5 == 0:
                added = f"orange {number}"
                client.post("/api/classes", json={"name": added})
                client.delete("/api/classes", params={"name": added})

    threads = [
        threading.Thread(target=ask, args=(name, i)) for i, name in enumerate([*alone, *alone])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(client.get("/api/about").json()["classes"]) == 4

"""Who may ask, and what a browser is told about the answer."""

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "192.168.0.7"])
def test_own_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "", "[", "a@b"])
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    """A name of another's can be made to mean 127.0.0.1."""
    for address in ("/", "/api/about", "/api/items/1/thumbnail"):
        answer = client.get(address, headers={"Host": host})
        assert answer.status_code == 403
        assert "open it by the address" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_changes_from_other_pages_are_refused(client: TestClient, origin: str) -> None:
    headers = {"Origin": origin}
    assert client.post("/api/uploads", content=b"x", headers=headers).status_code == 403
    assert client.delete("/api/classes?name=red", headers=headers).status_code == 403
    added = client.post("/api/classes", json={"name": "red yellow"}, headers=headers)
    assert added.status_code == 403
    assert len(client.get("/api/about").json()["classes"]) == 4


def test_changes_from_our_page_are_made(client: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8000"}
    assert (
        client.post("/api/classes", json={"name": "red yellow"}, headers=headers).status_code == 201
    )


@pytest.mark.parametrize(
    "address", ["/", "/static/app.js", "/api/about", "/api/nothing", "/api/map"]
)
def test_every_answer_has_the_safe_headers(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers

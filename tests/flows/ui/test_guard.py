"""Whom the app answers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from flows.ui.app import make_app
from flows.ui.guard import WRITE, Access, check_address, proof
from tasks.settings import Settings


def client(access: Access, address: str = "http://127.0.0.1:8017") -> TestClient:
    return TestClient(make_app(access, ThreadPoolExecutor(1)), base_url=address)


@pytest.mark.parametrize(
    ("host", "token", "allowed"),
    [
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        ("0.0.0.0", "", False),
        ("0.0.0.0", "short", False),
        ("0.0.0.0", "long enough", True),
        ("192.168.1.5", "", False),
        ("studio.local", "", False),
    ],
)
def test_other_machines_need_a_password(host: str, token: str, allowed: bool) -> None:
    if allowed:
        check_address(host, token)
    else:
        with pytest.raises(ValueError, match="--token PASSWORD"):
            check_address(host, token)


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:8017", 200), ("localhost", 200), ("[::1]:8017", 200), ("evil.example", 421), ("", 421), ("[", 400)]
)
def test_a_name_of_another_site_is_not_answered(settings: Settings, host: str, status: int) -> None:
    assert client(Access()).get("/api/app", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({WRITE: "wrong"}, 403),
        ({WRITE: "secret"}, 400),  # it comes as far as the build, which knows no such concept
        ({WRITE: "secret", "origin": "http://127.0.0.1:8017"}, 400),
        ({WRITE: "secret", "origin": "http://evil.example"}, 403),
        ({WRITE: "secret", "origin": "null"}, 403),
        ({WRITE: "secret", "origin": "http://["}, 403),
        ({WRITE: "secret", "origin": "http://127.0.0.1:9999"}, 403),
        ({WRITE: "secret", "sec-fetch-site": "cross-site"}, 403),
        ({WRITE: "secret", "sec-fetch-site": "same-origin"}, 400),
    ],
)
def test_only_the_apps_own_pages_write(settings: Settings, headers: dict[str, str], status: int) -> None:
    answer = client(Access(write_token="secret")).post("/api/build", json={"concepts": ["nobody"]}, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/api/build"), ("DELETE", "/api/build"), ("POST", "/api/drawings"), ("POST", "/api/concepts"), ("PUT", "/api/uploads"),
    ("POST", "/api/concepts/fox/promote"), ("POST", "/api/concepts/fox/rescore"), ("POST", "/api/judge"),
    ("POST", "/api/questionnaires"), ("POST", "/api/answers"),
])  # fmt: skip
def test_a_read_only_app_writes_nothing(settings: Settings, method: str, path: str) -> None:
    access = Access(read_only=True, write_token="secret")
    answer = client(access).request(method, path, headers={WRITE: "secret"})
    assert answer.status_code == 403 and "--read-only" in answer.json()["error"]


def test_the_password_moves_from_the_address_into_a_cookie(settings: Settings) -> None:
    guest = client(Access(host="0.0.0.0", token="long enough"), "http://studio.local:8017")
    assert guest.get("/api/app").status_code == 401
    assert guest.get("/api/app", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert guest.get("/api/app", headers={"authorization": f"Bearer {proof('long enough')}"}).status_code == 200
    entered = guest.get("/api/app?token=long enough", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/api/app")
    assert "httponly" in entered.headers["set-cookie"].lower() and "samesite=strict" in entered.headers["set-cookie"].lower()
    assert guest.get("/api/app").status_code == 200


def test_a_password_may_have_any_letters(settings: Settings) -> None:
    guest = client(Access(host="0.0.0.0", token="geheim-1€x"), "http://studio.local:8017")
    entered = guest.get("/api/app?token=geheim-1€x", follow_redirects=False)
    assert entered.status_code == 303 and "geheim" not in entered.headers["set-cookie"]
    assert guest.get("/api/app").status_code == 200
    assert guest.get("/api/app", headers={"host": "["}).status_code == 400


def test_a_page_loads_nothing_from_elsewhere(settings: Settings) -> None:
    answer = client(Access()).get("/api/app")
    assert "script-src 'self'" in answer.headers["content-security-policy"] and "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"

"""What the page is made of: served without a key, with strict headers, and not at all if so wished."""

import re

import pytest

from cprs_core.instruction import PRESETS
from cprs_core.server.auth import Keys
from cprs_core.server.playground import FOLDER

KEY = "k" * 24


@pytest.fixture(scope="module")
def keyed(compressor, http_of):
    return http_of(compressor, keys=Keys([KEY]), max_body=5000)


@pytest.mark.parametrize("path", ["/", "/playground/settings", *(f"/playground/{file.name}" for file in FOLDER.iterdir())])
def test_the_page_needs_no_key(keyed, path):
    reply = keyed.get(path)
    assert reply.status_code == 200 and reply.headers["x-request-id"]
    if path != "/playground/settings":
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 401),
        ("GET", "/metrics", 401),
        ("GET", "/docs", 401),
        ("POST", "/", 401),
        ("POST", "/v1/scores", 401),
        ("POST", "/playground/main.js", 401),
        ("GET", "/playground/none.js", 404),
        ("GET", "/playground/../auth.py", 401),
        ("GET", "/playground/%2e%2e/__init__.py", 404),
        ("GET", "/playground/%2e%2e/%2e%2e/%2e%2e/v1/models", 404),
        ("GET", "/playgrounds", 401),
    ],
)
def test_everything_else_does(keyed, method, path, status):
    reply = keyed.request(method, path)
    assert reply.status_code == status and reply.headers["content-type"] == "application/problem+json"


def test_it_says_what_the_page_must_know(keyed, http):
    assert keyed.get("/playground/settings").json() == {"needs_key": True, "max_body": 5000}
    assert http.get("/playground/settings").json()["needs_key"] is False


def test_unchanged_files_are_not_sent_again(keyed):
    first = keyed.get("/playground/main.js")
    again = keyed.get("/playground/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content


def test_it_can_be_turned_off(compressor, http_of):
    for http in (http_of(compressor, playground=False), http_of(compressor, playground=False, keys=Keys([KEY]))):
        for path in ("/", "/playground/main.js", "/playground/settings"):
            assert http.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 404
    assert http.get("/").status_code == 401


def test_the_form_has_all_presets():
    found = re.findall(r'<option value="(\w+)">', (FOLDER / "index.html").read_text())
    assert found == [*PRESETS, "own"]


def test_no_inline_scripts_nor_styles_nor_other_hosts():
    for file in FOLDER.iterdir():
        text = file.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
        assert "innerHTML" not in text and "eval(" not in text
        if file.suffix == ".html":
            assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", text)

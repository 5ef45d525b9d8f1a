"""Who gets to see the pages, and what the pages may do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from hud.platform.assets import PAGES
from tests.ui.viewer import DEADLINE_S, Viewer, environment, jobs_of, viewing
from tests.ui.written import writing


def test_a_link_is_printed_that_works_once(viewer: Viewer) -> None:
    link = viewer.sign_in()
    first = httpx.get(link, trust_env=False)
    assert first.status_code == 303 and "HttpOnly" in first.headers["set-cookie"]
    assert httpx.get(link, trust_env=False).status_code == 401


@pytest.mark.parametrize("page", [page.replace("{path:path}", "x") for page in PAGES])
def test_no_page_is_shown_to_who_is_not_signed_in(viewer: Viewer, page: str) -> None:
    answer = httpx.get(viewer.url + page, trust_env=False)
    assert answer.status_code == 401
    assert "hud platform sign-in" in answer.text and "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_files_of_the_pages_need_the_cookie_too(viewer: Viewer) -> None:
    with httpx.Client(base_url=viewer.url, trust_env=False) as client:
        client.get(viewer.sign_in())
        index = client.get("/jobs")
        (script,) = re.findall(r'src="(/assets/[^"]+\.js)"', index.text)
        kept = client.get(script, headers={"Accept-Encoding": "gzip"})
        assert kept.status_code == 200 and kept.headers["content-encoding"] == "gzip"
        shorter = client.get(script, headers={"Accept-Encoding": "gzip, br"})
        assert shorter.headers["content-encoding"] == "br"
        assert "immutable" in kept.headers["cache-control"]
        plain = client.get(script, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.content == kept.content
        for other in ("/assets/..%2findex.html", "/assets/.stamp", "/assets/%2e%2e", "/assets/x"):
            assert client.get(other).status_code == 404
    assert httpx.get(viewer.url + script, trust_env=False).status_code == 401


def test_nothing_but_our_own_files_may_run(viewer: Viewer) -> None:
    with httpx.Client(base_url=viewer.url, trust_env=False) as client:
        client.get(viewer.sign_in())
        answer = client.get("/jobs")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"<style|\bstyle=|\bon\w+=", answer.text)


def test_a_link_leads_nowhere_but_to_our_pages(viewer: Viewer) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "jobs"):
        link = f"{viewer.sign_in()}&to={target}"
        assert httpx.get(link, trust_env=False).status_code == 422


def test_somebody_signed_in_comes_in_through_a_link_on_another_page(
    chromium: Browser, viewer: Viewer
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(viewer.sign_in())
    page.set_content(f'<a href="{viewer.url}/jobs">see</a>')
    page.goto("about:blank")
    page.set_content(f'<a href="{viewer.url}/jobs">see</a>')
    page.click("a")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    context.close()


def test_where_a_platform_runs_its_own_pages_are_opened(viewer: Viewer) -> None:
    job = jobs_of(viewer.home)[0]
    done = subprocess.run(
        [sys.executable, "-m", "hud", "view", "--no-open", job["id"][:8]],
        env=environment(viewer.home),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert done.stdout.startswith(f"{viewer.url}/sign-in?code=")
    answer = httpx.get(done.stdout.strip(), trust_env=False)
    assert answer.headers["location"] == f"/jobs/{job['id']}"


def test_view_opens_what_it_is_told(built: None, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with writing(home) as writer:
        run_id = writer.run("one", [{"source": "agent", "content": "hello"}])
    with viewing(home, run_id[:12]) as viewer:
        answer = httpx.get(viewer.link, trust_env=False)
        assert answer.headers["location"] == f"/trace/{run_id}"


def test_view_of_nothing_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hud", "view", "--no-open", "abcdef"],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing has been recorded" in done.stderr and "hud eval" in done.stderr

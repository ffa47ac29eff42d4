"""Ratings and the audit page in headless Chromium, against a really started service."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

if not shutil.which("chromium") or not shutil.which("chromedriver"):
    pytest.skip("needs Debian's chromium and chromium-driver", allow_module_level=True)
pytest.importorskip("selenium", reason="needs the extra test")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from gigafactory import api
from gigafactory.chat.keys import Scope
from gigafactory.chat.opening import add_key

pytestmark = pytest.mark.real

PROGRAM = Path(__file__).parents[1] / "chat" / "quoting.py"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --window-size=1100,800"
)
POST = {
    "id": "7",
    "author": "Survey",
    "text": "The lake is 30 metres deep.",
    "at": "2024-05-03",
    "authority": "official",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    lines = tmp_path / "posts.jsonl"
    lines.write_text(json.dumps(POST))
    database = tmp_path / "posts.db"
    api.import_posts(database, [lines])
    return database


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    program = [sys.executable, str(PROGRAM), *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(20)
    assert status == 0


def until(browser: Any, condition: Any) -> Any:
    # the page draws the buttons anew after every click
    waiting = WebDriverWait(
        browser, 15, poll_frequency=0.02, ignored_exceptions=[StaleElementReferenceException]
    )
    return waiting.until(lambda _: condition())


def buttons(browser: Any) -> dict[str, Any]:
    found = browser.find_elements(By.CSS_SELECTOR, ".judge button")
    return {button.text: button for button in found}


def pressed(browser: Any) -> list[str]:
    return [
        words
        for words, button in buttons(browser).items()
        if button.get_attribute("aria-pressed") == "true"
    ]


def ask(browser: Any, question: str) -> None:
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#model option"))
    browser.find_element(By.ID, "question").send_keys(question, Keys.ENTER)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".judge a"))


def kept(posts: Path) -> list[tuple[float, int]]:
    return [(row["intercept"], row["num_ratings"]) for row in api.rate_answers(posts)]


def test_a_rating_given_on_the_page_is_read_by_bridging(browser: Any, posts: Path) -> None:
    with served(str(posts)) as url:
        browser.get(url)
        ask(browser, "How deep is the lake?")
        assert set(buttons(browser)) == {"Helpful", "Not helpful"}
        assert kept(posts) == []
        buttons(browser)["Helpful"].click()
        until(browser, lambda: pressed(browser) == ["Helpful"])
        [(liked, num_ratings)] = kept(posts)
        assert num_ratings == 1
        buttons(browser)["Not helpful"].click()
        until(browser, lambda: pressed(browser) == ["Not helpful"])
        buttons(browser)["wrong"].click()
        until(browser, lambda: pressed(browser) == ["Not helpful", "wrong"])
        [(disliked, num_ratings)] = kept(posts)
        assert num_ratings == 1
        assert disliked < liked
        browser.refresh()
        until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#list .title"))
        browser.find_element(By.CSS_SELECTOR, "#list .title").click()
        assert pressed(browser) == ["Not helpful", "wrong"]
        follow_the_record(browser)
        assert browser.get_log("browser") == []
        browser.execute_script("localStorage.clear()")


def follow_the_record(browser: Any) -> None:
    browser.find_element(By.CSS_SELECTOR, ".judge a").click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "article.named"))
    named = browser.find_element(By.CSS_SELECTOR, "article.named")
    for words in ("2. answer", "The lake is 30 metres deep.", "1, mean 0.00", "wrong (1)", "7 ("):
        assert words in named.text
    chain = browser.find_element(By.ID, "chain").text
    assert chain.startswith("The chain holds: 2 records")


def test_the_page_of_records_wants_a_key_with_its_scope(
    browser: Any, posts: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "chat.db")
    _, plain = add_key(store, "reader")
    _, auditor = add_key(store, "auditor", scopes=[Scope.AUDIT])
    for _ in range(25):
        api.ask_posts(posts, "How deep is the lake?")
    with served(str(posts), store) as url:
        browser.get(f"{url}audit#3")
        door, title = browser.find_element(By.ID, "door"), browser.find_element(By.ID, "door-title")
        until(browser, door.is_displayed)
        browser.find_element(By.ID, "key").send_keys(plain, Keys.ENTER)
        until(browser, lambda: "does not open" in title.text)
        assert browser.find_elements(By.TAG_NAME, "article") == []
        browser.find_element(By.ID, "key").send_keys(auditor, Keys.ENTER)
        until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "article.named"))
        assert len(browser.find_elements(By.TAG_NAME, "article")) == 21
        browser.find_element(By.ID, "older").click()
        until(browser, lambda: browser.find_elements(By.ID, "1"))
        assert not browser.find_element(By.ID, "older").is_displayed()
        assert len(browser.find_elements(By.TAG_NAME, "article")) == 26
        browser.execute_script("sessionStorage.clear()")

"""The page in headless Chromium, against a really started service."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if not shutil.which("chromium") or not shutil.which("chromedriver"):
    pytest.skip("needs Debian's chromium and chromium-driver", allow_module_level=True)
pytest.importorskip("selenium", reason="needs the extra test")

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from gigafactory.chat.opening import add_key

pytestmark = pytest.mark.real

PARROTS = Path(__file__).parents[1] / "chat" / "parrot.py"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --window-size=1000,800"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, str(PARROTS), "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


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
def page(browser: Any, url: str) -> Any:
    browser.set_window_size(1000, 800)
    browser.get(url)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#model option"))
    browser.get_log("browser")
    return browser


def until(browser: Any, condition: Any) -> Any:
    return WebDriverWait(browser, 15, poll_frequency=0.02).until(lambda _: condition())


def ask(page: Any, *keys: str) -> None:
    page.find_element(By.ID, "question").send_keys(*keys)


def said(page: Any) -> list[str]:
    return [node.text for node in page.find_elements(By.CSS_SELECTOR, ".turn .said")]


def is_idle(page: Any) -> bool:
    return bool(page.find_element(By.ID, "send").is_displayed())


def choose(page: Any, name: str) -> None:
    Select(page.find_element(By.ID, "model")).select_by_value(name)


def test_a_question_is_answered_word_by_word(page: Any) -> None:
    choose(page, "slow-parrot")
    question = "one two three four five six seven eight nine ten eleven twelve"
    ask(page, question, Keys.ENTER)
    until(page, lambda: len(said(page)) == 2 and "one" in said(page)[1])
    early = said(page)[1]
    until(page, lambda: is_idle(page))
    assert said(page) == [question, question]
    assert question.startswith(early)
    assert early != question
    foot = page.find_element(By.CSS_SELECTOR, ".turn .foot").text
    assert foot.startswith("12 tokens · ")


def test_the_models_can_be_switched_and_each_answer_says_whose_it_is(page: Any) -> None:
    for name in ("parrot", "slow-parrot"):
        choose(page, name)
        assert page.find_element(By.ID, "about").text.startswith(f"{name} answers.")
        ask(page, "hello", Keys.ENTER)
        until(page, lambda: is_idle(page))
    who = [node.text for node in page.find_elements(By.CSS_SELECTOR, ".assistant .who")]
    assert who == ["parrot", "slow-parrot"]


def test_shift_enter_starts_a_line_and_enter_sends(page: Any) -> None:
    ask(page, "first", Keys.SHIFT, Keys.ENTER, Keys.NULL, "second")
    assert said(page) == []
    assert page.find_element(By.ID, "question").get_attribute("value") == "first\nsecond"
    ask(page, Keys.ENTER)
    until(page, lambda: said(page) == ["first\nsecond", "first second"])


@pytest.mark.parametrize("by_key", [True, False])
def test_an_answer_can_be_stopped(page: Any, by_key: bool) -> None:
    choose(page, "slow-parrot")
    ask(page, "for ever", Keys.ENTER)
    until(page, lambda: len(said(page)) == 2 and said(page)[1])
    if by_key:
        ask(page, Keys.ESCAPE)
    else:
        page.find_element(By.ID, "stop").click()
    until(page, lambda: is_idle(page))
    assert "stopped" in page.find_element(By.CSS_SELECTOR, ".turn .foot").text
    ask(page, "and then", Keys.ENTER)
    until(page, lambda: said(page)[-1] == "and then")


@pytest.mark.parametrize(
    ("question", "error"),
    [("say nothing", "ended without a word"), ("break down", "fell off its perch")],
)
def test_an_error_is_shown(page: Any, question: str, error: str) -> None:
    ask(page, question, Keys.ENTER)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".error"))
    assert error in page.find_element(By.CSS_SELECTOR, ".error").text
    until(page, lambda: is_idle(page))


def test_a_new_conversation_is_empty(page: Any) -> None:
    page.find_element(By.CSS_SELECTOR, "#starters button").click()
    until(page, lambda: len(said(page)) == 2 and is_idle(page))
    page.find_element(By.ID, "fresh").click()
    assert said(page) == []
    assert page.find_element(By.ID, "starters").is_displayed()


def test_light_and_dark(page: Any) -> None:
    def ground() -> str:
        return str(page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))

    before = ground()
    page.find_element(By.ID, "theme").click()
    chosen = ground()
    assert chosen != before
    page.refresh()
    assert ground() == chosen


def test_it_fits_a_phone(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True},
    )
    ask(page, "a" * 200, Keys.ENTER)
    until(page, lambda: len(said(page)) == 2 and is_idle(page))
    width = page.execute_script("return document.documentElement.scrollWidth")
    send = page.find_element(By.ID, "send").rect
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width == 360
    assert send["x"] + send["width"] <= 360
    assert send["y"] + send["height"] <= 640


def test_the_console_stays_clean(page: Any) -> None:
    ask(page, "hello", Keys.ENTER)
    until(page, lambda: len(said(page)) == 2 and is_idle(page))
    assert page.get_log("browser") == []


def titles(page: Any) -> list[str]:
    return [node.text for node in page.find_elements(By.CSS_SELECTOR, "#list .title")]


def test_conversations_are_kept_opened_and_deleted(page: Any) -> None:
    for question in ("first words", "second words"):
        ask(page, question, Keys.ENTER)
        until(page, lambda: len(said(page)) == 2 and is_idle(page))
        ask(page, Keys.ALT, "n", Keys.NULL)
        assert said(page) == []
    page.refresh()
    until(page, lambda: titles(page) == ["second words", "first words"])
    page.find_elements(By.CSS_SELECTOR, "#list .title")[1].click()
    assert said(page) == ["first words"] * 2
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#model option"))
    ask(page, "and more", Keys.ENTER)
    until(page, lambda: len(said(page)) == 4 and is_idle(page))
    assert titles(page) == ["first words", "second words"]
    page.find_element(By.CSS_SELECTOR, "#list li.open .drop").click()
    assert titles(page) == ["second words"]
    assert said(page) == []


@pytest.mark.parametrize("by_key", [True, False])
def test_the_last_answer_can_be_asked_for_again(page: Any, by_key: bool) -> None:
    for question in ("one two", "three four"):
        ask(page, question, Keys.ENTER)
        until(page, lambda q=question: is_idle(page) and said(page) and said(page)[-1] == q)
    assert len(page.find_elements(By.CSS_SELECTOR, ".again")) == 1
    choose(page, "slow-parrot")
    if by_key:
        ask(page, Keys.ALT, "r", Keys.NULL)
    else:
        page.find_element(By.CSS_SELECTOR, ".again").click()
    until(page, lambda: is_idle(page) and said(page)[-1] == "three four")
    assert said(page) == ["one two"] * 2 + ["three four"] * 2
    who = [node.text for node in page.find_elements(By.CSS_SELECTOR, ".assistant .who")]
    assert who == ["parrot", "slow-parrot"]


def test_the_list_is_a_drawer_on_a_phone(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True},
    )
    side = page.find_element(By.ID, "side")
    assert not side.is_displayed()
    page.find_element(By.ID, "menu").click()
    until(page, lambda: side.is_displayed() and side.rect["x"] == 0)
    ask_again = page.switch_to.active_element
    ask_again.send_keys(Keys.ESCAPE)
    until(page, lambda: not side.is_displayed())
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key of a service that wants one."""
    store = str(tmp_path_factory.mktemp("keyed") / "chat.db")
    _, key = add_key(store, "browser")
    program = [sys.executable, str(PARROTS.with_name("keyed_parrot.py")), store]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), key
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_key_is_asked_for_and_sources_stand_beside_the_claims(
    browser: Any, keyed: tuple[str, str]
) -> None:
    url, key = keyed
    browser.set_window_size(1100, 800)
    browser.get(url)
    door = browser.find_element(By.ID, "door")
    until(browser, door.is_displayed)
    browser.find_element(By.ID, "key").send_keys("giga-wrong", Keys.ENTER)
    until(
        browser,
        lambda: (
            door.is_displayed() and not browser.find_element(By.ID, "key").get_property("value")
        ),
    )
    browser.find_element(By.ID, "key").send_keys(key, Keys.ENTER)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#model option"))
    choose(browser, "sourced")
    ask(browser, "one two", Keys.ENTER)
    until(browser, lambda: len(said(browser)) == 2 and is_idle(browser))
    assert said(browser)[1] == "one1 two2"
    entries = browser.find_elements(By.CSS_SELECTOR, ".sources li")
    quotes = [entry.find_element(By.TAG_NAME, "q").text for entry in entries]
    assert quotes == ["It was one.", "<b>two</b>"]
    assert browser.find_elements(By.CSS_SELECTOR, ".sources a") == []
    words = browser.find_element(By.CSS_SELECTOR, ".assistant .said").rect
    assert entries[0].rect["x"] >= words["x"] + words["width"]
    browser.find_elements(By.CSS_SELECTOR, ".mark")[1].click()
    assert entries[1].get_attribute("class") == "named"
    browser.refresh()
    until(browser, lambda: titles(browser) == ["one two"])
    browser.find_element(By.CSS_SELECTOR, "#list .title").click()
    assert said(browser)[1] == "one1 two2"
    browser.execute_script("localStorage.clear(); sessionStorage.clear()")

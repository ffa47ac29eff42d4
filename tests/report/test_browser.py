"""The page in headless Chromium: nothing is blocked, it fits a phone, dark is dark."""

from __future__ import annotations

import shutil

import pytest

if not shutil.which("chromium") or not shutil.which("chromedriver"):
    pytest.skip("needs Debian's chromium and chromium-driver", allow_module_level=True)
pytest.importorskip("selenium", reason="needs the extra test")

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from gigafactory.report.page import write_report

pytestmark = pytest.mark.real

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


@pytest.fixture
def browser(tmp_path):
    options = Options()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'chromium'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def emulate(browser, *, width_px, scheme):
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def background(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_it_fits_a_phone_and_both_colour_schemes(folder, browser):
    page = write_report([folder], folder / "report.html")
    emulate(browser, width_px=390, scheme="light")
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    light = background(browser)
    emulate(browser, width_px=1200, scheme="dark")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1200
    assert background(browser) != light
    lowest = browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('svg.chart')].map(c => c.clientWidth))"
    )
    assert lowest > 700

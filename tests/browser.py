"""Headless Chromium, to open the pages that the pipeline writes as a person does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync "
    "disable-background-networking disable-component-update"
)
BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.alt)"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A Chromium of its own, without any network of its own."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


def resize(browser: Any, width: int, height: int = 900) -> None:
    """Show pages in a window of so many pixels; below 600 as on a telephone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(browser: Any, page: Path, site: Path | None = None) -> None:
    """Open a page from its file: no broken picture, no console error, nothing from elsewhere.

    Elsewhere is whatever lies outside `site`, by default the page's own folder.
    """
    browser.get_log("performance")  # what the browser loaded by itself before
    browser.get(page.as_uri())

    broken, errors = browser.execute_script(BROKEN), browser.get_log("browser")
    assert not broken, f"broken pictures: {broken}"
    assert not errors, f"errors in the console: {errors}"
    # Chromium's own first page may still be loading; a page from a file can ask for no chrome://.
    inside = ("data:", "chrome://", "chrome-untrusted://", (site or page.parent).as_uri() + "/")
    outside = [url for url in _requested(browser) if not url.startswith(inside)]
    assert not outside, f"requests that leave the page's folder: {outside}"


def _requested(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


def overhang(browser: Any) -> int:
    """Pixels by which the page is wider than its window."""
    script = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    return int(browser.execute_script(script))

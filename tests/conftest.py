"""What several test modules share."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that tests can import tools/


@pytest.fixture(scope="session")
def browser():
    """A real browser that reaches no other host; without one the tests fail, they are never skipped."""
    from tools.browser import HELP, find_browser

    path = find_browser()
    if path is None:
        pytest.fail(HELP, pytrace=False)
    with sync_playwright() as p:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = p.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()

"""Find a Chromium for the tests of the site, or install one: `python tools/browser.py`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HELP = """\
The tests open the built site in a real browser, and none could be found or installed.
Install Chromium or Chrome (Debian: apt-get install chromium; macOS: brew install --cask chromium),
run `.venv/bin/python -m playwright install chromium`, or set CHROMIUM=/path/to/it."""


def playwrights_own() -> str | None:
    """The browser that `playwright install` put in the user's cache."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        path = p.chromium.executable_path
    return path if Path(path).is_file() else None


def find_browser() -> str | None:
    """$CHROMIUM, a browser on PATH, macOS's Chrome, or playwright's own."""
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    candidates = (os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), mac if Path(mac).is_file() else None)
    return next(filter(None, candidates), None) or playwrights_own()


def install() -> None:
    """Try playwright's download, then Debian's package."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        attempts += [["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium"]]
    for command in attempts:
        print("No browser yet:", *command, flush=True)
        subprocess.run(command, check=False)
        if find_browser():
            return


if __name__ == "__main__":
    if not find_browser():
        install()
    found = find_browser()
    print(f"Browser: {found}" if found else HELP, file=sys.stdout if found else sys.stderr)
    sys.exit(not found)

"""What tests of pages share."""

import json
import re


def payload(path):
    """The content of a report."""
    html = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="sf-data">(.*?)</script>', html, re.DOTALL).group(1))


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

"""Check that every link of the built site leads to a file of it, and to an anchor that is there.

python docs/check_links.py SITE

Links to other hosts are not followed: ``sphinx-build -b linkcheck docs OUTPUT`` does that, where there is a
network.
"""

import argparse
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")


def broken_links(site: Path) -> Iterator[str]:
    """Yield a line for each link that leads nowhere: the page, and the link as it is written there."""
    site = site.resolve()
    pages: dict[Path, _Page] = {}
    for file in sorted(site.rglob("*.html")):
        if file.is_relative_to(site / "_static"):  # templates of the theme
            continue
        pages[file] = page = _Page()
        page.feed(file.read_text(encoding="utf-8"))
    for file, page in pages.items():
        for link in dict.fromkeys(page.links):
            if urlsplit(link).scheme in ("http", "https", "mailto", "data", "javascript"):
                continue
            target = (file.parent / unquote(urlsplit(link).path)).resolve() if urlsplit(link).path else file
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(urlsplit(link).fragment)
            there = target.is_file() and target.is_relative_to(site)
            if not there or (anchor and target in pages and anchor not in pages[target].anchors):
                yield f"{file.relative_to(site)}: {link!r}"


def main() -> int:
    """Print what is broken; return 1 if anything is."""
    parser = argparse.ArgumentParser(description="Check that the links within a built site lead somewhere.")
    parser.add_argument("site", type=Path, help="the folder that sphinx-build has written")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        parser.error(f"{site} is no built site: it has no index.html")
    broken = list(broken_links(site))
    for line in broken:
        print(line, file=sys.stderr)
    print(f"{len(broken)} broken links")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What setup.cfg cannot say: the README as a package index shows it, where relative links lead nowhere."""

import re
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

from setuptools import setup

ROOT = Path(__file__).parent


def absolute_links(text: str, site: str, repository: str) -> str:
    """Return a README whose relative links are absolute.

    Pages below docs lead to the site, pictures to their files, and all else to the repository.

    Args:
        text: Markdown, with links relative to the repository's root, also in HTML's ``src`` and ``href``.
        site: address of the documentation, e.g. ``https://name.readthedocs.io``.
        repository: address of the repository, e.g. ``https://github.com/owner/name``.
    """

    def absolute(match: re.Match[str]) -> str:
        before, link = match.groups()
        if re.match(r"[a-z]+:|#|//", link):
            return match[0]
        path, hash_sign, part = link.partition("#")
        file = PurePosixPath(path)
        if path.startswith("docs/") and file.suffix in (".md", ".ipynb"):
            page = file.relative_to("docs").with_suffix(".html")
            return f"{before}{site}/en/latest/{page}{hash_sign}{part}"
        kind = "raw" if file.suffix in (".png", ".svg", ".gif", ".jpg") else "blob"
        return f"{before}{repository}/{kind}/main/{file}{hash_sign}{part}"

    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    for index in range(0, len(pieces), 2):  # the others are code
        pieces[index] = re.sub(r"""(\]\(|\b(?:src|srcset|href)=["'])([^)\s"']+)""", absolute, pieces[index])
    return "".join(pieces)


def description() -> str:
    """Return the README with the addresses of setup.cfg."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    urls = dict(line.split(" = ") for line in config["metadata"]["project_urls"].strip().splitlines())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return absolute_links(text, urls["Documentation"], urls["Source"])


if __name__ == "__main__":  # as it is when a package is built
    setup(long_description=description())

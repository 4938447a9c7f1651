"""The check of the site's links finds what leads nowhere."""

import pytest
from check_links import broken_links

PAGE = '<html><body><h1 id="top">T</h1><a href="{link}">x</a><img src="p.png"></body></html>'


@pytest.fixture
def site(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "part" / "p.png").write_bytes(b"")
    (tmp_path / "part" / "index.html").write_text(PAGE.format(link="../index.html#top"))
    return tmp_path


@pytest.mark.parametrize(
    "link",
    ["#top", "", "part/", "part/index.html#top", "https://example.org/x#y", "p.png", "mailto:a@example.org"],
)
def test_a_link_that_leads_somewhere(site, link):
    (site / "index.html").write_text(PAGE.format(link=link))
    assert list(broken_links(site)) == []


@pytest.mark.parametrize("link", ["#no", "no.html", "part/no.html", "part/#no", "../outside.html", "q.png"])
def test_a_link_that_leads_nowhere_is_named_with_its_page(site, link):
    (site.parent / "outside.html").write_text("")
    (site / "index.html").write_text(PAGE.format(link=link))
    assert list(broken_links(site)) == [f"index.html: {link!r}"]

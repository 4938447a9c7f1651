"""Every code block says what it is, so that it is run or read as such."""

import pytest

from helpers.fences import LANGUAGES, ROOT, fences, pages

PAGE = """# A page

```bash
ls
```

- a list

  ```python
  x = 1
  if x:
      x = 2
  ```

````{tab-set}
```yaml
a: 1
```
````

```{toctree}
:maxdepth: 1
```

~~~
bare
~~~
"""


def test_blocks_have_their_language_line_and_text(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    found = [(fence.place, fence.language, fence.text) for fence in fences(tmp_path / "page.md")]
    assert found == [
        ("page.md:4", "bash", "ls\n"),
        ("page.md:10", "python", "x = 1\nif x:\n    x = 2\n"),
        ("page.md:17", "yaml", "a: 1\n"),
        ("page.md:26", "", "bare\n"),
    ]


def test_a_block_that_does_not_end_is_named(tmp_path):
    (tmp_path / "page.md").write_text("# A\n\n```bash\nls\n")
    with pytest.raises(ValueError, match="page.md:3: a block that does not end"):
        fences(tmp_path / "page.md")


def test_the_pages_are_those_that_people_read():
    found = {page.relative_to(ROOT).as_posix() for page in pages()}
    assert {
        "README.md",
        "docs/index.md",
        "docs/guides/audit.md",
        "docs/reference/performance/lidc.md",
    } <= found
    assert {"bundles/pneumonia/docs/README.md", "monai_sf/bundle/templates/README.md"} <= found


def test_every_block_has_a_language():
    wrong = [
        f"{fence.place}: {fence.language or 'no language'}"
        for page in pages()
        for fence in fences(page)
        if fence.language not in LANGUAGES
    ]
    assert not wrong, "\n".join([f"a block is one of {', '.join(LANGUAGES)}:", *wrong])

"""What a page has wrong is found, and named with page and line."""

import pytest

from helpers.fences import PageError
from helpers.reader import Page, Reader


def read(folder, text, about=None):
    for name in ("world", "own"):
        (folder / name).mkdir()
    page = folder / "page.md"
    page.write_text(text)
    reader = Reader(page, about or Page(), folder / "world", folder / "own")
    reader.read()
    return reader


BASH = "# Page\n\n```bash\nmkdir there\n{}\n```\n"
PYTHON = "# Page\n\n```python\nimport warnings\n\n{}\n```\n"
CONFIG = "imports: [$import os]\ninitialize: []\nrun: [$os.makedirs(@folder)]\nfolder: made\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            BASH.format("python -m monai_sf.tables there --no-such-option"),
            "page.md:5: ended with the status 2: ",
        ),
        (
            BASH.format("python -m monai_sf.no_such_module && ls"),
            "page.md:5: ended with the status 1: python -m",
        ),
        (
            BASH.format("python -c 'raise SystemExit(3)' && ls"),
            "page.md:5: ended with the status 3: python -c",
        ),
        (
            BASH.format("python -m monai.bundle run --config_file no.yaml"),
            "page.md:5: ended with the status 1: ",
        ),
        (
            BASH.format("python -m monai.bundle run --config_file no.yaml --no_such_key x"),
            "page.md:5: ended with the status 1: "
            "python -m monai.bundle run --config_file no.yaml --no_such_key x\n\n"
            "no config has the key no_such_key",
        ),
        (
            BASH.format("pip install 'monai-sf[no_such_extra]' && ls"),
            "page.md:5: ended with the status 1: pip",
        ),
        (BASH.format("pip install no-such-package"), "page.md:5: ended with the status 1: pip"),
        (BASH.format("xdg-open report.html"), "page.md:5: ended with the status 1: xdg-open report.html"),
        (BASH.format("ls there/no"), "page.md:5: ended with the status 2: ls there/no"),
        (BASH.format("no-such-command"), "page.md:5: ended with the status 127: no-such-command"),
        (BASH.format("ls $no_such_variable"), "page.md:4: the block ended with the status 1"),
        (PYTHON.format("from monai_sf import no_such_name"), "page.md:6: ImportError: cannot import name"),
        (
            PYTHON.format("def f():\n    return no_such_name\n\n\nf()"),
            "page.md:7: NameError: name 'no_such_name'",
        ),
        (PYTHON.format("warnings.warn('old', FutureWarning)"), "page.md:6: warns: old"),
        (PYTHON.format("x = (1"), "page.md:6: SyntaxError"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "page.md:6: the block before it prints\n1\n"),
        ("```yaml\na: [1\n```\n", "page.md:2: ParserError"),
        ('```json\n"a": {"b": 1},\n```\n', "page.md:2: JSONDecodeError"),
    ],
)
def test_a_mistake_is_named_with_page_and_line(tmp_path, wrong, said):
    with pytest.raises(PageError) as caught:
        read(tmp_path, wrong)
    assert str(caught.value).startswith(said)


def test_blocks_share_folder_and_names_in_their_order(tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    text = (
        "```bash\nmkdir a && cd a\n```\n```python\nfrom pathlib import Path\n\nhere = Path.cwd().name\n```\n"
        "```bash\npython -m monai.bundle run --config_file PLACE/small.yaml --folder b && cd b\n```\n"
        "```python\nhere += '/' + Path.cwd().name\nspoken = word\n```\n"
    )
    about = Page(lambda folder: {"word": "x"}, swaps={"PLACE": "{folder}/.."})
    reader = read(tmp_path, text, about)
    assert (reader.names["here"], reader.names["spoken"]) == ("a/b", "x")

"""The site: ``sphinx-build -W docs OUTPUT``; see CONTRIBUTING.md."""

import importlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from docutils.nodes import Element
from nbclient import NotebookClient
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import inspect as sphinx_inspect

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from config_keys import write_config_keys  # noqa: E402
from gallery_reports import build  # noqa: E402
from public_names import MODULES, public_names  # noqa: E402
from reference_pages import write_pages  # noqa: E402

REPOSITORY = "https://github.com/monai-sf/monai-sf"

project = "monai_sf"
author = "The monai_sf contributors"
copyright = "The monai_sf contributors. Apache 2.0. For research; not a medical device"
version = release = importlib.metadata.version("monai-sf")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["**.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [(".*", r"(?!monai_sf\b).*")]  # other projects' names are not documented here

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}  # which is shown, and not what it stands for
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # which would read object_ as a link
napoleon_use_ivar = True
python_use_unqualified_type_names = True
default_role = "py:obj"  # a name in single backticks leads to it, if it is public

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
myst_html_meta = {
    "description": "Measure, show and help to prevent silent failures of medical image classifiers",
}

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
# A shell's output comes in pieces, and myst_nb would begin a line with each: it gets them joined.
NotebookClient.coalesce_streams = True
# The cells' commands begin with python, which is this one whatever the shell would find.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
if torch.version.cuda is None:  # the tutorials' kernels, and what they start, import torchvision all the same
    paths = (str(DOCS / "without_cuda"), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

html_theme = "pydata_sphinx_theme"
html_title = "monai_sf"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "https://monai-sf.readthedocs.io/en/latest/")
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}
html_sidebars = {"gallery/index": []}
html_theme_options = {
    "logo": {
        "text": "monai_sf",
        "image_light": "static/favicon.svg",
        "image_dark": "static/favicon.svg",
        "alt_text": "",
    },
    "icon_links": [{"name": "Source code", "url": REPOSITORY, "icon": "fa-brands fa-github"}],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_exclude = ".linenos, .gp, .go"


def _write_bundles(folder: Path) -> None:
    """Write a page for each bundle: its README, whose links are those of its folder."""
    folder.mkdir(exist_ok=True)
    for readme in sorted(ROOT.glob("bundles/*/docs/README.md")):
        name = readme.parent.parent.name
        text = _links(readme.read_text(encoding="utf-8"), readme.parent, folder)
        page = folder / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _links(text: str, place: Path, page: Path) -> str:
    """Rewrite relative links of a text in folder ``place`` for a page of the site in folder ``page``.

    Pages of the site and pictures stay relative; a bundle's README is its page in the reference.
    Any other file is shown by the repository.
    """

    def other(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        file = Path(os.path.normpath(place / target))
        if bundle := re.fullmatch(r"bundles/(\w+)/docs/README\.md", file.relative_to(ROOT).as_posix()):
            file = DOCS / "reference" / "bundles" / f"{bundle[1]}.md"
        elif not file.is_relative_to(DOCS) and file.suffix not in (".png", ".svg"):
            kind = "tree" if file.is_dir() else "blob"
            return f"{match[1]}{REPOSITORY}/{kind}/main/{file.relative_to(ROOT).as_posix()}{match[3]}"
        relative = os.path.relpath(file, page)
        return f"{match[1]}{relative}{'#' + anchor if anchor else ''}{match[3]}"

    return re.sub(r"(\]\()([^)\s]+)(\))", other, text)


def _rewrite_links(app: Sphinx, docname: str, source: list[str]) -> None:
    if Path(app.env.doc2path(docname)).suffix == ".md":
        folder = (DOCS / docname).parent
        source[0] = _links(source[0], folder, folder)


def _public_place(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Let a name that is defined elsewhere lead to the page where it is public.

    An inner one is plain text. What is not there at all stays a warning.
    """
    target = node.get("reftarget", "")
    if not target.startswith("monai_sf"):
        return None
    thing = _object(target)
    if thing is None:
        return None
    for place in MODULES:
        module = importlib.import_module(f"monai_sf.{place}")
        for name in public_names(module):
            if getattr(module, name) is thing and target != f"monai_sf.{place}.{name}":
                domain = env.domains["py"]
                full = f"monai_sf.{place}.{name}"
                return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
    return content


def _object(name: str) -> object:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def _readable(
    app: Sphinx, what: str, name: str, thing: Any, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show the arguments of MONAI's dictionary transforms, which hide them, and defaults that are no Python.

    Sphinx could not read a signature with the latter, and would show it without links.
    """
    if what == "class" and signature == "(*args, **kwargs)":
        own = sphinx_inspect.signature(thing.__init__, bound_method=True)
        signature = sphinx_inspect.stringify_signature(
            own, show_return_annotation=False, unqualified_typehints=True
        )
    return signature and _short(re.sub("= <[^>]+>", "= ...", signature)), returns and _short(returns)


def _short(types: str) -> str:
    """Write types of arrays as they are written in the code."""
    types = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", types)
    array = r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[([^]]+)\]\]"
    return re.sub(array, r"NDArray[\1]", types)


def _gallery(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        build(Path(app.outdir))


write_pages(DOCS / "reference" / "api")
write_config_keys(DOCS / "reference" / "config_keys.md")
_write_bundles(DOCS / "reference" / "bundles")


def setup(app: Sphinx) -> None:
    """Connect what this file does to the pages."""
    app.connect("source-read", _rewrite_links)
    app.connect("missing-reference", _public_place)
    app.connect("autodoc-process-signature", _readable)
    app.connect("build-finished", _gallery)

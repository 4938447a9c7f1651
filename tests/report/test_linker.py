import re
from importlib import resources

import pytest

from monai_sf.report.linker import LinkError, link

ENTRY = 'import { a, b } from "./other.js";\n\nconst own = 1;\na(b, own);\n'
OTHER = "export const b = 2;\nconst own = 3;\nexport function a(x, y) {\n  log(x, y, own);\n}\n"


def test_modules_keep_to_themselves_what_they_do_not_export():
    assert link({"main.js": ENTRY, "other.js": OTHER, "unused.js": "export default 1;"}, "main.js") == (
        '(() => {\n"use strict";\n'
        "const $other = (() => {\n"
        "const b = 2;\nconst own = 3;\nfunction a(x, y) {\n  log(x, y, own);\n}\n"
        "return { b, a };\n})();\n"
        "const $main = (() => {\n"
        "const { a, b } = $other;\n\nconst own = 1;\na(b, own);\n"
        "return {  };\n})();\n"
        "})();"
    )


def test_a_module_comes_once_and_after_all_that_it_imports():
    script = link(
        {
            "main.js": 'import { x } from "./x.js";\nimport {\n  y,\n  z,\n} from "./y-2.js";\nx(y, z);',
            "x.js": 'import { y } from "./y-2.js";\nexport const x = () => y;',
            "y-2.js": "export class y {}\nexport async function z() {}",
        },
        "main.js",
    )
    assert re.findall(r"const (\$\w+) =", script) == ["$y_2", "$x", "$main"]


@pytest.mark.parametrize(
    ("main", "other", "message"),
    [
        (ENTRY, None, "other.js does not exist, but main.js imports it"),
        (ENTRY, "export const b = 1;\nconst a = 1;", "main.js imports a, which other.js does not export"),
        (ENTRY, f'import {{ c }} from "./main.js";\n{OTHER}', "main.js -> other.js -> main.js"),
        (ENTRY, f"{OTHER}function own() {{}}", "other.js declares twice: own"),
        (f"{ENTRY}const b = 1;", OTHER, "main.js declares twice: b"),
        ('import { a as c } from "./other.js";', OTHER, "not supported: import { a as c }"),
        ('import * as other from "./other.js";', OTHER, r"not supported: import \*"),
        ('import "./other.js";', OTHER, 'not supported: import "./other.js"'),
        ('import { a } from "https://example.org/other.js";', OTHER, "not supported: import { a }"),
        ('const other = await import("./other.js");', OTHER, "not supported: const other = await import"),
        (ENTRY, f"{OTHER}export default a;", "not supported: export default a"),
        (ENTRY, f"{OTHER}export {{ own }};", "not supported: export { own }"),
        (ENTRY, f"{OTHER}export let c = 1;", "not supported: export let c"),
        (ENTRY, f"{OTHER}export const {{ c }} = own;", "not supported: export const { c }"),
        (ENTRY, f"{OTHER}  export const c = 1;", "not supported: export const c"),
    ],
)
def test_what_cannot_be_linked_is_refused(main, other, message):
    modules = {"main.js": main} | ({"other.js": other} if other else {})
    with pytest.raises(LinkError, match=message):
        link(modules, "main.js")


def test_every_script_of_the_page_is_used():
    folder = resources.files("monai_sf.report") / "scripts"
    modules = {f.name: f.read_text(encoding="utf-8") for f in folder.iterdir()}
    linked = re.findall(r"^const \$(\w+)", link(modules, "main.js"), re.MULTILINE)
    assert sorted(f"{name}.js" for name in linked) == sorted(modules)

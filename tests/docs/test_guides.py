"""The blocks of README and guides run as a reader would run them."""

import shlex

import numpy as np
import pytest
import yaml

from helpers.fences import ROOT, fences
from helpers.own_images import write_study
from helpers.worlds import pages_with_blocks, read
from monai_sf.bundle.__main__ import main


@pytest.mark.e2e
@pytest.mark.parametrize("page", pages_with_blocks(about_bundles=False))
def test_the_blocks_of_a_page_run(page, tmp_path):
    read(page, tmp_path)


def test_the_options_for_studies_add_those_that_the_page_says(tmp_path):
    """Of blocks that hold options and no command; each line is given to the page's first command."""
    table = write_study(tmp_path, classes=("keratosis", "melanoma", "nevus"), side=16, n=144)
    patient = table["patient"].str[1:].astype(int)
    table["hospital"] = np.array(["A", "A", "A", "A", "B", "C"])[patient // 3 % 6]
    table["scanner"], table["era"] = patient.map(lambda n: "GE" if n % 7 < 2 else "Other"), "2020s"
    table.loc[patient % 5 == 0, "era"] = "1990s"
    table.loc[patient % 11 == 0, "finding"] = "other"
    table.to_csv(tmp_path / "cases.csv", index=False)
    page = ROOT / "docs/guides/own_images.md"
    lines = [line for fence in fences(page) if fence.language == "text" for line in fence.text.splitlines()]
    studies = [["hospital_b", "scanner_ge"], ["external"], ["old_ge"], ["unknown"], ["without_melanoma"]]
    for number, (line, names) in enumerate(zip(lines, studies, strict=True)):
        options = shlex.split(line, comments=True)
        known = [] if "other" in options else ["--missing", "drop", "--unknown", "other"]
        folder = tmp_path / f"study_{number}"
        given = ["--table", f"{tmp_path}/cases.csv", "--dataset_dir", f"{tmp_path}/images"]
        columns = ["--image", "path", "--label", "finding", "--group", "patient"]
        assert main(["new", str(folder), *given, *columns, *options, *known]) == 0, line
        made = yaml.safe_load((folder / "configs" / "data.yaml").read_text())["studies"]
        assert [name for name in made if name != "unknown" or not known] == names

"""A training and its evaluation, which tests of this folder share and leave as they are."""

import pytest

from helpers.toy_engines import make_evaluator, make_trainer


@pytest.fixture(scope="package")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    make_trainer(folder, epochs=6).run()
    return folder


@pytest.fixture(scope="package")
def evaluated(unbroken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "best.pt").write_bytes((unbroken / "best.pt").read_bytes())
    make_evaluator(folder).run()
    return folder

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["arguments", "array", "augment", "borders", "corrupt", "sweep"])
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"monai_sf.transforms.{name}"))
    assert result.attempted > 0
    assert result.failed == 0

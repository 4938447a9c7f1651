"""The blocks of the pages on bundles and on what becomes of their runs run as a reader would run them."""

import pytest

from helpers.worlds import pages_with_blocks, read


@pytest.mark.e2e
@pytest.mark.parametrize("page", pages_with_blocks(about_bundles=True))
def test_the_blocks_of_a_page_run(page, tmp_path):
    read(page, tmp_path)

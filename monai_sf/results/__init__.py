"""Results of a run: their format on disk, writing, reading, and import from arrays or FD-Shifts.

Examples:
    >>> from monai_sf.results import ARRAYS, FORMAT, FORMAT_VERSION, KINDS
    >>> f"run.json of format {FORMAT}, version {FORMAT_VERSION}"
    'run.json of format monai_sf.results, version 2'
    >>> KINDS  # of test sets
    ('iid', 'corruption', 'acquisition', 'manifestation', 'new_class')
    >>> # what a test set may hold for every case
    >>> shape, meaning = ARRAYS["mcd_log_softmax"]
    >>> shape, meaning
    ('C', 'log of the mean softmax over T dropout samples')
"""

from monai_sf.results.fd_shifts import read_fd_shifts
from monai_sf.results.format import ARRAYS, FORMAT, FORMAT_VERSION, ResultsError
from monai_sf.results.reader import check_results, load_results
from monai_sf.results.results import Results
from monai_sf.results.test_set import TestSet
from monai_sf.results.writer import ResultsWriter, TestSetWriter
from monai_sf.vocabulary.shifts import KINDS

__all__ = [
    "ARRAYS",
    "FORMAT",
    "FORMAT_VERSION",
    "KINDS",
    "Results",
    "ResultsError",
    "ResultsWriter",
    "TestSet",
    "TestSetWriter",
    "check_results",
    "load_results",
    "read_fd_shifts",
]

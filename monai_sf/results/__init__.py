"""Results of a run: their format on disk, writing, reading, and import from arrays or FD-Shifts."""

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

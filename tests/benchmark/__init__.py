"""Tests of the benchmark, and the toy bundle that they run."""

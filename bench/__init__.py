"""The benchmarks: `python -m bench`, or `make bench`, prints one table from one run."""

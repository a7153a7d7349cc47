"""What scripts/bench.py measures, one topic a file; each has `measure() -> Report`."""

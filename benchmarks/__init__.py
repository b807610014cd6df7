"""Benchmarks of the service beside its peers and its floors."""

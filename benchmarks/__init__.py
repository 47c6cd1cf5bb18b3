"""Benchmarks of fastdnn: each kernel against the reference, whole steps against other libraries."""

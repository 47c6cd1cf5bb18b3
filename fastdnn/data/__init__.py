"""Data sets from files, read whole or block by block."""

from .loading import Dataset, load_dataset, load_digits_dataset
from .sources import (
    ArraySource,
    Hdf5Source,
    SelectedSource,
    Source,
    block_ranges,
    natural_dtype,
    prefetch,
    to_float,
    whole_blocks,
)
from .splitting import train_test_split

__all__ = [
    "ArraySource",
    "Dataset",
    "Hdf5Source",
    "SelectedSource",
    "Source",
    "block_ranges",
    "load_dataset",
    "load_digits_dataset",
    "natural_dtype",
    "prefetch",
    "to_float",
    "train_test_split",
    "whole_blocks",
]

"""Data sets from files, read whole or block by block."""

from .loading import Dataset, load_dataset, load_digits_dataset
from .sources import ArraySource, Hdf5Source, Source, block_ranges, prefetch, to_float
from .splitting import train_test_split

__all__ = [
    "ArraySource",
    "Dataset",
    "Hdf5Source",
    "Source",
    "block_ranges",
    "load_dataset",
    "load_digits_dataset",
    "prefetch",
    "to_float",
    "train_test_split",
]

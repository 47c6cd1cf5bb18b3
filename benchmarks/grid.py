"""The grid: the networks every benchmark of this project is measured on.

One row is one network and one batch.  The rows run from a network so small that only the cost of
the calls shows, to one so large that only the matrix products do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Row:
    """One network of the grid.

    Parameters
    ----------
    name : str
        What tables and ``--rows`` call it.
    layer_dims : tuple of int
        Units per layer, the input first.
    output_activation : {"sigmoid", "softmax", "identity"}
        It decides the loss: binary or categorical cross-entropy, half mean squared error.
    batch : int
        Examples per step, or per forward pass.
    hidden_activation : str
        Activation of every hidden layer.
    adam : bool
        Whether the row is also measured with Adam.
    kind : {"train", "inference", "product"}
        A whole training step, a forward pass only, or nothing but W X of one layer.
    """

    name: str
    layer_dims: tuple[int, ...]
    output_activation: str
    batch: int
    hidden_activation: str = "relu"
    adam: bool = False
    kind: str = "train"

    @property
    def network(self) -> str:
        """The layers as one word, runs of equal widths folded: ``64x16-10``."""
        words: list[str] = []
        start = 0
        for stop in range(1, len(self.layer_dims) + 1):
            if stop == len(self.layer_dims) or self.layer_dims[stop] != self.layer_dims[start]:
                width, times = self.layer_dims[start], stop - start
                words += [f"{width}x{times}"] if times > 3 else [str(width)] * times
                start = stop
        return "-".join(words)

    @property
    def flops(self) -> int:
        """Floating-point operations of one step: the matrix products only.

        A product of ``(n, k)`` by ``(k, m)`` counts ``2 m n k``.  A training step makes three of
        that size per layer (forward, dW, dA) except the first layer, whose dA nobody needs.

        Examples
        --------
        >>> Row("example", (3, 2, 1), "sigmoid", batch=10).flops
        360
        """
        forward = [2 * self.batch * n_in * n_out for n_in, n_out in pairwise(self.layer_dims)]
        return 3 * sum(forward) - forward[0] if self.kind == "train" else sum(forward)


GRID: tuple[Row, ...] = (
    Row("tiny", (2, 16, 1), "sigmoid", 32),
    Row("simplechains", (4, 32, 16, 4), "identity", 10_000, hidden_activation="tanh", adam=True),
    Row("digits", (64, 128, 10), "softmax", 128),
    Row("cat", (12288, 20, 7, 5, 1), "sigmoid", 209),
    Row("small", (784, 128, 10), "softmax", 64, adam=True),
    Row("medium", (784, 256, 128, 10), "softmax", 128, adam=True),
    Row("deep-narrow", (*(64,) * 16, 10), "softmax", 4096),
    Row("mnist-large", (784, 512, 512, 10), "softmax", 1024),
    Row("large", (1024, 2048, 2048, 1000), "softmax", 1024, adam=True),
    Row("inference-1", (784, 128, 10), "softmax", 1, kind="inference"),
    Row("inference-65536", (784, 128, 10), "softmax", 65_536, kind="inference"),
)

PRODUCTS: tuple[Row, ...] = tuple(
    Row(f"product-{n}", (n, n), "identity", n, kind="product") for n in (512, 1024, 2048)
)
"""Square products, beside each library's own: what large networks spend their time on."""

ROWS = GRID + PRODUCTS


def find_rows(names: str, grid: tuple[Row, ...] = ROWS) -> list[Row]:
    """Rows of the grid by comma-separated names, in the order of the grid.

    Raises
    ------
    ValueError
        If a name is not in the grid; the message lists those that are.

    Examples
    --------
    >>> [row.batch for row in find_rows("digits,tiny")]
    [32, 128]
    """
    wanted = {name.strip() for name in names.split(",")}
    unknown = wanted - {row.name for row in grid}
    if unknown:
        known = ", ".join(row.name for row in grid)
        raise ValueError(f"no such row: {', '.join(sorted(unknown))}; the grid has {known}")
    return [row for row in grid if row.name in wanted]

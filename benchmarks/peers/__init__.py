"""fastdnn beside NumPy, PyTorch, JAX and scikit-learn: ``python -m benchmarks.peers``.

====================  ==========================================================================
``problem.py``        what is solved: the same parameters and data for every contestant
``contestants/``      how each library solves it, one module per library
``worker.py``         the process a contestant runs in; it times itself when told to
``runner.py``         starts the workers and lets them take turns
``results.py``        what follows from the samples: best peer, ratio, share of the peak
``report.py``         the tables, and their place in the README
``chart.py``          the picture
====================  ==========================================================================
"""

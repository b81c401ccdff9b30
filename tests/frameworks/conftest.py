"""Not for the process that runs all tests: each file is run in one of its own, by its name.

Looking for doctests would import them, and JAX with them: from then on no test may fork.
"""

collect_ignore_glob = ["*.py"]

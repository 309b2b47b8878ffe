"""For all tests: their output is nobody's screen."""

import os

# Workers of pytest-xdist are told the width of theirs, which tables would be folded to.
os.environ.pop("COLUMNS", None)

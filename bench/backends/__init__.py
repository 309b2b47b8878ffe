"""How families of chips are reached: one file a backend, behind one contract (`base`)."""

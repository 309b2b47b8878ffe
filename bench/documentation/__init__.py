"""The reference in ``docs/reference``: written from the code that it is about, never by hand."""

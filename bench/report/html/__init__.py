"""Pages that open without a network: one file each, in which plotly draws.

`page` is what a page is made of, `render` makes it a file, `words` says its own words in Chinese;
`run` gathers the sections of a run's page, a module a section.
"""

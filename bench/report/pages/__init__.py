"""Pages of what commands print as JSON or write beside a run: a module a kind of document.

`documents` recognises a file by what it holds and gives its page; each of the others makes one of
such a document, with the blocks of `bench.report.html`. They need no plotly: a page that is kept
with every change stays small.
"""

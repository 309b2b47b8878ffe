"""A run as text: Markdown, lines of values, JUnit. Its page is `html.run`."""

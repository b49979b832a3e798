"""Projects that nobody here wrote, trained with RepWatch as their own documentation does.

`make integration` gives each an environment of its own and trains it twice, without and with
`RepWatch()`. What came of it is the table of docs/projects.md.
"""

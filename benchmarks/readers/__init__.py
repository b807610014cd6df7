"""Other readers that can be installed and used without a network, on the same rows as ours.

Python's each have an environment of their own under `.readers/`; Tesseract and OCRAD are programs
on the path. `python -m benchmarks.readers` makes the rows, has all read them, and prints the table
of `docs/numbers.md`.
"""

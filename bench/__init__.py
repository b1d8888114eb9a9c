"""What the program costs and how fast it is, beside what people would use instead: `python -m bench`, `make bench`.

Everything is measured against the sandbox's stand-ins in a process of their own, so that their work is not counted as
ours; what is compared is measured in the same run. `rows/` has a module for each group of lines of the table.
"""

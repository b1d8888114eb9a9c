"""The ledger: what was observed in GitLab and what was put into Rally, in one SQLite file with one writer.

This file imports nothing: `status` needs only `store` and `views`, and must be quick.
"""

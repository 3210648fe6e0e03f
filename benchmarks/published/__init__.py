"""The training behind published peaks, and the rows that it is compared with."""

"""Tasks with known answers, the methods that are compared on them, and what is measured: the command ``cprs eval``."""

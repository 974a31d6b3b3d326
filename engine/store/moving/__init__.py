"""Moves a whole site between SQLite in a data folder and PostgreSQL, both ways, row by row as it is.

marks      what is written of a move in either store; `refuse_unfinished` is what a start asks
tables     the tables that are copied, with their columns and keys
sides      a store as one end of a move: opened, held against everybody else, written to
shared     the end that is PostgreSQL: rows under row security, lanes for what is open
copying    chunks of rows, each one commit together with how far it has come
move       the whole of it: hold both, copy, compare, hand over
"""

from engine.store.moving.marks import refuse_unfinished

__all__ = ["refuse_unfinished"]

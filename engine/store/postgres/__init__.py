"""The store for several machines: PostgreSQL. Everything in which it differs from the embedded store is in here.

connection   the same statements, rendered for PostgreSQL and run through asyncpg where the store commits or reads
ledger       what several processes share: numbers under row locks, lanes that one process at a time owns
membership   a process among the others: its lease, its epoch, its writer number
store        the store itself: opening, taking lanes, burying processes that are gone
schema       numbered migrations, made by the owner of the schema; the engine's role owns nothing
safety       what is refused: settings that would lose what was acknowledged, roles that pass row security
"""

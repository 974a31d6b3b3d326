"""The ledger oracle: what the laboratories, the receivers and the store each know must be one story, by sets of ids.

I1  every acknowledged message is found in the store and reached each destination, or is held there in plain sight
I2  every arrival was sent: equal bytes where nothing is converted, equal bytes on every repeat
I3  the balance closes, in the process and by `interlock balance`
I4  first arrivals of each lane are in the order in which the laboratory had them acknowledged
I5  a message came again only where its trace shows an attempt in doubt, and not more often
I6  every answer named its message, on its connection, once a frame
"""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.balance import balance
from engine.cli import main
from engine.model import show_id
from engine.search import Search, search
from engine.store.keyring import control_key
from engine.store.open_read import Reader, open_for_reading
from engine.trace import trace

from .engine_child import Engine
from .laboratory import Book
from .sinks import Arrival

IN_DOUBT = "outcome IS NULL OR outcome = 'ambiguous'"
DELIVERIES = f"""
    SELECT m.control, d.state, d.reason, d.message,
           (SELECT count(*) FROM attempt a WHERE a.delivery = d.id AND ({IN_DOUBT}))
    FROM delivery d JOIN message m ON m.id = d.message WHERE d.channel = ? AND d.destination = ?
"""


@dataclass(frozen=True, slots=True)
class Way:
    """From one laboratory, through a channel, to one receiver."""

    channel: str
    destination: str
    book: Book
    arrivals: Sequence[Arrival]
    verbatim: bool


@dataclass(slots=True)
class Figures:
    """What a case counted, for the summary."""

    kills: int = 0
    acknowledged: int = 0
    arrived: int = 0
    repeated: int = 0
    in_doubt: int = 0
    held: int = 0
    resent: int = 0
    negative: int = 0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Oracle:
    """Checks one stopped engine's store against everybody's books."""

    engine: Engine
    figures: Figures = field(default_factory=Figures)

    def check(self, ways: Sequence[Way]) -> Figures:
        reader = open_for_reading(self.engine.data, "")
        try:
            books = {way.channel: way.book for way in ways}
            for channel, book in books.items():
                self._acknowledged_is_stored(reader, channel, book)
                self._answers_fit(book)
            for way in ways:
                self._way(reader, way)
            account = balance(reader.connection)
            assert account.faults == (), account.faults
        finally:
            reader.close()
        said = io.StringIO()
        with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
            main(["balance", "--json", "--data", str(self.engine.data)])
        assert ended.value.code == 0, said.getvalue()
        assert json.loads(said.getvalue())["open"] is False
        return self.figures

    def _acknowledged_is_stored(self, reader: Reader, channel: str, book: Book) -> None:
        """I1, the store's half: each acknowledged id is found as a person would find it."""
        now = time.time_ns() // 1000
        for control in book.acknowledged:
            found = search(reader.connection, reader, Search(channel=channel, control_id=control), now)
            kept = [m for m in found.messages if m.state == "accepted"]
            assert len(kept) == 1, f"{control} was acknowledged and is {len(kept)} times in the store"
        self.figures.acknowledged += len(book.acknowledged)
        self.figures.resent += max(0, book.tries - len(book.sent))
        self.figures.negative += len(book.negative)

    @staticmethod
    def _answers_fit(book: Book) -> None:
        """I6."""
        assert book.wrong == []
        assert book.acknowledged.keys() <= book.sent.keys()

    def _way(self, reader: Reader, way: Way) -> None:
        states = self._states(reader, way)
        arrived = defaultdict(list)
        for arrival in way.arrivals:
            arrived[arrival.control].append(arrival)
        self._reached(way, states, arrived)
        self._no_phantom(way, arrived)
        self._in_order(way)
        self._repeats_are_explained(reader, way, states, arrived)
        self.figures.arrived += len(arrived)

    @staticmethod
    def _states(reader: Reader, way: Way) -> dict[str, tuple[str, str, int, int]]:
        """What the store says of each message's delivery: state, reason, message, attempts in doubt."""
        names = {control_key(reader.keys("site"), control): control for control in way.book.sent}
        rows = reader.connection.execute(DELIVERIES, (way.channel, way.destination)).fetchall()
        assert all(row[0] in names for row in rows), "the store holds a message that nobody sent"
        assert len({row[0] for row in rows}) == len(rows), "a message was routed twice"
        return {names[row[0]]: row[1:] for row in rows}

    def _reached(
        self, way: Way, states: Mapping[str, tuple[str, str, int, int]], arrived: Mapping[str, list[Arrival]]
    ) -> None:
        """I1, the receiver's half; what the site's rule holds is held, and nothing else is."""
        for control in way.book.acknowledged:
            state = states[control][0]
            if way.book.sent[control].held and not way.verbatim:
                assert (state, states[control][1]) == ("held", "held_by_site"), f"{control} is {state}"
                assert control not in arrived, f"{control} is held and was sent"
                self.figures.held += 1
            else:
                assert state == "delivered", f"{control} was acknowledged and is {state}"
                assert control in arrived, f"{control} counts as delivered and never arrived"

    @staticmethod
    def _no_phantom(way: Way, arrived: Mapping[str, list[Arrival]]) -> None:
        """I2."""
        for control, arrivals in arrived.items():
            assert control in way.book.sent, f"{control} arrived and nobody sent it"
            sent = way.book.sent[control]
            if way.verbatim:
                assert arrivals[0].raw == sent.raw, f"{control} changed on its way"
            else:
                assert sent.lane.encode() in arrivals[0].raw, f"{control} lost its patient"
            assert {arrival.raw for arrival in arrivals} == {arrivals[0].raw}, f"{control} came again with other bytes"

    @staticmethod
    def _in_order(way: Way) -> None:
        """I4."""
        last: dict[str, int] = defaultdict(int)
        seen: set[str] = set()
        for arrival in way.arrivals:
            if arrival.control not in seen:
                seen.add(arrival.control)
                sent = way.book.sent[arrival.control]
                assert sent.place > last[sent.lane], f"{arrival.control} overtook another in its lane"
                last[sent.lane] = sent.place

    def _repeats_are_explained(
        self,
        reader: Reader,
        way: Way,
        states: Mapping[str, tuple[str, str, int, int]],
        arrived: Mapping[str, list[Arrival]],
    ) -> None:
        """I5."""
        self.figures.in_doubt += sum(state[3] for state in states.values())
        for control, arrivals in arrived.items():
            repeats = len(arrivals) - 1
            if not repeats:
                continue
            _, _, message, doubts = states[control]
            assert repeats <= doubts, f"{control} came {repeats} times too often for {doubts} attempts in doubt"
            shown = trace(reader.connection, reader, message)
            events = [event.kind for one in shown.deliveries for event in one.events]
            assert any(kind in ("in_doubt", "in doubt") for kind in events), f"{show_id(message)}: {events}"
            self.figures.repeated += repeats


def flowing(data: Path) -> int:
    """How many deliveries still flow."""
    connection = sqlite3.connect(f"file:{data / 'interlock.db'}?mode=ro", uri=True, timeout=10)
    try:
        return int(connection.execute("SELECT count(*) FROM delivery WHERE open = 1").fetchone()[0])
    finally:
        connection.close()

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
from engine.model import MessageState
from engine.search import Search, search
from engine.store.open_read import Reader, open_for_reading
from engine.trace import Trace, TracedDelivery, trace

from .engine_child import Engine
from .laboratory import Book
from .sinks import Arrival


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


Traces = Mapping[str, Trace]
"""What a trace shows of each message that the store accepted, by control id."""


@dataclass(slots=True)
class Oracle:
    """Checks one stopped engine's store against everybody's books."""

    engine: Engine
    figures: Figures = field(default_factory=Figures)

    def check(self, ways: Sequence[Way]) -> Figures:
        given = self.engine.more_environment
        reader = open_for_reading(self.engine.data, given.get("INTERLOCK_KEY", ""), given.get("INTERLOCK_STORE", ""))
        try:
            account = balance(reader.connection)
            assert account.faults == (), account.faults
            traces = {}
            for channel, book in {way.channel: way.book for way in ways}.items():
                with reader.connection.snapshot():
                    traces[channel] = self._stored(reader, channel, book)
                (mine,) = (one for one in account.channels if one.channel == channel)
                assert mine.states[MessageState.ACCEPTED] == len(traces[channel]), "nobody sent what is stored"
                self._answers_fit(book)
            for way in ways:
                self._way(way, traces[way.channel])
        finally:
            reader.close()
        self._balance_by_command()
        return self.figures

    def _balance_by_command(self) -> None:
        """I3, as an operator asks."""
        if "INTERLOCK_STORE" in self.engine.more_environment:
            done = self.engine.command("balance", "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            return
        said = io.StringIO()
        with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
            main(["balance", "--json", "--data", str(self.engine.data)])
        assert ended.value.code == 0, said.getvalue()
        assert json.loads(said.getvalue())["open"] is False

    def _stored(self, reader: Reader, channel: str, book: Book) -> dict[str, Trace]:
        """I1, the store's half: each acknowledged id is found as a person would find it, once, with its bytes."""
        now = time.time_ns() // 1000
        traces = {}
        for control, sent in book.sent.items():
            found = search(reader.connection, reader, Search(channel=channel, control_id=control, limit=1000), now)
            kept = [m for m in found.messages if m.state == MessageState.ACCEPTED]
            assert len(kept) <= 1, f"{control} was accepted {len(kept)} times"
            assert kept or control not in book.acknowledged, f"{control} was acknowledged and is not in the store"
            if kept:
                traces[control] = trace(reader.connection, reader, kept[0].id)
                assert traces[control].raw == sent.raw, f"{control} is not stored as it came"
        self.figures.acknowledged += len(book.acknowledged)
        self.figures.resent += max(0, book.tries - len(book.sent))
        self.figures.negative += len(book.negative)
        return traces

    @staticmethod
    def _answers_fit(book: Book) -> None:
        """I6."""
        assert book.wrong == []
        assert book.acknowledged.keys() <= book.sent.keys()

    def _way(self, way: Way, traces: Traces) -> None:
        arrived = defaultdict(list)
        for arrival in way.arrivals:
            arrived[arrival.control].append(arrival)
        deliveries = {control: self._delivery(traced, way) for control, traced in traces.items()}
        self._reached(way, deliveries, arrived)
        self._no_phantom(way, arrived)
        self._in_order(way)
        self._repeats_are_explained(deliveries, arrived)
        self.figures.arrived += len(arrived)

    @staticmethod
    def _delivery(traced: Trace, way: Way) -> TracedDelivery:
        (delivery,) = (one for one in traced.deliveries if one.row.destination == way.destination)
        return delivery

    def _reached(
        self, way: Way, deliveries: Mapping[str, TracedDelivery], arrived: Mapping[str, list[Arrival]]
    ) -> None:
        """I1, the receiver's half; what the site's rule holds is held, and nothing else is."""
        for control in way.book.acknowledged:
            row = deliveries[control].row
            if way.book.sent[control].held and not way.verbatim:
                assert (row.state, row.reason) == ("held", "held_by_site"), f"{control} is {row.state}"
                assert control not in arrived, f"{control} is held and was sent"
                self.figures.held += 1
            else:
                assert row.state == "delivered", f"{control} was acknowledged and is {row.state}"
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
        self, deliveries: Mapping[str, TracedDelivery], arrived: Mapping[str, list[Arrival]]
    ) -> None:
        """I5."""
        for control, delivery in deliveries.items():
            events = [event.kind for event in delivery.events]
            doubts = sum(kind in ("in_doubt", "in doubt") for kind in events)  # an outcome may have come late
            repeats = max(0, len(arrived.get(control, ())) - 1)
            assert repeats <= doubts, f"{control} came {repeats} times too often: {events} {delivery.attempts}"
            self.figures.in_doubt += doubts
            self.figures.repeated += repeats


def flowing(data: Path) -> int:
    """How many deliveries still flow."""
    connection = sqlite3.connect(f"file:{data / 'interlock.db'}?mode=ro", uri=True, timeout=10)
    try:
        return int(connection.execute("SELECT count(*) FROM delivery WHERE open = 1").fetchone()[0])
    finally:
        connection.close()

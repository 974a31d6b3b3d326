"""The demo's story: a morning of results, an EHR that goes down and comes back, and the account at the end.

It ends well only if the balance closes and every result that the laboratory was told is safe is in both EHRs.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from engine.bench.messages import table
from engine.bench.process import free_port
from engine.bench.served import Served
from engine.demo import account
from engine.demo.api import Api
from engine.demo.ehr import FhirEhr, MllpEhr
from engine.demo.laboratory import Laboratory, results, sample
from engine.demo.screen import Screen, checks_table

#: the part of the morning's messages after which the FHIR EHR goes down, and after which it comes back
DOWN_AFTER, BACK_AFTER = 0.25, 0.6
PAUSE_SECONDS = 0.1
LOOK_SECONDS = 0.2
SETTLE_SECONDS = 120.0

_CHANNEL = """\
name = "willow-lab"
title = "Willow Laboratory results to two EHRs"
class = "result"
environment = "test"

[source]
listen = "mllp://127.0.0.1:{source}"
accept = ["ORU^R01"]
patient = {{ authority = "INTERLOCK-TEST", type = "MR" }}

[[map]]
field = "OBX-3"
table = "willow-loinc"
unmapped = "pass"

[[destination]]
name = "fhir-ehr"
to = "fhir+http://127.0.0.1:{fhir}/fhir"
convert = "mappings.hl7v2_fhir:transaction"
retry = {{ attempts = 8, first = "200ms", cap = "1s", give_up = "1h" }}

[[destination]]
name = "mllp-ehr"
to = "mllp://127.0.0.1:{mllp}"
retry = {{ attempts = 8, first = "200ms", cap = "1s", give_up = "1h" }}
"""


def run_demo(once: bool, folder: Path | None = None, console: Console | None = None) -> int:
    """Run the demo and return the exit status: 0 only if everything came as expected and the balance closes.

    Without `once` it stays up for the reader's own messages until Ctrl-C. The folder is kept, for the commands that
    the demo ends with.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="interlock-demo-"))
    return asyncio.run(Demo(folder, console or Console()).run(once))


class Demo:
    """The actors, and the order in which they act."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.screen = Screen(console)
        self.fhir, self.mllp = FhirEhr(), MllpEhr()
        self.port = free_port()
        self.engine = Served(
            folder / "channels",
            folder / "data",
            folder / "engine.log",
            {"INTERLOCK_TABLES": str(folder / "tables"), "INTERLOCK_LOG_LEVEL": "warning"},
        )
        self.laboratory = Laboratory(self.port, pause=PAUSE_SECONDS)
        self.messages = results()
        self.stop = asyncio.Event()

    async def run(self, once: bool) -> int:
        """The whole story."""
        async with self._stage():
            with self.screen:
                await self._morning()
                await self._settled()
            status = await self._account()
            if not once and not self.stop.is_set():
                await self._stay()
        return status

    @contextlib.asynccontextmanager
    async def _stage(self) -> AsyncIterator[None]:
        """Start the EHRs and the engine; end them whatever happens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop.set)
        self._write_folder(await self.fhir.start(), await self.mllp.start())
        self.screen.say(f"Everything is in {self.folder}; starting the engine with `interlock serve`.")
        try:
            await asyncio.to_thread(self.engine.start)
            self.api = Api(self.engine.address, self.engine.token)
            yield
        finally:
            await asyncio.to_thread(self.engine.stop)
            self.fhir.go_down()
            self.mllp.go_down()

    async def _morning(self) -> None:
        """The laboratory sends; meanwhile the FHIR EHR is away for a while."""
        self.screen.say(f"The laboratory sends {len(self.messages)} messages to mllp://127.0.0.1:{self.port}.")
        sending = asyncio.create_task(self.laboratory.send(self.messages))
        for part, act in ((DOWN_AFTER, self._ehr_down), (BACK_AFTER, self._ehr_back), (1.0, self._all_sent)):
            while len(self.laboratory.answers) < part * len(self.messages) and not sending.done():
                await self._look()
                if self.stop.is_set():
                    sending.cancel()
            await act()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    async def _ehr_down(self) -> None:
        self.fhir.go_down()
        self.screen.say("The FHIR EHR goes down. The laboratory still gets its answers; deliveries wait in order.")

    async def _ehr_back(self) -> None:
        await self.fhir.start()
        self.screen.say("The FHIR EHR is back. What waited goes out, each patient's results in order.")

    async def _all_sent(self) -> None:
        self.screen.say("The laboratory has sent everything.")

    async def _settled(self) -> None:
        """Wait until nothing is on its way any more."""
        give_up = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while asyncio.get_running_loop().time() < give_up and not self.stop.is_set():
            await self._look()
            if account.settled(self.screen.channels, len(self.laboratory.answers)):
                return

    async def _look(self) -> None:
        """Show the engine's counts as they are now."""
        channels = await asyncio.to_thread(self.api.channels)
        self.screen.show(channels, self._status())
        await asyncio.sleep(LOOK_SECONDS)

    def _status(self) -> str:
        answers = ", ".join(f"{count} {code}" for code, count in sorted(self.laboratory.codes().items()))
        ehrs = " · ".join(f"{ehr.name} {'up' if ehr.up else 'DOWN'}" for ehr in (self.fhir, self.mllp))
        return f"sent {len(self.laboratory.answers)} of {len(self.messages)} · answers {answers or 'none yet'} · {ehrs}"

    async def _account(self) -> int:
        """Compare with what was expected, ask for the balance, and say where to look next."""
        balance = await asyncio.to_thread(self.engine.ask, "balance", "--json")
        checks = account.checks(self.laboratory.answers, self.fhir, self.mllp, self.screen.channels)
        checks.append(account.balance_check(balance.returncode))
        self.screen.console.print(checks_table(checks))
        if balance.returncode:
            self.screen.say(balance.stdout.decode(errors="replace") + balance.stderr.decode(errors="replace"))
        await self._where_next()
        return 0 if all(check.kept for check in checks) else 1

    async def _where_next(self) -> None:
        chosen = account.worth_a_look(self.messages)
        found = await asyncio.to_thread(self.api.message_ids, [message.control_id for message in chosen])
        self.screen.say("\nWhere to look next:")
        for message in chosen:
            if identifier := found.get(message.control_id):
                self.screen.say(f"  {self._hint('trace', identifier)}   # {message.kind}: every step with its time")
        for words in (("search", "--control-id", chosen[0].control_id), ("deadletter", "list"), ("balance",)):
            self.screen.say(f"  {self._hint(*words)}")

    async def _stay(self) -> None:
        """Be there for the reader's own messages."""
        path = self.folder / "sample.hl7"
        path.write_bytes(sample("MINE0001"))
        self.screen.say(f"\nThe engine stays up: {self.engine.address} (token {self.engine.token}). Send it a message:")
        self.screen.say(f"  interlock send mllp://127.0.0.1:{self.port} {path}")
        self.screen.say("Edit the file and send it again, or send it unchanged and see the duplicate. Ctrl-C ends.")
        with Screen(self.screen.console) as self.screen:
            while not self.stop.is_set():
                await self._look()
            self.screen.say("Ending: the engine finishes what is under way.")

    def _hint(self, *words: str) -> str:
        return f"interlock {' '.join(words)} --data {self.engine.data}"

    def _write_folder(self, fhir: int, mllp: int) -> None:
        channel, tables = self.engine.channels / "willow-lab", self.folder / "tables"
        channel.mkdir(parents=True)
        tables.mkdir()
        (channel / "channel.toml").write_text(_CHANNEL.format(source=self.port, fhir=fhir, mllp=mllp))
        with (tables / "willow-loinc.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("local_code", "code", "display", "system"), *table()])

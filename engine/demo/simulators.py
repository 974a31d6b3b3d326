"""The demo's laboratory and EHR as processes of their own, for an engine that runs elsewhere.

Invariant: the laboratory forgets nothing that was not answered, and says at the end whether every answer was right.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from engine.demo.ehr import FhirEhr, MllpEhr
from engine.demo.laboratory import Laboratory, results

AGAIN_SECONDS = 1.0

Say = Callable[[str], None]


async def run_laboratory(host: str, port: int, pause: float, say: Say) -> bool:
    """Send one morning; whether what can be read was answered positively and what cannot negatively."""
    laboratory = Laboratory(port, host, pause=pause, again_after=AGAIN_SECONDS)
    messages = results()
    say(f"sending {len(messages)} messages to mllp://{host}:{port}")
    answers = await laboratory.send(messages)
    codes = ", ".join(f"{count} {code}" for code, count in sorted(laboratory.codes().items()))
    wrong = [answer for answer in answers if answer.positive is not answer.result.arrives]
    say(f"answers: {codes}; not as they must be: {len(wrong)}")
    return not wrong and len(answers) == len(messages)


async def run_ehr(fhir: tuple[str, int], mllp: tuple[str, int], say: Say) -> None:
    """Take FHIR transactions and HL7 v2 until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mllp_ehr, fhir_ehr = MllpEhr("MLLP EHR", *mllp), FhirEhr("FHIR EHR", *fhir)
    await mllp_ehr.start()
    await fhir_ehr.start()  # last: whoever gets an answer here may send to both
    say(f"ready: http://{fhir[0]}:{fhir_ehr.port}/fhir, mllp://{mllp[0]}:{mllp_ehr.port}")
    await stop.wait()
    fhir_ehr.go_down()
    mllp_ehr.go_down()
    say(f"took {fhir_ehr.transactions} FHIR transactions and {len(mllp_ehr.arrived)} HL7 v2 messages")

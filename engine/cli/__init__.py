"""The command line: `interlock COMMAND`. Commands and options may be added, not renamed: scripts rely on them.

Invariant: exit status 0 is done, 1 is "the answer is no", 2 is wrong use; with --json standard output holds one JSON
document and nothing else. What a command needs is imported when it runs, so that one missing part breaks no other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from engine.cli.app import build
from engine.cli.output import print_json, show_error
from engine.errors import Configuration, InterlockError, NotFound

#: Errors that say "wrong use" rather than "no".
_WRONG_USE = frozenset({"setting", "usage", "comes_later"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build()(words, prog_name="interlock")
    except InterlockError as error:
        show_error(error, as_json="--json" in words)
        raise SystemExit(2 if isinstance(error, Configuration) and error.code in _WRONG_USE else 1) from None
    except OSError as error:  # a file or folder that the command was told to use
        text = f"using {error.filename or 'a file'}: {error.strerror or type(error).__name__}"
        show_error(
            NotFound(text, code="file", advice="Name another one, or mend its rights."), as_json="--json" in words
        )
        raise SystemExit(1) from None
    except SystemExit as ended:
        if "--json" in words:
            _tell_misuse(ended)
        raise


def _tell_misuse(ended: SystemExit) -> None:
    """What the command line's parser has refused beside the answer is the answer itself where JSON was asked for."""
    fault: Any = ended.__context__  # the parser's errors have no class that every version of it shares
    if not hasattr(fault, "format_message"):
        return
    command = getattr(getattr(fault, "ctx", None), "command_path", "interlock")
    advice = f"`{command} --help` shows how to call it."
    print_json({"error": {"code": "usage", "text": fault.format_message(), "where": "", "advice": advice}})

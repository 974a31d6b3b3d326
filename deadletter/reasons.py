"""Every reason for which a message or a delivery stands still: what it means, what to do, and whether to replay.

Invariant: whatever code the engine writes as a reason is found here, exactly or by its family; docs/dead-letters.md is
made of this table (`python -m deadletter.reasons`) and tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `replay` says whether sending again, once the cause is removed, is the way on."""

    code: str
    meaning: str
    advice: str
    replay: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Reasons that have their origin in common."""

    title: str
    reasons: tuple[Reason, ...]


_RESEND = "Ask the sender to correct and send it again; then end this one."
_CONFIGURE = "Correct the channel's settings (`interlock check` finds most faults), then replay."
_PARTNER = "Ask who runs the destination; replay when it is mended."
_LOOK_FIRST = "Look in the destination whether it arrived. If it did, end the delivery; if not, replay it."

GROUPS: tuple[Group, ...] = (
    Group(
        "Messages that could not be read",
        (
            Reason("unreadable", "The bytes are not a message of the channel's format.", _RESEND),
            Reason("empty", "There is nothing in the message.", _RESEND, False),
            Reason("no_header", "The message does not begin with its header segment.", _RESEND),
            Reason("delimiters", "MSH-1 and MSH-2 declare delimiters that cannot be used.", _RESEND),
            Reason("charset", "MSH-18 names a character set that is unknown or does not fit.", _RESEND),
            Reason("type_missing", "MSH-9, or resourceType, does not say what type of message it is.", _RESEND),
            Reason("not_json", "The text does not follow the syntax of JSON, or a number is none.", _RESEND),
            Reason("not_utf8", "The bytes, or an escape in them, are no Unicode text.", _RESEND),
            Reason("doubled_name", "A name stands twice in one JSON object, so two readers may differ.", _RESEND),
            Reason("too_deep", "The JSON is nested deeper than any resource is.", _RESEND),
            Reason(
                "not_valid",
                "A FHIR resource does not have the shape of its type; the answer named every fault.",
                "Ask the sender to correct and send it again, or set `validate` and `fhir_version` of the source, then"
                " replay.",
            ),
            Reason(
                "several_messages", "Several messages came as one.", "Let the sender send a batch or one at a time."
            ),
            Reason("continuation", "The message is part of another one (DSC, ADD).", "Let the sender send it whole."),
            Reason(
                "batch", "A batch came where one message was expected.", "Read it with a source that takes batches."
            ),
            Reason("batch_content", "Something in the batch is no message.", _RESEND),
            Reason("batch_count", "The batch's trailer counts other than what there is: it may be cut short.", _RESEND),
            Reason("batch_end", "A trailer of the batch is missing: it may be cut short.", _RESEND),
            Reason("malformed", "The document does not follow its format.", _RESEND),
        ),
    ),
    Group(
        "Messages that were refused",
        (
            Reason("refused", "The message was not taken.", "See the sender's log for the answer it got.", False),
            Reason(
                "channel_not_taking", "The channel was stopped or paused.", "Start it; the sender sends again.", False
            ),
            Reason("too_large", "The message is above the channel's `max_size`.", "Raise it, or send less.", False),
            Reason(
                "wrong_environment",
                "Test traffic on a production channel, or the other way round.",
                "Compare MSH-11 and the channel's `environment`.",
                False,
            ),
            Reason(
                "not_accepted", "The channel does not take this type of message.", "See the channel's `accept`.", False
            ),
            Reason(
                "conflict",
                "The control id was used before with other content, or the message was replayed before.",
                "Ask a strict sender for a new control id; trace the message before you replay anything again.",
                False,
            ),
        ),
    ),
    Group(
        "Conversions that did not go on",
        (
            Reason("held", "The conversion must not go on by itself.", "See the trace; then replay or end it."),
            Reason("unmapped", "A code has no entry in the channel's table.", "Add it to the table, then replay."),
            Reason(
                "alternate_taken",
                "The mapped code would overwrite the sender's alternate code.",
                'Set `alternate = "replace"` in the `[[map]]` if that is wanted, then replay.',
            ),
            Reason("not_convertible", "The conversion is not for this type of message.", _CONFIGURE),
            Reason(
                "required_unmapped",
                "The message says something that the conversion's `require` names and no map takes.",
                "Add a map to the channel's folder `maps`, or take it from `require`; then replay.",
            ),
            Reason("term", "The message holds a term that the conversion cannot carry over.", "See the trace."),
            Reason(
                "output_invalid",
                "The output breaks rules of FHIR that the destination's `validate` asks for; the items name them.",
                "Correct the conversion or its tables, then replay.",
            ),
            Reason(
                "output_unchecked",
                "The output could not be checked as the destination's `validate` asks.",
                "Install the extra `validate` and set `fhir_definitions`; then replay.",
            ),
            Reason(
                "converter_failed",
                "The conversion failed in a way nobody foresaw; nothing was sent.",
                "See the log for place and type of the error, have it corrected, then replay.",
            ),
            Reason(
                "predicate_failed",
                "The channel's own `when` failed on this message.",
                "Correct the function, then replay.",
            ),
            Reason(
                "no_agreement",
                "The organization has no active agreement, so nothing of it may leave.",
                "Renew or confirm the agreement, then replay.",
            ),
        ),
    ),
    Group(
        "What the engine decided",
        (
            Reason(
                "connector_failed",
                "The connector failed in a way nobody foresaw; its bytes may have left.",
                "See the log for place and type of the error, have it corrected; it is sent again by its policy.",
            ),
            Reason("attempts_spent", "Every attempt that the channel allows has failed.", _PARTNER),
            Reason("gave_up", "It waited longer than the channel's `give_up`.", _PARTNER),
            Reason("in_doubt", "Its bytes may have arrived, and the channel wants a person to decide.", _LOOK_FIRST),
            Reason("crash", "The engine ended while its bytes may have been leaving.", _LOOK_FIRST),
            Reason("answer_incomplete", "The server's answer does not name every entry that was sent.", _LOOK_FIRST),
            Reason("in_doubt_unanswered", "The destination cannot say whether it arrived.", _LOOK_FIRST),
            Reason(
                "destination_removed",
                "The channel no longer has this destination.",
                "Bring the destination back and it flows again by itself, or end the delivery.",
                False,
            ),
            Reason(
                "destination_returned", "Its destination came back; it flows again.", "Nothing is to be done.", False
            ),
            Reason("replayed", "A person sent it on its way again.", "Trace it to see what became of it.", False),
            Reason("ended", "A person closed it.", "The trace names who and why.", False),
            Reason("accepted", "It was taken.", "Nothing is to be done.", False),
        ),
    ),
    Group(
        "Destinations that could not be reached",
        (
            Reason("unreachable", "No connection.", _PARTNER),
            Reason("connect_timeout", "No connection in the time allowed.", "Check address and firewall."),
            Reason("connect_failed", "No connection.", "Check the name, the network and whether the system is up."),
            Reason(
                "connection_refused", "Nothing listens at the address.", "Check the port and that the system is up."
            ),
            Reason("connection_lost", "The connection was lost.", _LOOK_FIRST),
            Reason("connection_closed", "The destination closed before it answered.", _LOOK_FIRST),
            Reason("closed", "The destination was being closed by the engine.", "It is tried again by itself."),
            Reason("name_unknown", "The host name cannot be resolved.", _CONFIGURE),
            Reason("address_refused", "The engine does not dial this kind of address.", "See the option `link_local`."),
            Reason("tls_failed", "No TLS connection.", "Check certificates and versions on both sides."),
            Reason("tls_untrusted", "The server's certificate is not trusted.", "Check `ca`, `pin` and `server_name`."),
            Reason("host_key", "The server showed another host key than the pinned one.", "Ask its owner first."),
            Reason("sign_in_refused", "The server refused the user, password or key.", _CONFIGURE),
            Reason("secret_missing", "The secret that the channel names is not there.", _CONFIGURE),
            Reason("secret_unusable", "The secret that the channel names cannot be used.", _CONFIGURE),
            Reason("configuration", "The destination's settings are wrong.", _CONFIGURE),
        ),
    ),
    Group(
        "Answers",
        (
            Reason("taken", "The destination took it.", "Nothing is to be done.", False),
            Reason("answer_timeout", "No answer in the time allowed.", _LOOK_FIRST),
            Reason("answer_malformed", "What came back does not follow the protocol.", _LOOK_FIRST),
            Reason("answer_too_large", "The answer is larger than `answer_size`.", _LOOK_FIRST),
            Reason("answer_unreadable", "The answer cannot be read.", _LOOK_FIRST),
            Reason("answer_lost", "The connection was lost before the answer came.", _LOOK_FIRST),
            Reason("answer_cut", "The connection was lost in the middle of the answer.", _LOOK_FIRST),
            Reason("answer_unframed", "The answer came without its MLLP frame.", _LOOK_FIRST),
            Reason("answer_doubled", "Two commit answers came and no application answer.", _LOOK_FIRST),
            Reason("answers_contradict", "A positive answer came with another that is not.", _LOOK_FIRST),
            Reason("several_answers", "More than one answer came where one was due.", _LOOK_FIRST),
            Reason("no_acknowledgement", "The answer has no MSA.", _LOOK_FIRST),
            Reason("not_an_answer", "The answer does not begin with MSH.", _LOOK_FIRST),
            Reason("wrong_control_id", "The answer is to another message.", _LOOK_FIRST),
            Reason("unknown_code", "MSA-1 is no acknowledgement code.", _LOOK_FIRST),
            Reason("html_page", "A page for people came back.", "Check `to` for a login page or a proxy, then replay."),
            Reason("not_fhir", "What was to be sent is no FHIR resource.", _CONFIGURE),
            Reason("unframable", "The message holds the bytes that end an MLLP frame.", _RESEND, False),
            Reason("present", "It was there already.", "Nothing is to be done.", False),
            Reason(
                "superseded",
                "The receiver has the final report, issued after this preliminary one: nothing was written.",
                "Nothing is to be done.",
                False,
            ),
            Reason("absent", "The destination does not have it.", "It is sent again by itself."),
            Reason("AE", "The receiver found an error in the message.", "See ERR in its answer; correct, then replay."),
            Reason("AR", "The receiver rejects the message.", "See ERR in its answer; correct, then replay."),
            Reason("CE", "The receiver could not store the message.", _PARTNER),
            Reason("CR", "The receiver does not take such messages.", _CONFIGURE),
            Reason("HTTP 2", "The server took it, but not as the channel declares it.", _LOOK_FIRST),
            Reason("HTTP 3", "The server says that it has moved.", "Check `to`, then replay."),
            Reason("HTTP 400", "The server cannot read what was sent.", "See its answer; correct, then replay."),
            Reason("HTTP 401", "The server does not know who is calling.", "Check `secret`, then replay."),
            Reason("HTTP 403", "The server does not allow it.", "Ask who runs the server for the right, then replay."),
            Reason("HTTP 404", "The server has nothing at this address.", "Check `to`, then replay."),
            Reason("HTTP 409", "The server holds another version.", "Look at both versions before you replay."),
            Reason("HTTP 412", "More than one record matched, or the version has changed.", "Have the records merged."),
            Reason("HTTP 413", "The server does not take so much at once.", "Ask for a larger limit, then replay."),
            Reason("HTTP 422", "The server's rules refuse the content.", "See its answer; correct, then replay."),
            Reason("HTTP 4", "The server refuses the request.", "See its answer; correct, then replay."),
            Reason("HTTP 5", "The server failed.", _PARTNER),
        ),
    ),
    Group(
        "Files and SFTP",
        (
            Reason("written", "The file was written.", "Nothing is to be done.", False),
            Reason("name_taken", "A file of that name with other content is there.", "Move it away, then replay."),
            Reason("disk_full", "The disk is full, failing or read-only.", "Free space or repair it, then replay."),
            Reason("folder_missing", "The folder is not there.", "Make it, or mount what holds it, then replay."),
            Reason("permission_denied", "The engine's user may not write there.", "Give it the right, then replay."),
            Reason("write_failed", "The file system refused the file.", "See its type and limits, then replay."),
            Reason("server_refused", "The server could not write.", "See its disk and quota, then replay."),
        ),
    ),
    Group(
        "The store",
        (
            Reason(
                "payload_missing", "The stored bytes are gone.", "Run `interlock balance`; restore a backup.", False
            ),
            Reason(
                "seal_broken", "Stored bytes were changed or moved.", "Run `interlock balance`; see the audit.", False
            ),
            Reason("row_refused", "The store could not keep one row.", "See the log; the sender sends again.", False),
            Reason(
                "writer_failed",
                "Keeping failed unforeseen.",
                "See the log; the sender sends again.",
                False,
            ),
            Reason("store_unopened", "The store's file could not be opened.", "See the advice at the start.", False),
            Reason("folder_unwritable", "The data folder cannot be written.", "Mend its rights or its disk.", False),
            Reason("store_unavailable", "The store could not keep anything.", "See /readyz for what is wrong.", False),
        ),
    ),
)

_BY_CODE = {reason.code: reason for group in GROUPS for reason in group.reasons}
_UNKNOWN_MEANING = "A reason of a connector or conversion that this site has added."
_UNKNOWN_ADVICE = "See the trace: the attempts say what happened."


def explain(code: str) -> Reason:
    """The reason behind a code: its own entry, else its family's: the words before a blank, then fewer digits."""
    for name in _families(code):
        if name in _BY_CODE:
            found = _BY_CODE[name]
            return Reason(code, found.meaning, found.advice, found.replay)
    return Reason(code, _UNKNOWN_MEANING, _UNKNOWN_ADVICE)


def is_known(code: str) -> bool:
    """True when the table has the code or its family."""
    return any(name in _BY_CODE for name in _families(code))


def _families(code: str) -> list[str]:
    """ "HTTP 422 invalid" is looked for as itself, "HTTP 422", "HTTP 4"; "AE 207" as itself and "AE"."""
    words = code.split()
    names = [code]
    if len(words) > 1 and words[0] == "HTTP":
        names += [f"HTTP {words[1]}", f"HTTP {words[1][:1]}"]
    return [*names, *words[:1]]


def document() -> str:
    """docs/dead-letters.md."""
    lines = [
        "# Dead letters: reasons and what to do",
        "",
        "A held message or delivery keeps its place and waits for a person; a dead one will not be tried again by",
        "itself. `interlock deadletter list` shows both with their reason, `interlock deadletter show ID` the whole",
        "story, `interlock deadletter replay ID --reason TEXT` sends one on again. A code that is followed by a number",
        "or a word (`AE 207`, `HTTP 422 invalid`) belongs to the entry it begins with; `HTTP 4` and `HTTP 5` stand for",
        "the whole classes.",
        "",
        "This page is made by `python -m deadletter.reasons`.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", "| code | what it means | what to do | replay |", "|---|---|---|---|"]
        lines += [f"| `{r.code}` | {r.meaning} | {r.advice} | {'yes' if r.replay else 'no'} |" for r in group.reasons]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")

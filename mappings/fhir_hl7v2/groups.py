"""The groups of an ORU: each report with its results, then the results that no report has.

Invariant: every Observation that was sent is in a group, those that are members of each other too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mappings.fhir_hl7v2.writing import Json, Writing


class Group:
    """One ORC and OBR: a report with its request and results, or results without a report."""

    __slots__ = ("report", "request", "results")

    def __init__(self, report: Json, request: Json, results: list[Json]) -> None:
        self.report = report
        self.request = request
        self.results = results

    @property
    def all(self) -> Iterator[Json]:
        """Its resources, the one that says most of the whole first."""
        yield from (one for one in (self.report, self.request, *self.results) if one)


def groups_of(w: Writing) -> Iterator[Group]:
    """Reports first, in their order; then what no report lists: by its request, else alone."""
    listed: set[int] = set()
    reports = [(w.use(report), _results(w, report)) for report in w.of("DiagnosticReport")]
    for _, results in reports:
        listed |= {id(result) for result in results}
    for report, results in reports:
        members = _with_members(w, results, listed)
        yield Group(report, _request(w, report), members)
    loose: dict[int, Group] = {}
    members_of = _members(w)
    every = w.of("Observation")
    roots = [one for one in every if id(one) not in members_of]
    for observation in (*roots, *every):  # those that are members of each other have no root
        if id(observation) in listed:
            continue
        request = _request(w, observation)
        members = _with_members(w, [observation], listed)
        if request and id(request) in loose:
            loose[id(request)].results += members
            continue
        loose[id(request or observation)] = Group({}, request, members)
    yield from loose.values()


def _results(w: Writing, report: Json) -> list[Json]:
    found: dict[int, Json] = {}
    for reference in w.items(report, "result"):
        result = w.follow(reference, report)
        if result.get("resourceType") == "Observation":
            found[id(result)] = result
    return list(found.values())


def _with_members(w: Writing, results: Sequence[Json], listed: set[int]) -> list[Json]:
    """The results, each with its members behind it that no report lists."""
    found: list[Json] = []
    waiting = list(results)
    while waiting:
        result = waiting.pop(0)
        found.append(result)
        listed.add(id(result))
        members = [w.follow(reference, result) for reference in w.items(result, "hasMember")]
        new = [one for one in members if one.get("resourceType") == "Observation" and id(one) not in listed]
        listed |= {id(one) for one in new}
        waiting[:0] = new
    return found


def _members(w: Writing) -> set[int]:
    """The Observations that are members of another one: they are written behind it."""
    found = set()
    for observation in w.of("Observation"):
        targets = (w.follow(reference, observation) for reference in w.items(observation, "hasMember"))
        found |= {id(one) for one in targets if one is not observation}
    return found


def _request(w: Writing, resource: Json) -> Json:
    for reference in w.items(resource, "basedOn"):
        found = w.follow(reference, resource)
        if found.get("resourceType") == "ServiceRequest":
            return found
    return {}

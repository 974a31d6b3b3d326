"""Code tables: what a good file answers, and every fault with its line and a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Configuration, NotFound
from engine.model import Mapped, Unmapped
from mappings.lookup import SHIPPED, CodeTables, check_tables
from mappings.tables import check_table, read_table

HEADER = "local_code,code,display,system\n"
LOINC = "http://loinc.org"
DAY = 86_400_000_000


def write(folder: Path, text: str, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def fault(folder: Path, text: str) -> Configuration:
    with pytest.raises(Configuration) as raised:
        read_table(write(folder, text))
    return raised.value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("local_code,code,display\nA,1,one\n", 1, "'system' is missing"),
        ("local_code,code,display,system,color\n", 1, "unknown column 'color'"),
        ("local_code,code,display,sytem\n", 1, "Did you mean system?"),
        ("local_code,code,display,system,code\n", 1, "there twice"),
        (HEADER + "A,1,one\n", 2, "3 cells where the header has 4"),
        (HEADER + ",1,one,s\n", 2, "local_code is empty"),
        (HEADER + "A,,one,s\n", 2, "code is empty"),
        (HEADER + "A,1,one,\n", 2, "system is empty"),
        (HEADER + "A,1,one,s\n\nB,2,two,s\nA,3,three,s\n", 5, "already on line 2"),
        ("local_code,code,display,system,effective_from\nA,1,one,s,soon\n", 2, "not a date"),
        ("local_code,code,display,system,effective_from,effective_to\nA,1,,s,2025-02-01,2025-01-01\n", 2, "before"),
    ],
)
def test_a_fault_names_file_and_line_and_says_what_to_do(tmp_path: Path, text: str, line: int, words: str) -> None:
    found = fault(tmp_path, text)
    assert found.where == f"{tmp_path / 'own.csv'}:{line}"
    assert words in found.text
    assert found.advice


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(HEADER.encode() + b"A,1,one,s\nB,2,\xff,s\n")
    with pytest.raises(Configuration) as raised:
        read_table(path)
    assert raised.value.where.endswith(":3")


def test_every_fault_of_a_file_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + ",1,one,s\nA,,one,s\nB,2,two\n")
    assert [found.where.rpartition(":")[2] for found in check_table(path)] == ["2", "3", "4"]
    assert len(check_tables([tmp_path])) == 3


def test_the_shipped_tables_have_no_fault() -> None:
    assert check_tables([SHIPPED]) == []


def test_a_byte_order_mark_blank_lines_and_crlf_are_tolerated(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "\ufeff" + HEADER.replace("\n", "\r\n") + "\r\n A , 1 ,one,s\r\n"))
    assert table.plain["A"].code == "1"


def test_lookup_answers_with_the_revision(tmp_path: Path) -> None:
    write(tmp_path, HEADER + f"HGB,718-7,Hemoglobin,{LOINC}\n")
    tables = CodeTables([tmp_path])
    found = tables.lookup("own", "HGB", 0)
    assert found == Mapped("718-7", "Hemoglobin", LOINC, tables.revision("own"))
    assert tables.lookup("own", "hgb", 0) == Unmapped(tables.revision("own"))


def test_a_table_that_does_not_exist_is_not_found() -> None:
    tables = CodeTables()
    for ask in (lambda: tables.lookup("none", "A", 0), lambda: tables.revision("none")):
        with pytest.raises(NotFound) as raised:
            ask()
        assert "northside-loinc" in raised.value.advice


def test_effective_dates_are_whole_days_and_both_count(tmp_path: Path) -> None:
    header = "local_code,code,display,system,effective_from,effective_to\n"
    write(tmp_path, header + "A,old,,s,,1970-01-02\nA,new,,s,1970-01-03,\n")
    tables = CodeTables([tmp_path])
    codes = [tables.lookup("own", "A", at).code for at in (-5 * DAY, 2 * DAY - 1, 2 * DAY, 900 * DAY)]
    assert codes == ["old", "old", "new", "new"]


def test_between_two_periods_there_is_no_entry(tmp_path: Path) -> None:
    header = "local_code,code,display,system,effective_from,effective_to\n"
    write(tmp_path, header + "A,old,,s,,1970-01-02\nA,new,,s,1970-01-04,\n")
    assert isinstance(CodeTables([tmp_path]).lookup("own", "A", 2 * DAY), Unmapped)


def test_overlapping_periods_are_a_duplicate(tmp_path: Path) -> None:
    header = "local_code,code,display,system,effective_from,effective_to\n"
    assert "already" in fault(tmp_path, header + "A,old,,s,,1970-01-02\nA,new,,s,1970-01-02,\n").text


def test_the_revision_names_the_content(tmp_path: Path) -> None:
    tables = CodeTables([tmp_path])
    write(tmp_path, HEADER + "A,1,one,s\n")
    assert tables.reload() == ["own"]
    first, all_first = tables.revision("own"), tables.revisions
    write(tmp_path, HEADER + "A,2,two,s\n")
    assert tables.reload() == ["own"]
    assert tables.revision("own") != first
    assert tables.revisions != all_first
    assert tables.reload() == []


def test_a_reload_with_a_fault_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "A,1,one,s\n")
    tables = CodeTables([tmp_path])
    write(tmp_path, HEADER + "A,,one,s\n")
    with pytest.raises(Configuration):
        tables.reload()
    assert tables.lookup("own", "A", 0).code == "1"


def test_a_sites_table_replaces_the_shipped_one_and_two_sites_may_not_share_a_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    write(one, HEADER + "A,1,one,s\n", "northside-loinc.csv")
    assert isinstance(CodeTables([one]).lookup("northside-loinc", "HGB", 0), Unmapped)
    write(two, HEADER + "A,1,one,s\n", "northside-loinc.csv")
    with pytest.raises(Configuration):
        CodeTables([one, two])

"""What `make bench-check` reads out of callgrind and how it judges: no valgrind is needed here."""

import json
import pathlib
import sys

BENCHES = pathlib.Path(__file__).parent.parent.parent / "benches"
sys.path.insert(0, str(BENCHES))

import engine  # noqa: E402
import instructions  # noqa: E402

TOOLCHAIN = {"rustc": "1.95.0", "target": "x86_64-unknown-linux-gnu", "rustflags": ""}


def verdicts(old, new):
    return {name: said for name, _, _, said in instructions.compare(old, new)}


def test_a_case_is_worse_only_beyond_both_tolerances():
    old = {"long": 1_000.0, "longer": 1_000.0, "short": 20.0, "shorter": 20.0}
    new = {"long": 1_030.0, "longer": 1_031.0, "short": 23.0, "shorter": 23.5}
    expected = {"long": "", "longer": "WORSE", "short": "", "shorter": "WORSE"}
    assert verdicts(old, new) == expected


def test_a_gain_is_named_so_that_the_table_gets_rewritten():
    assert verdicts({"call": 1_000.0}, {"call": 900.0}) == {"call": "better"}


def test_a_case_that_went_is_told_from_one_that_came():
    assert verdicts({"a": 1.0}, {"b": 2.0}) == {"a": "GONE", "b": "new"}


def test_another_compiler_is_named():
    assert instructions.differences(TOOLCHAIN, TOOLCHAIN) == []
    newer = {**TOOLCHAIN, "rustc": "1.96.0", "rustflags": "-Ctarget-cpu=native"}
    assert instructions.differences(TOOLCHAIN, newer) == [
        "rustc 1.96.0 (table: 1.95.0)",
        "rustflags -Ctarget-cpu=native (table: none)",
    ]


def test_only_a_loss_with_the_same_toolchain_fails():
    worse = instructions.compare({"a": 100.0}, {"a": 200.0})
    better = instructions.compare({"a": 100.0}, {"a": 50.0})
    gone = instructions.compare({"a": 100.0}, {})
    codes = [instructions.judge(rows, [])[0] for rows in (worse, better, gone)]
    assert codes == [1, 0, 1]
    code, said = instructions.judge(worse, ["rustc 1.96.0 (table: 1.95.0)"])
    assert code == 0
    assert said.startswith("Only a report")


def test_the_total_is_read_from_callgrind_output():
    assert instructions.total("events: Ir\nfn=(1) x\n7 3\n\nsummary: 5028013\n") == 5_028_013
    assert instructions.total("events: Ir\n") == 0


def test_functions_are_summed_over_the_files_they_were_inlined_from():
    annotated = "\n".join([
        "4,000 (40.0%)  src/deliver.rs:broker::deliver::h0123456789abcdef [/some/engine]",
        "3,000 (30.0%)  ???:memcpy [/lib/libc.so.6]",
        "1,500 (15.0%)  src/buffer.rs:broker::deliver::h0123456789abcdef [/some/engine]",
        "Ir (100%)  file:function",
    ])
    expected = [(5_500, "broker::deliver"), (3_000, "memcpy")]
    assert instructions.by_function(annotated) == expected


def test_cargo_messages_name_the_bench_binary():
    messages = [
        {"reason": "compiler-artifact", "target": {"name": "broker"}, "executable": None},
        {"reason": "compiler-artifact", "target": {"name": "engine"}, "executable": "/x/engine"},
        {"reason": "build-finished", "success": True},
    ]
    assert instructions.executable(map(json.dumps, messages)) == "/x/engine"


def test_criterion_figures_find_their_name_on_their_line_or_above():
    lines = [
        "frame/short             time:   [1.0000 ns 1.5000 ns 2.0000 ns]\n",
        "call/a long name, 64 B\n",
        "                        time:   [1.1000 µs 1.2000 µs 1.3000 µs]\n",
    ]
    names = ["frame/short", "call/a long name", "call/a long name, 64 B"]
    assert list(engine.estimates(lines, names)) == [
        ("frame/short", 1.0, 1.5, 2.0),
        ("call/a long name, 64 B", 1_100.0, 1_200.0, 1_300.0),
    ]

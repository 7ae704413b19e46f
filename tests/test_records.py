"""Records come back from JSON as they were written, and anything else is refused by name."""

import dataclasses

import pytest
from parts import index_of, make_job, repeat_check, training_record

from replication.records import (
    Estimate,
    Labels,
    Manifest,
    RunSpec,
    Session,
    StudyIndex,
    TaskEntry,
    TrainedRun,
    TrainingRecord,
    to_json,
)
from replication.store.reader import from_json

ESTIMATE = Estimate(
    value=0.1, low=0.0, high=0.2, level=0.95, method="t", target="T2", n_tasks=5, n_trials=1, n_training_runs=1
)  # fmt: skip


def manifest():
    job = make_job(n_tasks=1)
    return Manifest(
        run_id=job.spec.run_id, spec=job.spec, labels=job.labels, checks={"repeats": repeat_check()},
        tasks={"a": TaskEntry(hash="0", level=None)}, sessions=(Session(first_line=1, engine={"flags": {"n": [1, None]}}),),
    )  # fmt: skip


def index():
    run = TrainedRun(record=training_record(joules=1.5, phases=({"corpus": "general"},)), curve="c.csv")
    return index_of("mine", training=(run,), comparisons=(("a", "b"),), levels={"s": {"calling": (1, 1, 2)}})


@pytest.mark.parametrize("record", [manifest(), index(), training_record(), ESTIMATE], ids=lambda r: type(r).__name__)
def test_a_record_comes_back_from_json_as_it_was(record):
    assert from_json(type(record), to_json(record)) == record


def test_values_that_do_not_fit_a_field_are_refused_with_its_path():
    good = to_json(index())
    run = good["training"][0]
    for changed, message in (
        (good | {"run_ids": "abc"}, r"`StudyIndex\.run_ids` must be .*; got 'abc'"),
        (good | {"comparisons": [["a", "b", "c"]]}, r"`StudyIndex\.comparisons\[0\]` must be"),
        (good | {"levels": {"s": {"calling": ["1"]}}}, r"`StudyIndex\.levels\.s\.calling\[0\]` must be int; got '1'"),
        (good | {"training": [run | {"curve": None}]}, r"`StudyIndex\.training\[0\]\.curve` must be str; got None"),
        (good | {"training": [run | {"record": 1}]}, r"`StudyIndex\.training\[0\]\.record` must be an object; got 1"),
        (good | {"kinds": 1}, r"`StudyIndex` has keys that do not fit: unknown 'kinds'"),
        ({k: v for k, v in good.items() if k != "scope"}, r"keys that do not fit: missing 'scope'"),
    ):
        with pytest.raises(ValueError, match=message):
            from_json(StudyIndex, changed)
    with pytest.raises(ValueError, match=r"`TrainingRecord\.n_tokens` must be int; got True"):
        from_json(TrainingRecord, to_json(training_record()) | {"n_tokens": True})
    with pytest.raises(ValueError, match=r"`Estimate\.target` must be .*; got 'T9'"):
        from_json(Estimate, to_json(ESTIMATE) | {"target": "T9"})


def test_a_whole_number_in_json_is_read_as_a_float_where_the_field_is_one():
    params_b = from_json(Labels, to_json(manifest().labels) | {"params_b": 8}).params_b
    assert params_b == 8.0 and isinstance(params_b, float)


def test_the_kind_of_an_estimate_is_written_only_where_it_is_a_log_ratio():
    ratio = dataclasses.replace(ESTIMATE, kind="log_ratio")
    assert "kind" not in to_json(ESTIMATE) and to_json(ratio)["kind"] == "log_ratio"
    assert from_json(Estimate, to_json(ratio)) == ratio


def test_reading_a_run_spec_keeps_its_run_id():
    spec = make_job().spec
    assert from_json(RunSpec, to_json(spec)).run_id == spec.run_id

"""Jobs: computed with one thread, cut into even chunks, and kept when another one fails."""

from __future__ import annotations

import pytest
import torch

from mulnb import load_profile, study
from mulnb.core.store import Artifact
from mulnb.study import Study


def count_threads(study: Study, tasks: list) -> list[Artifact]:
    return [Artifact(meta={"threads": torch.get_num_threads()}) for _ in tasks]


def test_what_is_missing_is_computed_with_one_thread_outside_the_workers_too():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = Study(load_profile("smoke"))
        assert here.get(study.Job("threads", {}, count_threads)).meta["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_task_that_fails_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_HOME", str(tmp_path))
    done = []

    def compute(study: Study, tasks: list[int]) -> list[Artifact]:
        [n] = tasks
        if n == 2:
            raise RuntimeError("boom")
        done.append(n)
        return [Artifact(meta={"n": n})]

    jobs = [study.Job("test", {"n": n}, compute, n) for n in range(4)]
    here = Study(load_profile("smoke"))
    with pytest.raises(RuntimeError, match="boom"):
        here.gather(jobs, "test")
    monkeypatch.setattr(study.jobs, "check", lambda profile: None)
    jobs[2] = study.Job("test", {"n": 2}, lambda study, tasks: [Artifact(meta={"n": n}) for n in tasks], 2)
    assert [artifact.meta["n"] for artifact in here.gather(jobs, "test")] == [0, 1, 2, 3]
    assert done == [0, 1, 3]


def test_jobs_of_one_group_are_cut_into_even_chunks_and_others_stand_alone(monkeypatch):
    from mulnb.study.jobs import chunks

    monkeypatch.setenv("MULNB_WORKERS", "2")
    jobs = [study.Job("kind", {"n": n}, count_threads, n, group="same") for n in range(30)]
    alone = [study.Job("kind", {"n": n}, count_threads, n) for n in range(30, 33)]
    sizes = [len(chunk) for chunk in chunks(jobs + alone, together=25, places=2)]
    assert sizes == [15, 15, 1, 1, 1]
    assert [len(chunk) for chunk in chunks(jobs[:10], together=25, places=2)] == [5, 5]
    assert [len(chunk) for chunk in chunks(jobs[:5], together=25, places=2)] == [5]
    assert [len(chunk) for chunk in chunks(jobs[:3], together=1, places=2)] == [1, 1, 1]

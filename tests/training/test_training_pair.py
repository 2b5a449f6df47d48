"""Two gloo processes against one process on the joined batch.

Gradients are compared in double precision, where a wrong factor shows and rounding does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pair
import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def both(make_photos: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of all scenarios: (one process, two processes)."""
    photos = str(make_photos(persons=8, photos=2, captions=2))
    out = tmp_path_factory.mktemp("pair")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", pair.__file__, photos, str(out / "two")]
    (out / "two").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = pair.run_all(photos, out / "one")
    torch.set_num_threads(threads)
    first, second = (torch.load(out / "two" / f"results-{rank}.pt", weights_only=True) for rank in (0, 1))
    _assert_same(first, second, "")  # whatever a process holds, the other holds too
    return one, first


def _assert_same(first: Any, second: Any, key: str) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys(), key
        for name in first:
            if name != "lines":  # the main process writes them
                _assert_same(first[name], second[name], f"{key}/{name}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), key
    else:
        assert first == second, key


@pytest.mark.parametrize("name", list(pair.TASK_SETS))
def test_loss_and_gradients_are_those_of_the_joined_batch(name: str, both: Any) -> None:
    one, two = both[0][name], both[1][name]
    assert one["loss"].dtype == torch.float64
    assert torch.allclose(one["loss"], two["loss"], rtol=0, atol=1e-9)
    assert one["gradients"].keys() == two["gradients"].keys()
    assert max(float(gradient.abs().max()) for gradient in one["gradients"].values()) > 1e-3
    for key, gradient in one["gradients"].items():
        assert torch.allclose(gradient, two["gradients"][key], rtol=0, atol=1e-9), key


@pytest.mark.parametrize("name", list(pair.TASK_SETS))
def test_loss_in_single_precision(name: str, both: Any) -> None:
    one, two = both[0][name]["single"], both[1][name]["single"]
    assert one.dtype == torch.float32
    assert torch.allclose(one, two, rtol=1e-6, atol=1e-6)


def test_a_queue_holds_the_global_batch_in_rank_order(both: Any) -> None:
    one, two = both[0]["all"]["buffers"], both[1]["all"]["buffers"]
    assert (one["tasks.queue.rows"] >= 0).all()
    assert torch.equal(one["tasks.queue.rows"], two["tasks.queue.rows"])
    assert torch.allclose(one["tasks.queue.keys"], two["tasks.queue.keys"], atol=1e-5)


def test_queues_of_moco_hold_the_keys_of_all_processes_in_rank_order(both: Any) -> None:
    for name in ("moco", "moco_union", "moco_multi_positive"):
        one, two = both[0][name]["buffers"], both[1][name]["buffers"]
        for key, buffer in one.items():
            assert torch.allclose(buffer, two[key], atol=1e-5), key
        assert (one["tasks.moco.pointer"].item(), one["tasks.moco.batches"].item()) == (64 % 40, 4)
        assert (one["tasks.moco.rows"] >= 0).all()


def test_memories_are_updated_from_all_processes(both: Any) -> None:
    one, two = both[0]["clustering"]["buffers"], both[1]["clustering"]["buffers"]
    assert one["tasks.clustering.updates"] == 1
    for key, buffer in one.items():
        assert torch.allclose(buffer, two[key], atol=1e-9), key


@pytest.mark.parametrize("sampler", ["random", "identity"])
def test_weights_after_one_step(sampler: str, both: Any) -> None:
    one, two = both[0][f"trained_{sampler}"]["weights"], both[1][f"trained_{sampler}"]["weights"]
    assert one.keys() == two.keys()
    for key, weight in one.items():
        assert torch.allclose(weight.float(), two[key].float(), atol=1e-5), key


@pytest.mark.parametrize("sampler", ["random", "identity"])
def test_evaluation_and_logged_values(sampler: str, both: Any) -> None:
    one, two = both[0][f"trained_{sampler}"], both[1][f"trained_{sampler}"]
    assert one["metrics"] == two["metrics"]
    import json

    first, second = (json.loads(result["lines"].splitlines()[0]) for result in (one, two))
    assert first.keys() == second.keys()
    assert first == pytest.approx(second, rel=1e-4)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_to_one_process_stops_all_and_the_run_resumes_exactly(processes: int, both: Any) -> None:
    found = both[processes - 1]["resumed"]
    assert found["status"] == 128 + 15
    assert found["alone"]["lines"] == found["resumed"]["lines"]
    for key, weight in found["alone"]["weights"].items():
        assert torch.equal(weight, found["resumed"]["weights"][key]), key


def test_mean_over_elements_that_one_process_lacks(both: Any) -> None:
    assert float(both[0]["unequal_counts"]["mean"]) == 3.0
    assert float(both[1]["unequal_counts"]["mean"]) == 3.0


@pytest.mark.parametrize("processes", [1, 2])
def test_an_index_that_was_stopped_is_finished_by_all(processes: int, both: Any) -> None:
    alone, found = both[0]["indexed"], both[processes - 1]["indexed"]
    assert (found["status"], found["parts"]) == (128 + 15, processes)
    assert found["left"] == ["photos.safetensors"]
    assert len(found["paths"]) == 24
    assert (found["paths"], found["hashes"].tolist()) == (alone["paths"], alone["hashes"].tolist())
    assert torch.allclose(found["features"], alone["features"], rtol=0, atol=1e-6)

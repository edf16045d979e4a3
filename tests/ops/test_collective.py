"""Run as a script, this file is one of two processes."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import distributed

from followspot.ops.collective import join_rows, several_processes, sum_over_processes


def numbers():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, generator=generator, dtype=torch.float64), torch.rand(2, 4, 3, generator=generator, dtype=torch.float64)


def be_one_of_two(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    values, weights = numbers()
    own = values[2 * rank : 2 * rank + 2].clone().requires_grad_()
    joined = join_rows(own.T.contiguous().T)  # the order in memory does not matter
    total = sum_over_processes(own[0].square())
    # A loss that differs between the processes; the gradient is that of the sum of both.
    ((joined.square() * weights[rank]).sum() + (total.square() * weights[rank, 0]).sum()).backward()
    torch.save(
        {"joined": joined.detach(), "total": total.detach(), "gradient": own.grad, "several": several_processes()}, f"{folder}/{rank}.pt"
    )
    distributed.destroy_process_group()


def test_f094_sums_and_joined_rows_have_the_gradients_of_one_process(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-W", "error::FutureWarning", __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=150) for process in running] == [0, 0]
    found = [torch.load(Path(tmp_path, f"{rank}.pt"), weights_only=True) for rank in range(2)]
    values, weights = numbers()
    values.requires_grad_()
    total = values[0].square() + values[2].square()
    sum((values.square() * weight).sum() + (total.square() * weight[0]).sum() for weight in weights).backward()
    assert torch.allclose(torch.cat([one["gradient"] for one in found]), values.grad, atol=1e-12)
    for one in found:
        assert one["several"]
        assert torch.equal(one["joined"], values)
        assert torch.allclose(one["total"], total)


def test_one_process_has_all():
    rows = torch.rand(2, 3)
    assert sum_over_processes(rows) is rows
    assert join_rows(rows) is rows
    assert not several_processes()


def test_the_way_for_several_processes_gives_the_same_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr("followspot.ops.collective.several_processes", lambda: True)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        rows = torch.rand(2, 3).requires_grad_()
        weights = torch.rand(2, 3)
        joined, total = join_rows(rows), sum_over_processes(rows)
        ((joined + total) * weights).sum().backward()
        assert torch.equal(joined, rows)
        assert torch.equal(total, rows)
        assert torch.allclose(rows.grad, 2 * weights)
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    be_one_of_two(int(sys.argv[1]), sys.argv[2])

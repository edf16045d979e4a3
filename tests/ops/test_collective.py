import warnings

import torch
from torch import distributed

from followspot.ops.collective import collect_states, join_rows, several_processes, sum_over_processes


def numbers():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, generator=generator, dtype=torch.float64), torch.rand(2, 4, 3, generator=generator, dtype=torch.float64)


def be_one_of_two():
    rank = distributed.get_rank()
    values, weights = numbers()
    own = values[2 * rank : 2 * rank + 2].clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        joined = join_rows(own.T.contiguous().T)  # the order in memory does not matter
    total = sum_over_processes(own[0].square())
    # A loss that differs between the processes; the gradient is that of the sum of both.
    ((joined.square() * weights[rank]).sum() + (total.square() * weights[rank, 0]).sum()).backward()
    states = collect_states({"rank": rank}, distributed.group.WORLD)
    return {"joined": joined.detach(), "total": total.detach(), "gradient": own.grad, "several": several_processes(), "states": states}


def test_f094_sums_and_joined_rows_have_the_gradients_of_one_process(in_two_processes):
    found = in_two_processes(__file__, "be_one_of_two")()
    values, weights = numbers()
    values.requires_grad_()
    total = values[0].square() + values[2].square()
    sum((values.square() * weight).sum() + (total.square() * weight[0]).sum() for weight in weights).backward()
    assert torch.allclose(torch.cat([one["gradient"] for one in found]), values.grad, atol=1e-12)
    for one in found:
        assert one["several"]
        assert torch.equal(one["joined"], values)
        assert torch.allclose(one["total"], total)
    assert [one["states"] for one in found] == [[{"rank": 0}, {"rank": 1}], []]


def test_one_process_has_all():
    rows = torch.rand(2, 3)
    assert sum_over_processes(rows) is rows
    assert join_rows(rows) is rows
    assert not several_processes()
    assert collect_states(3) == [3]


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

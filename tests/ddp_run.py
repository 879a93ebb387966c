"""One rank of the DDP test: python -m torch.distributed.run … ddp_run.py FOLDER STEPS RESUME; a checkpoint lies halfway.

Without torchrun, ``MEETING`` names the file through which the ranks find each other.
"""

import os
import sys
from pathlib import Path

import brevitas.nn as qnn
import torch
import torch.distributed as dist
from networks import FullRangeWeight
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import tremap_brevitas as tm

BATCH = 16


def main():
    folder, steps, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    ranks = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    dist.init_process_group("gloo", init_method=os.environ.get("MEETING", "env://"), **ranks)
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(rank)  # DDP sends rank 0's weights to the others
    model = tm.make_faulty(
        nn.Sequential(
            qnn.QuantLinear(12, 16, bias=True, weight_quant=FullRangeWeight),
            nn.ReLU(),
            qnn.QuantLinear(16, 4, bias=True, weight_quant=FullRangeWeight),
        )
    )
    memory = tm.Memory(words=70, word_bits=32)
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=0.05, seed=0)
    parallel = DistributedDataParallel(model)
    ramp = tm.Ramp(tm.place(model, memory), tm.merge(chips, on_conflict="majority"), over_steps=3, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    begin = 0
    if resume:
        saved = torch.load(folder / "checkpoint.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        ramp.load_state_dict(saved["ramp"])
        begin = saved["step"]
    live, gradients = [], []
    for step in range(begin, steps):
        if step == steps // 2 and rank == 0 and not resume:
            torch.save({"model": model.state_dict(), "ramp": ramp.state_dict(), "step": step}, folder / "checkpoint.pt")
        generator = torch.Generator().manual_seed(100 + step)
        x, y = torch.randn(BATCH, 12, generator=generator), torch.randint(4, (BATCH,), generator=generator)
        mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        loss = nn.functional.cross_entropy(parallel(x[mine]), y[mine])
        optimizer.zero_grad()
        loss.backward()
        live.append(ramp.live_cells)
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
        optimizer.step()
        ramp.step()
    torch.save({"live": live, "gradients": gradients, "state": model.state_dict()}, folder / f"rank-{rank}.pt")
    dist.barrier()
    # Gloo's threads may wait for the interpreter's lock while the last owner of the group, in freeing it, holds that lock and
    # waits for them. All is saved: leave at once.
    os._exit(0)


if __name__ == "__main__":
    main()

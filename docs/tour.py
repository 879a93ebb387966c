# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tour
# From a float PyTorch model to a report on a fleet, on the handwritten digits of scikit-learn. This page is `docs/tour.py`: run
# it as a script, or open it as a notebook with jupytext. All that is shown below was computed when the page was built.

# %%
import logging
import tempfile
import warnings
from pathlib import Path

import brevitas.nn as qnn
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import tremap_brevitas as tm

warnings.filterwarnings("ignore")
logging.getLogger("torch.onnx").setLevel(logging.ERROR)
folder = Path(tempfile.mkdtemp())
_ = torch.manual_seed(0)

# %% [markdown]
# ## 1. A float model
# 1,797 images of 8×8 pixels; 1,200 to train, the rest to test.

# %%
images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 8 - 1
order = torch.randperm(len(images))
images, labels = images[order], labels[order]


def network(conv=nn.Conv2d, linear=nn.Linear):
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        *(conv(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(conv(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(linear(64, 32), nn.ReLU(), linear(32, 10)),
    )


def train(model, steps, lr, after_step=lambda: None):
    """Plain training; what strategies need is one call after every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        index = torch.randint(1200, (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after_step()
    model.eval()


def accuracy(model):
    """Share of the test images that are recognised."""
    with torch.no_grad():
        return (model(images[1200:]).argmax(1) == labels[1200:]).float().mean().item()


float_model = network()
train(float_model, steps=300, lr=0.05)
print(f"float: {accuracy(float_model):.3f}")

# %% [markdown]
# ## 2. The same in Brevitas, with 8-bit weights
# Brevitas' layers take the float parameters. `make_faulty` lets their quantizers hold stuck bits, and changes nothing else.

# %%
model = network(qnn.QuantConv2d, qnn.QuantLinear)
model.load_state_dict(float_model.state_dict(), strict=False)
tm.make_faulty(model)
train(model, steps=100, lr=0.02)
healthy = accuracy(model)
print(f"quantized: {healthy:.3f}")

# %% [markdown]
# ## 3. The memory, and where the weights lie in it

# %%
memory = tm.Memory(words=1024, word_bits=32)
net = tm.place(model, memory)
print(net.placement)
print("cell 4711:", net.placement.weights_at(4711)[0])

# %% [markdown]
# ## 4. Six chips, 3 % of the cells stuck
# Read yours with `tm.read_fault_maps("logs/", memory=memory)`. The picture shows a corner of the first chip's memory.

# %%
chips = tm.random_fault_maps(memory, chips=6, fault_rate=0.03, seed=0)
cells = np.full(memory.cells, 0.5)
cells[chips[0].cells] = chips[0].stuck_at
figure, axes = plt.subplots(figsize=(8, 3))
axes.imshow(cells.reshape(memory.words, memory.word_bits)[:96].T, cmap="coolwarm", interpolation="nearest", aspect="auto")
axes.set(xlabel="word", ylabel="bit", title="chip-0: stuck at 0 (blue) and at 1 (red)")
plt.show()

# %% [markdown]
# ## 5. What faults do
# With plain codes a stuck high bit moves a weight by up to 128 steps.

# %%
rows = {}
for name in ("plain", "nearest"):
    with net.using(chips[0], rule=tm.Rule(name)):
        codes = net.codes("9")
        rows[name] = (codes.read_back - codes.wanted).ravel()
        print(f"{name:8} accuracy {accuracy(model):.3f}, largest error of a code {abs(rows[name]).max()}")

figure, axes = plt.subplots(figsize=(8, 3))
axes.hist(list(rows.values()), bins=33, label=list(rows), log=True)
axes.set(xlabel="read-back code minus wanted code", ylabel="weights", title="layer 9 on chip-0")
axes.legend()
plt.show()

# %% [markdown]
# ## 6. The chips as they are

# %%
untreated = net.evaluate(chips, accuracy, name="as they are", progress=False)
print(untreated)

# %% [markdown]
# ## 7. One map for the group

# %%
merged = tm.merge(chips, on_conflict="free")
print(merged)
print(f"{merged.union_rate:.1%} of the cells are stuck on some chip; {len(merged.conflicts)} conflicts")

# %% [markdown]
# ## 8. No training: compensation
# Codes are chosen so that each layer's output is least wrong, from 512 images without labels. The healthy weights are kept for
# later.

# %%
state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
summary = net.compensate_(images[:512].split(128), fault_map=merged, progress=False)
print(summary)
compensated = net.evaluate(chips, accuracy, name="compensated, one image", progress=False)

# %% [markdown]
# ## 9. Or one retraining for the group
# At every step another chip's reading of the one image. Your training loop gets one line.

# %%
net.clear_faults_()
model.load_state_dict(state)
majority = tm.merge(chips, on_conflict="majority")
strategy = tm.ReadByMembers(net, majority, seed=0)
train(model, steps=100, lr=0.02, after_step=strategy.step)
net.set_faults_(majority)
retrained = net.evaluate(chips, accuracy, name="retrained, one image", steps=strategy.steps, progress=False)

# %% [markdown]
# ## 10. The fleet

# %%
reports = [untreated, compensated, retrained]
print(tm.report.comparison(reports, threshold=0.9))

figure, axes = plt.subplots(figsize=(8, 3.5))
for number, report in enumerate(reports):
    axes.plot([chip.accuracy for chip in report.chips], range(len(chips)), "o", label=report.name, color=f"C{number}")
axes.axvline(healthy, color="grey", linestyle="--", label="healthy memory")
axes.set(xlabel="accuracy", yticks=range(len(chips)), yticklabels=[chip.chip for chip in chips])
axes.legend()
plt.show()

# %% [markdown]
# ## 11. What each chip reads

# %%
for chip in chips:
    print(net.certificate(chip))

# %% [markdown]
# ## 12. A bundle for the hardware flow
# ONNX files, the words of the memory, a table of the chips. It is checked from its files alone, without PyTorch and Brevitas.

# %%
bundle = net.export(folder / "group_0", images[:1], report=retrained, probe=images[1200:1264], progress=False)
print(str(tm.verify_bundle(bundle, chips, progress=False)).replace(str(folder), ""))
for path in sorted(bundle.iterdir()):
    print(f"{path.stat().st_size:8} {path.name}")

"""Checkpoints in the layouts that CorrFlow, TimeCycle, videowalk and SiamMask published: all keys, documented shapes, random values.

Run it to get the files: ``python tests/models/make_foreign.py FOLDER``. It uses nothing of the package, so that the tests compare two
independent readings of the same facts.
"""

import argparse
import sys
from collections import Counter, OrderedDict
from pathlib import Path

import torch

TIME = (1,)  # TimeCycle's kernels span one frame


def norm(name, channels):
    """A batch norm's tensors, with statistics that are not those of a fresh one, so that leaving one out shows."""
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": torch.randn(channels) * 0.1,
        f"{name}.running_mean": torch.randn(channels) * 0.1,
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def kernel(*shape):
    """Variance-preserving values, so that features stay of order 1 through fifty layers."""
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(shape) * (2 / fan_in) ** 0.5


def corrflow_state():
    state = {"conv1.0.weight": kernel(64, 3, 7, 7), **norm("conv1.1", 64)}
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 256), 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            state[f"{name}.left.0.weight"] = kernel(width, inputs, 3, 3)
            state |= norm(f"{name}.left.1", width)
            state[f"{name}.left.3.weight"] = kernel(width, width, 3, 3)
            state |= norm(f"{name}.left.4", width)
            if inputs != width:
                state[f"{name}.shortcut.0.weight"] = kernel(width, inputs, 1, 1)
                state |= norm(f"{name}.shortcut.1", width)
            inputs = width
    state = {f"feature_extraction.{key}": value for key, value in state.items()}
    state |= {"post_convolution.weight": kernel(64, 256, 3, 3), "post_convolution.bias": torch.randn(64)}
    return {f"module.{key}": value for key, value in state.items()}


def resnet_state(depth, *, time=()):
    """The tensors of a torchvision ResNet without its classifier; ``time`` puts a kernel length before the two of space."""
    state = {"conv1.weight": kernel(64, 3, *time, 7, 7), **norm("bn1", 64)}
    inputs, expansion = 64, {18: 1, 50: 4}[depth]
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth], strict=True), 1):
        for block in range(count):
            name, outputs = f"layer{stage}.{block}", width * expansion
            shapes = [(width, inputs, 3), (width, width, 3)]
            if depth == 50:
                shapes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            for index, (out, into, size) in enumerate(shapes, 1):
                state[f"{name}.conv{index}.weight"] = kernel(out, into, *time, size, size)
                state |= norm(f"{name}.bn{index}", out)
            if inputs != outputs:
                state[f"{name}.downsample.0.weight"] = kernel(outputs, inputs, *time, 1, 1)
                state |= norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    return state


def timecycle_state():
    state = {f"encoderVideo.{key}": value for key, value in resnet_state(50, time=TIME).items()}
    state["afterconv1.weight"] = kernel(512, 1024, *TIME, 1, 1)
    state["afterconv3_trans.weight"] = kernel(128, 900, 4, 4)
    state["afterconv4_trans.weight"] = kernel(64, 128, 4, 4)
    state |= {"linear2.weight": torch.randn(3, 1024), "linear2.bias": torch.randn(3)}
    return {f"module.{key}": value for key, value in state.items()}


def videowalk_state(*, reflecting_names):
    """``reflecting_names``: as PyTorch 1.4 saved it, where padding and convolution are a sequence."""
    state = {}
    for key, value in resnet_state(18).items():
        wide = reflecting_names and key.endswith(("conv1.weight", "conv2.weight"))
        state[f"encoder.model.{key.replace('.weight', '.1.weight') if wide else key}"] = value
    return state | {"selfsim_fc.0.weight": torch.randn(128, 512), "selfsim_fc.0.bias": torch.randn(128)}


def corrflow():
    """``checkpoint.tar``."""
    state = OrderedDict(corrflow_state())
    moments = {0: {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}}
    group = {"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "params": [0]}
    return {"epoch": 9, "state_dict": state, "optimizer": {"state": moments, "param_groups": [group]}}


def timecycle():
    """``checkpoint_14.pth.tar``."""
    return {"epoch": 14, "state_dict": OrderedDict(timecycle_state())}


def videowalk(*, model_type="scratch", reflecting_names=True):
    """``pretrained.pth``."""
    options = argparse.Namespace(
        model_type=model_type, lr=1e-4, remove_layers=[], steps_per_epoch=1e10, patch_size=[64, 64, 3], device="cuda"
    )
    return {
        "model": OrderedDict(videowalk_state(reflecting_names=reflecting_names)),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}]},
        "lr_scheduler": {"milestones": Counter({20: 1, 30: 1}), "gamma": 0.3, "last_epoch": 24, "_last_lr": [1e-4]},
        "epoch": 24,
        "args": options,
    }


def convolution(name, *shape, bias=True):
    """The tensors of a convolution."""
    return {f"{name}.weight": kernel(*shape)} | ({f"{name}.bias": torch.randn(shape[0]) * 0.1} if bias else {})


def siammask_state():
    features = {key: value for key, value in resnet_state(50).items() if not key.startswith("layer4.")}
    features["conv1.weight"] /= 128  # pixels are 0..255
    features["layer2.0.downsample.0.weight"] = kernel(512, 256, 3, 3)
    features["layer3.0.downsample.0.weight"] = kernel(1024, 512, 3, 3)
    state = {f"features.features.{key}": value for key, value in features.items()}
    state |= convolution("features.downsample.downsample.0", 256, 1024, 1, 1, bias=False) | norm("features.downsample.downsample.1", 256)
    for branch, outputs in (("rpn_model.cls", 10), ("rpn_model.loc", 20), ("mask_model.mask", 63 * 63)):
        for part in ("conv_kernel", "conv_search"):
            state |= convolution(f"{branch}.{part}.0", 256, 256, 3, 3, bias=False) | norm(f"{branch}.{part}.1", 256)
        state |= convolution(f"{branch}.head.0", 256, 256, 1, 1, bias=False) | norm(f"{branch}.head.1", 256)
        state |= convolution(f"{branch}.head.3", outputs, 256, 1, 1)
    for level, (inputs, hidden, out) in enumerate(((64, 16, 4), (256, 64, 16), (512, 128, 32))):
        state |= convolution(f"refine_model.v{level}.0", hidden, inputs, 3, 3)
        state |= convolution(f"refine_model.v{level}.2", out, hidden, 3, 3)
        state |= convolution(f"refine_model.h{level}.0", out, out, 3, 3) | convolution(f"refine_model.h{level}.2", out, out, 3, 3)
    state |= {"refine_model.deconv.weight": torch.randn(256, 32, 15, 15) / 16, "refine_model.deconv.bias": torch.randn(32) * 0.1}
    for number, (inputs, out) in enumerate(((32, 16), (16, 4), (4, 1))):
        state |= convolution(f"refine_model.post{number}", out, inputs, 3, 3)
    return {f"module.{key}": value for key, value in state.items()}


def siammask():
    """``SiamMask_DAVIS.pth``; those of VOT and VOT_LD are alike."""
    optimizer = {"state": {}, "param_groups": [{"lr": 2.5e-3, "momentum": 0.9, "params": [0]}]}
    anchors = {"stride": 8, "ratios": [0.33, 0.5, 1, 2, 3], "scales": [8], "round_dight": 0}
    content = {"epoch": 20, "arch": "Custom", "best_acc": 0.0, "optimizer": optimizer, "anchor_cfg": anchors}
    return {**content, "state_dict": OrderedDict(siammask_state())}


FILES = {
    "corrflow": ("checkpoint.tar", corrflow),
    "timecycle": ("checkpoint_14.pth.tar", timecycle),
    "videowalk": ("pretrained.pth", videowalk),
    "siammask": ("SiamMask_DAVIS.pth", siammask),
}


def write(folder, layout):
    """Write one layout's file in the format of PyTorch before 1.6, as its authors did; gives its path."""
    name, make = FILES[layout]
    path = Path(folder) / layout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(make(), path, _use_new_zipfile_serialization=False)
    return path


if __name__ == "__main__":
    for layout in FILES:
        print(write(sys.argv[1], layout))

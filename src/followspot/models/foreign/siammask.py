"""SiamMask's ``SiamMask_VOT.pth``, ``SiamMask_VOT_LD.pth`` and ``SiamMask_DAVIS.pth``: one layout, three trainings.

The tensors, bare or under ``state_dict`` beside ``epoch`` and ``optimizer``, with or without ``module.``. Names: ``features.features`` is
the ResNet-50 in torchvision's names, with 3x3 shortcuts; ``features.downsample.downsample.{0,1}`` its projection; ``rpn_model.cls``,
``rpn_model.loc`` and ``mask_model.mask`` the branches, each with ``conv_kernel.{0,1}``, ``conv_search.{0,1}`` and ``head.{0,1,3}``;
``refine_model`` has ``deconv``, ``v{0,1,2}.{0,2}``, ``h{0,1,2}.{0,2}`` and ``post{0,1,2}``, where v0 and h0 are the finest and post0 the
coarsest. A file without ``refine_model`` is the base network, one without ``mask_model`` boxes only.
Source: the authors' public repository (foolwood/SiamMask).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from followspot.models.foreign.checkpoint import Checkpoint, read_checkpoint
from followspot.models.foreign.conversion import Conversion, convert_into
from followspot.models.siammask import MaskKind, SiamMask

_OWNED: Final = (
    *(f"features.features.{part}." for part in ("conv1", "bn1", "layer1", "layer2", "layer3")),
    *("features.downsample.", "rpn_model.", "mask_model.", "refine_model."),
)
# Beginnings of our names as patterns, and what the checkpoint has in their place.
_NAMES: Final = (
    (r"backbone\.adjust\.", "features.downsample.downsample."),
    (r"backbone\.", "features.features."),
    (r"heads\.score\.", "rpn_model.cls."),
    (r"heads\.box\.", "rpn_model.loc."),
    (r"heads\.mask\.", "mask_model.mask."),
    (r"refinement\.start\.", "refine_model.deconv."),
    (r"refinement\.side\.(\d)\.", r"refine_model.v\1."),
    (r"refinement\.deep\.(\d)\.", r"refine_model.h\1."),
)
_BRANCH_PARTS: Final = {"of_template": "conv_kernel", "of_search": "conv_search", "readout": "head"}
_STEM: Final = "features.features.conv1.weight"


def convert(path: Path) -> Conversion:
    """Read a published checkpoint into a :class:`followspot.models.siammask.SiamMask` that receives RGB in 0..1.

    Raises:
        EncoderError: the file is unusable or of another network.
    """
    checkpoint = read_checkpoint(path, wrapper="state_dict")
    network = SiamMask(50, masks=_masks(checkpoint))
    conversion = convert_into(network, _folded(checkpoint), layout="siammask", rename=_rename, owned=_OWNED)
    # It is no encoder, so that nobody takes it for one: online networks are named under "network".
    card = {"network": network.name, "converted": {**conversion.card["converted"], "changed": {_STEM: "RGB in 0..1, was BGR in 0..255"}}}
    return replace(conversion, card=card)


def _masks(checkpoint: Checkpoint) -> MaskKind:
    if any(name.startswith("refine_model.") for name in checkpoint.state):
        return "refined"
    return "base" if any(name.startswith("mask_model.") for name in checkpoint.state) else "none"


def _folded(checkpoint: Checkpoint) -> Checkpoint:
    """The first convolution for RGB in 0..1; exact, as it has neither padding nor bias."""
    stem = checkpoint.state.get(_STEM)
    if stem is None or stem.ndim != 4:
        return checkpoint
    return replace(checkpoint, state={**checkpoint.state, _STEM: stem.flip(1) * 255})


def _rename(ours: str) -> str:
    after = re.fullmatch(r"refinement\.after\.(\d)\.(\w+)", ours)
    if after:
        return f"refine_model.post{2 - int(after[1])}.{after[2]}"
    for pattern, theirs in _NAMES:
        ours = re.sub(f"^{pattern}", theirs, ours)
    owner, model, rest = ours.partition(".")
    if owner in ("rpn_model", "mask_model"):
        branch, part, leaf = rest.split(".", 2)
        return f"{owner}{model}{branch}.{_BRANCH_PARTS[part]}.{leaf}"
    return ours

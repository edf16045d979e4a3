"""``followspot convert``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from followspot.errors import SettingError


def convert(
    file: Annotated[Path, Parameter(help="Checkpoint as its authors published it, such as checkpoint.tar or pretrained.pth.")],
    /,
    *,
    layout: Annotated[Literal["corrflow", "timecycle", "videowalk", "siammask"], Parameter(name="--from")],
    out: Path,
    torchvision_out: Path | None = None,
) -> None:
    """Turn a checkpoint that others published into weights that every command takes. Nothing in the file is run.

    Args:
        layout: Whose checkpoint it is.
        out: The .safetensors file to write; --weights takes it.
        torchvision_out: Also write the plain ResNet-50 in torchvision's names, through layer3 (timecycle only).
    """
    from followspot.models.foreign.registry import convert_checkpoint
    from followspot.models.weights import save_weights

    if torchvision_out is not None and layout != "timecycle":
        raise SettingError(f"--torchvision-out is for --from timecycle, not {layout}: its names are torchvision's only there; leave it out")
    if torchvision_out is not None and torchvision_out == out:
        raise SettingError(f"--out and --torchvision-out are both {out}; give each its own file")
    conversion = convert_checkpoint(file, layout)
    save_weights(out, conversion.network, conversion.card)
    print(f"saved {conversion.name} to {out}: {len(conversion.used)} tensors used, {len(conversion.unused)} not")
    for name in conversion.unused:
        print(f"  not used: {name}")
    if torchvision_out is not None and conversion.stock is not None:
        save_weights(torchvision_out, conversion.stock, {**conversion.card, "encoder": "resnet50"})
        print(f"saved a ResNet-50 through layer3 to {torchvision_out}; give layer3 stride 1 before you load it (docs/convert.md)")

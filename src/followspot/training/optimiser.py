"""What moves the weights: optimisers by name, learning rates by module, parts that wait, and steps that are not taken."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn

from followspot.errors import SettingError
from followspot.ops.collective import several_processes
from followspot.ops.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How weights follow their gradients."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    """Adam (Kingma & Ba 2015), Adam with decoupled weight decay (Loshchilov & Hutter 2019), or gradient descent with momentum."""
    lr: Schedule = Schedule.parse("cosine 1e-3 0 warmup 200")  # noqa: RUF009 -- frozen
    """Learning rate by step; > 0 somewhere."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's averages of gradients and of their squares, in [0, 1) (Kingma & Ba 2015)."""
    momentum: float = 0.9
    """Of `sgd`, in [0, 1) (SiamMask trains with 0.9)."""
    weight_decay: float = 0.0
    """Pull of weights towards 0 a step and learning rate, >= 0."""
    decay_vectors: bool = True
    """Whether weight decay also pulls at norms and biases (parameters of fewer than two axes)."""
    clip: float | None = None
    """Longest gradient of all parameters together (L2), > 0; longer ones are shortened to it (SiamMask: 10). None: no limit."""
    skip_above: float | None = None
    """A step whose loss is above is not taken, as one that is not finite (SiamMask: 10000). None: no limit."""
    multipliers: Mapping[str, float] = field(default_factory=dict)
    """Factors of the learning rate by module, such as ``encoder.layer2: 0.1``; the longest name that fits counts."""
    freeze: Mapping[str, float] = field(default_factory=dict)
    """Modules that wait, by the share of training in 0..1 until which they do; 1 is for ever."""

    def __post_init__(self) -> None:
        if self.name not in ("adam", "adamw", "sgd"):
            raise SettingError(f"optimizer.name = {self.name!r} is not known; take one of adam, adamw, sgd")
        _check("betas", self.betas, [0 <= beta < 1 for beta in self.betas], "two numbers in [0, 1), such as [0.9, 0.999]")
        _check("momentum", self.momentum, [0 <= self.momentum < 1], "a number in [0, 1), such as 0.9")
        _check("weight_decay", self.weight_decay, [self.weight_decay >= 0], "0 or more")
        _check("clip", self.clip, [self.clip is None or self.clip > 0], "more than 0; leave it out for no limit")
        _check("skip_above", self.skip_above, [self.skip_above is None or self.skip_above > 0], "more than 0; leave it out for no limit")
        for name, factor in self.multipliers.items():
            _check(f"multipliers.{name}", factor, [0 <= factor < float("inf")], "a factor of 0 or more")
        for name, share in self.freeze.items():
            _check(f"freeze.{name}", share, [0 <= share <= 1], "a share of training in 0..1; 1 is for ever")

    def waits(self, share: float, *, step: int, total_steps: int) -> bool:
        """Whether what is frozen until a share of training is frozen at a step."""
        return step < share * total_steps


def build_optimizer(module: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Make the optimiser of all parameters of a module that want gradients.

    Args:
        module: the names in the settings are names inside it.
        settings: which optimiser, and factors and freezing by module.

    Returns:
        One group for each combination of factor, freezing and weight decay; call :func:`apply_schedule` before each step.

    Raises:
        SettingError: a name in the settings is none in the module; the message has the nearest.
    """
    known = {name for name, _ in [*module.named_modules(), *module.named_parameters()] if name}
    groups: dict[tuple[float, float, float], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if settings.decay_vectors or parameter.ndim > 1 else 0.0
            key = (_longest(settings.multipliers, name, default=1.0), _longest(settings.freeze, name, default=0.0), decay)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise SettingError("nothing in this recipe can be trained: no parameter wants a gradient; choose an encoder that learns")
    _check_names("multipliers", settings.multipliers, known)
    _check_names("freeze", settings.freeze, known)
    made: list[dict[str, Any]] = [
        {"params": parameters, "factor": factor, "frozen_until": share, "frozen": False, "weight_decay": decay}
        for (factor, share, decay), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(made, lr=0.0, momentum=settings.momentum)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(made, lr=0.0, betas=settings.betas)


def apply_schedule(optimizer: torch.optim.Optimizer, settings: OptimizerSettings, *, step: int, total_steps: int) -> float:
    """Set learning rates, and freeze and thaw, before a step.

    A frozen parameter gets no gradient and no decay, and what the optimiser remembers about it stays. Where several processes train, its
    gradient is still computed, since they must agree on what they exchange, and dropped by :class:`GuardedStep`.

    Args:
        optimizer: from :func:`build_optimizer`.
        settings: the same.
        step: steps done, from 0.
        total_steps: how many there will be.

    Returns:
        The learning rate of parameters with factor 1.
    """
    rate = settings.lr.at(step, total_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
        group["frozen"] = settings.waits(group["frozen_until"], step=step, total_steps=total_steps)
        if group["frozen_until"] and not several_processes():
            for parameter in group["params"]:
                parameter.requires_grad_(not group["frozen"])
    return rate


def hold_statistics(module: nn.Module, settings: OptimizerSettings, *, step: int, total_steps: int) -> None:
    """Let the normalisation of frozen modules use its running statistics, which then stay, and that of thawed ones the batch's.

    Args:
        module: as given to :func:`build_optimizer`; in training mode, or nothing happens.
        settings: says what is frozen.
        step: steps done, from 0.
        total_steps: how many there will be.
    """
    if not settings.freeze:
        return
    for name, inner in module.named_modules():
        if isinstance(getattr(inner, "running_mean", None), Tensor):
            share = _longest(settings.freeze, name, default=0.0)
            inner.train(module.training and not settings.waits(share, step=step, total_steps=total_steps))


class GuardedStep:
    """Takes optimiser steps, except those whose loss or gradient is not finite: they leave no trace but a count.

    Call :meth:`remember` before the forward pass and :meth:`step` after it.

    Args:
        max_skipped: so many in a row are an error; a few broken clips are not, and clips are drawn anew for every step.

    Attributes:
        skipped: steps not taken in all.
        in_a_row: steps not taken since the last that was.
        norm: length of the last gradient, before clipping.
    """

    def __init__(self, *, max_skipped: int = 20) -> None:
        self.max_skipped = max_skipped
        self.skipped = 0
        self.in_a_row = 0
        self.norm: Tensor | None = None
        self._kept: list[tuple[nn.Module, str, Tensor | None, Tensor | None]] | None = None

    def remember(self, module: nn.Module) -> None:
        """Keep the buffers of a module (running statistics, colour centres), since a forward pass changes them.

        Args:
            module: all that the forward pass goes through.
        """
        self._kept = [
            (inner, name, buffer, None if buffer is None else buffer.detach().clone())
            for inner in module.modules()
            for name, buffer in inner._buffers.items()
        ]

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        *,
        clip: float | None = None,
        skip_above: float | None = None,
        backward: Callable[[Tensor], object] = Tensor.backward,
    ) -> bool:
        """Descend, or leave everything as it was at :meth:`remember`; all processes do the same.

        Args:
            optimizer: from :func:`build_optimizer`.
            loss: scalar.
            clip: see :class:`OptimizerSettings`.
            skip_above: see :class:`OptimizerSettings`.
            backward: computes the gradients of a loss.

        Returns:
            Whether the step was taken.

        Raises:
            SettingError: too many steps in a row were not.
        """
        if self._kept is None:
            raise RuntimeError("GuardedStep.remember was not called before the forward pass")
        optimizer.zero_grad()
        # Even when the loss is not finite: the other processes wait for our gradients.
        backward(loss)
        gradients = list(_gradients(optimizer))
        self.norm = nn.utils.get_total_norm([gradient for _, gradient in gradients])
        taken = self._agree(loss.detach(), skip_above)
        if taken:
            if clip is not None:
                nn.utils.clip_grads_with_norm_([parameter for parameter, _ in gradients], clip, self.norm)
            optimizer.step()
        else:
            self._restore()
        optimizer.zero_grad()
        self._kept = None
        self._count(taken=taken)
        return taken

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on counting."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]

    def _agree(self, loss: Tensor, skip_above: float | None) -> bool:
        assert self.norm is not None
        good = torch.isfinite(loss) & torch.isfinite(self.norm).to(loss.device)
        if skip_above is not None:
            good &= loss <= skip_above
        if several_processes():
            votes = good.float()
            distributed.all_reduce(votes, distributed.ReduceOp.MIN)
            return bool(votes)
        return bool(good)

    @torch.no_grad()
    def _restore(self) -> None:
        for inner, name, buffer, value in self._kept or ():
            if buffer is not None and value is not None:
                buffer.copy_(value)
            inner._buffers[name] = buffer  # it may have been replaced instead of changed

    def _count(self, *, taken: bool) -> None:
        self.skipped += not taken
        self.in_a_row = 0 if taken else self.in_a_row + 1
        if self.in_a_row >= self.max_skipped:
            raise SettingError(
                f"the last {self.in_a_row} steps had no finite loss and gradient and were not taken; resume from the last checkpoint with "
                "a lower optimizer.lr, a smaller optimizer.clip, or precision=float32"
            )


def _gradients(optimizer: torch.optim.Optimizer) -> Iterable[tuple[Tensor, Tensor]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if group.get("frozen"):
                parameter.grad = None
            elif parameter.grad is not None:
                yield parameter, parameter.grad


def _longest(settings: Mapping[str, float], name: str, *, default: float) -> float:
    fitting = [prefix for prefix in settings if name == prefix or name.startswith(f"{prefix}.")]
    return settings[max(fitting, key=len)] if fitting else default


def _check_names(what: str, settings: Mapping[str, float], known: set[str]) -> None:
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise SettingError(f"optimizer.{what} names {name!r}, which is no module that is trained; did you mean {near[0]!r}?")


def _check(name: str, value: object, holds: Iterable[bool], expected: str) -> None:
    if not all(holds):
        raise SettingError(f"optimizer.{name} = {value!r} must be {expected}")

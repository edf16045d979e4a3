"""``followspot info``: what this machine has, and what is used of it."""


def info() -> None:
    """Say which ways of computing this machine has, which are used, and why others are not.

    FOLLOWSPOT_NATIVE chooses how labels are carried on a CPU: auto, off (plain torch), portable, avx2, avx512 or avx512vnni.
    """
    import platform
    from importlib.metadata import version

    import torch

    from followspot.ops.backends.gpu import proof
    from followspot.ops.backends.native import library

    triton = "no, FOLLOWSPOT_TRITON is off" if proof.wished() is None else "yes, on GPUs where it proves itself"
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no, torch finds none"
    print(f"followspot   {version('followspot')}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"machine      {platform.system()} {platform.machine()}, {torch.get_num_threads()} threads")
    print(f"GPU          {cuda}")
    print("propagation")
    print(f"  native     {library.state()}")
    print(f"  triton     {triton}")
    print("  tiled      yes, plain torch on any device; for what the others do not do")

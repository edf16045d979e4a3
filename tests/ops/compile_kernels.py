"""Compiles the GPU kernels for an H100 as the first user of one would; needs no GPU, but a process that does not interpret."""

POINTERS = {"table": "*i64", "reaches": "*i32", "unproven": "*i32", "lists": "*i64"}
POINTERS |= dict.fromkeys(("labels", "entropy", "lengths", "peak_norm"), "*fp32")
SCALARS = {"temperature": "fp32", "margin": "fp32"}
CASES = [
    ("score", "*fp16", {"TY": 8, "TX": 8, "BLOCK": 64, "CHUNK": 64, "KEPT": 16, "CIRCLE": False, "RAW": True, "WIDEN": False}),
    ("score", "*bf16", {"TY": 4, "TX": 8, "BLOCK": 64, "CHUNK": 64, "KEPT": 64, "CIRCLE": True, "RAW": False, "WIDEN": False}),
    ("decide", "*fp32", {"ROWS": 16, "CHUNK": 64, "KEPT": 16, "LABELS": 4, "RAW": True}),
    ("search", "*fp32", {"BLOCK": 32, "CHUNK": 64, "KEPT": 8, "LABELS": 4, "CIRCLE": True, "RAW": True}),
]


def main() -> None:
    """Print the size of each kernel."""
    # Here, so that tests can be collected where there is no triton.
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from followspot.ops.backends.gpu import kernels

    for name, query, constants in CASES:
        kernel = getattr(kernels, name)
        known = POINTERS | SCALARS | {"query": query} | dict.fromkeys(constants, "constexpr")
        signature = {argument: known.get(argument, "i32") for argument in kernel.arg_names}
        compiled = build(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=GPUTarget("cuda", 90, 32))
        print(name, query, len(compiled.asm["cubin"]), "bytes")


if __name__ == "__main__":
    main()

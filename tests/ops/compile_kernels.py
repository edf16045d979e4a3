"""Compiles the GPU kernels for an H100 as the first user of one would; needs no GPU, but a process that does not interpret."""

from triton import compile as build
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from followspot.ops.backends.gpu import kernels

POINTERS = {"table": "*i64", "reaches": "*i32", "unproven": "*i32", "lists": "*i64"}
POINTERS |= dict.fromkeys(("labels", "entropy", "lengths", "peak_norm"), "*fp32")
SCALARS = {"temperature": "fp32", "margin": "fp32"}
CASES = [
    (kernels.score, "*fp16", {"TY": 8, "TX": 8, "BLOCK": 64, "CHUNK": 64, "KEPT": 16, "CIRCLE": False, "RAW": True, "WIDEN": False}),
    (kernels.score, "*bf16", {"TY": 4, "TX": 8, "BLOCK": 64, "CHUNK": 64, "KEPT": 64, "CIRCLE": True, "RAW": False, "WIDEN": False}),
    (kernels.decide, "*fp32", {"ROWS": 16, "CHUNK": 64, "KEPT": 16, "LABELS": 4, "RAW": True}),
    (kernels.search, "*fp32", {"BLOCK": 32, "CHUNK": 64, "KEPT": 8, "LABELS": 4, "CIRCLE": True, "RAW": True}),
]

for kernel, query, constants in CASES:
    known = POINTERS | SCALARS | {"query": query} | dict.fromkeys(constants, "constexpr")
    signature = {name: known.get(name, "i32") for name in kernel.arg_names}
    compiled = build(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, query, len(compiled.asm["cubin"]), "bytes")

"""What the processor that Numba compiles for can do: vector width, registers, fused multiply-add.

LLVM itself is asked, by compiling one multiply-add, so the answer is right for every host and for
``NUMBA_CPU_NAME`` / ``NUMBA_CPU_FEATURES`` overrides alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.binding as llvm
from numba.core import config

_PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b) "prefer-vector-width"="512" {
  %c = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %a)
  ret <16 x float> %c
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


@dataclass(frozen=True)
class Target:
    """Vector unit of one processor."""

    name: str
    vector_bytes: int
    vector_registers: int
    fused_multiply_add: bool

    @property
    def tile_vectors(self) -> int:
        """Vectors in a row of the micro-kernel's widest tile."""
        return 4 if self.vector_registers == 32 else 2

    @property
    def panel_bytes(self) -> int:
        """Bytes in a row of that tile, and of the panel of the right operand under it."""
        return self.tile_vectors * self.vector_bytes

    @property
    def second_level_bytes(self) -> int:
        """Second-level cache that a core can be expected to have: by the width of its vectors.

        1 to 2 MiB where they have 64 bytes (since Skylake-SP and Zen 4), else 512 KiB as in Zen.
        """
        return 1024 * 1024 if self.vector_bytes == 64 else 512 * 1024

    def tile_rows(self, vectors: int) -> int:
        """Most rows of a tile that is so many vectors wide.

        ``rows * vectors`` accumulators, the vectors of the right operand and two broadcasts must
        fit into the register file. Beyond 14 rows a tile gains nothing.
        """
        return min(14, (self.vector_registers - vectors - 2) // vectors)


def _names() -> tuple[str, str]:
    name = config.CPU_NAME or llvm.get_host_cpu_name()
    features = config.CPU_FEATURES
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    return name, features


def _probe(name: str, features: str) -> Target:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=name, features=features, opt=1)
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    if "zmm" in assembly:
        return Target(name, 64, 32, True)
    if "ymm" in assembly and "vfmadd" in assembly:
        return Target(name, 32, 16, True)
    if "fmla" in assembly:  # aarch64: 32 registers of 128 bits
        return Target(name, 16, 32, True)
    # Without the instruction LLVM would call fmaf() for every lane: multiply and add instead.
    return Target(name, 16, 16, False)


TARGET = _probe(*_names())

"""Routines are handed to their callers as LLVM's intermediate code; kernels become machine code.

Numba optimises every function that compiled code calls, generates its machine code, and does both
again as a part of each of its callers, level by level. Of a training step's routines only the code
inside the step ever runs, so theirs is linked into the kernel as it is and optimised there, once:
half of the time that a step took to compile.

Built on Numba's custom compilers (``pipeline_class``).
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import NativeLowering

__all__ = ["RoutineCompiler"]


class _Unfinished(CPUCodeLibrary):
    """Intermediate code of a routine and of all that it calls, for the kernels to finish."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=True)
class _Declare(AnalysisPass):
    """Let callers find the routine: Numba knows a function by its entry, and this one has none."""

    _name = "fastdnn_declare_routine"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        entry: Any = [].append  # a built-in, as the dispatcher asks for, and unlike any other
        state.targetctx.insert_user_function(entry, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=entry)
        return True


class RoutineCompiler(CompilerBase):
    """Numba's compiler up to the intermediate code."""

    def define_pipelines(self) -> list[Any]:
        """Numba's passes, less those that generate machine code."""
        state = self.state
        state.flags.no_compile = True
        state.library = _Unfinished(state.targetctx.codegen(), state.func_id.func_qualname)
        passes = DefaultPassBuilder.define_nopython_pipeline(state)
        passes.add_pass_after(_Declare, NativeLowering)
        passes.finalize()
        return [passes]

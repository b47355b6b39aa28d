"""Builds the compiled backend: one Cython module over the C kernels of csrc/. All else stands in pyproject.toml.

Every csrc/isa_NAME.c is compiled apart with the flags of its instruction set, the rest for the baseline of the machine;
the set is chosen when the package runs. Without a compiler or Python.h nothing is compiled and the package runs on
NumPy. TINYCONV_NO_OPENMP=1 builds without OpenMP.
"""

from __future__ import annotations

import compileall
import os
import platform
import runpy
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, LinkError

CFLAGS = ["-std=gnu11", "-O3", "-g0", "-ffp-contract=fast", "-fvisibility=hidden"]
OPENMP = ["-fopenmp"]
X86_64, AARCH64 = ("x86_64", "AMD64"), ("aarch64", "arm64")
# file -> (machines it is compiled on, None for all; its flags)
ISA_FLAGS = {
    "isa_generic.c": (None, []),
    "isa_avx2.c": (X86_64, ["-mavx2", "-mfma"]),
    "isa_avx512.c": (X86_64, ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"]),
    "isa_neon.c": (AARCH64, ["-fno-schedule-insns"]),  # which would load too much ahead and spill sums
}

PYTHON_PROBE = "#include <Python.h>\n#include <math.h>\nint tc_probe(void) { return PY_MAJOR_VERSION; }\n"
OPENMP_PROBE = "#include <omp.h>\nint tc_probe(void) { return omp_get_max_threads(); }\n"

MISSING = """
tinyconv: the compiled backend is not built: {reason}.
tinyconv works without it, on NumPy, many times slower. To have it:
    sudo apt-get install python3-dev build-essential
    pip install --force-reinstall --no-deps --no-cache-dir tinyconv     (in a clone: -e . in place of tinyconv)
"""


class BuildTables(build_py):
    """Adds the parser's tables, made from the grammar: to the wheel, or to the source tree of an editable install."""

    def run(self):
        super().run()
        folder = Path("." if self.editable_mode else self.build_lib, "tinyconv", "lang")
        try:
            runpy.run_path("tinyconv/lang/maketables.py")["make_tables"](folder / "tables.py")
        except ImportError as error:
            print(f"tinyconv: no parser tables ({error}): the grammar is read at each start instead", file=sys.stderr)
        if self.editable_mode:
            # pip does this for wheels only; without it a start compiles every module where bytecode is not written.
            compileall.compile_dir("tinyconv", quiet=2)


class BuildKernels(build_ext):
    def build_extensions(self):
        reason = self.why_not()
        if reason:
            print(MISSING.format(reason=reason), file=sys.stderr)
            self.extensions = []
        super().build_extensions()

    def build_extension(self, ext):
        # From here on the machine is known to compile and link: an error is one of our code and fails the build.
        openmp = [] if os.environ.get("TINYCONV_NO_OPENMP") else OPENMP
        if openmp and not self.links(OPENMP_PROBE, openmp):
            print("tinyconv: no OpenMP with this compiler: the kernels will run on one thread", file=sys.stderr)
            openmp = []
        ext.extra_compile_args = CFLAGS + openmp
        ext.extra_link_args = list(openmp)
        flags = {s: CFLAGS + openmp for s in ext.sources if s.endswith(".c")} | isa_flags()
        self.mkpath(str(Path(self.build_temp, "csrc")))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = pool.map(lambda source: self.compile_one(source, ext, flags[source]), flags)
        ext.extra_objects = [o for made in objects for o in made]
        ext.sources = [self.cythonize(ext)]
        super().build_extension(ext)

    def compile_one(self, source, ext, flags):
        return self.compiler.compile([source], output_dir=self.build_temp, include_dirs=ext.include_dirs,
                                     extra_postargs=flags, depends=ext.depends)

    def cythonize(self, ext):
        """The generated C file, in the build folder: the source tree stays clean."""
        from Cython.Build import cythonize

        pyx = next(s for s in ext.sources if s.endswith(".pyx"))
        made = cythonize(
            Extension(ext.name, [pyx]),
            build_dir=self.build_temp,
            compiler_directives={"language_level": 3},
            force=True,
            quiet=True,
        )
        return made[0].sources[0]

    def why_not(self):
        """Why this machine cannot build the extension, or None."""
        if self.compiler.compiler_type != "unix":
            return "it needs GCC or Clang (the kernels use their vector types)"
        try:
            import Cython  # noqa: F401
        except ImportError:
            return "Cython is not installed"
        if self.links("int tc_probe(void) { return 0; }\n", []):
            return None if self.links(PYTHON_PROBE, []) else "the headers of Python (Python.h) are missing"
        return f"there is no working C compiler ({' '.join(self.compiler.compiler_so[:1])})"

    def links(self, text, flags):
        """Whether this C text compiles and links into a shared object."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(text)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, include_dirs=self.include_dirs, extra_postargs=flags
                )
                self.compiler.link_shared_object(objects, str(Path(folder, "probe.so")), extra_postargs=flags)
            except (CompileError, LinkError) as error:
                print(f"tinyconv: probe: {error}", file=sys.stderr)
                return False
        return True


def isa_sources():
    return sorted(glob("csrc/isa_*.c"))


def isa_flags():
    """{source: flags} of the instruction sets that this machine's compiler is for."""
    unknown = {os.path.basename(s) for s in isa_sources()} - set(ISA_FLAGS)
    if unknown:
        raise SystemExit(f"setup.py: no flags in ISA_FLAGS for {', '.join(sorted(unknown))}")
    known = {source: ISA_FLAGS[os.path.basename(source)] for source in isa_sources()}
    return {source: CFLAGS + flags for source, (machines, flags) in known.items()
            if machines is None or platform.machine() in machines}


def kernels():
    return Extension(
        "tinyconv.runtime._cpu",
        ["tinyconv/runtime/_cpu.pyx", *sorted(set(glob("csrc/*.c")) - set(isa_sources()))],
        include_dirs=["csrc"],
        depends=[*sorted(glob("csrc/*.h")), *isa_sources()],
    )


setup(
    packages=[*find_packages(include=["tinyconv", "tinyconv.*"]), "tinyconv.models"],
    ext_modules=[kernels()],
    cmdclass={"build_ext": BuildKernels, "build_py": BuildTables},
)

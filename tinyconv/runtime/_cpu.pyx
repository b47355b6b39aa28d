# cython: language_level=3, boundscheck=False, wraparound=False
"""The C kernels for Python: programs that run without the GIL, single kernels, and facts about the machine.

Addresses come as integers; tinyconv.runtime.cpu owns the arrays behind them.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

cdef extern from "tinyconv.h" nogil:
    const char *tc_isa_name()
    int tc_isa_count()
    const char *tc_isa_list(int i)
    int tc_isa_force(const char *name)
    int tc_has_openmp()
    int tc_cpu_count()
    double tc_least_work(double work)
    double tc_measure_fma(int threads, double seconds)
    double tc_measure_read(int threads, double seconds)
    int64_t tc_gemm_scratch(int64_t m, int64_t n, int64_t k, int threads)
    void tc_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                 float *c, int64_t ldc, void *scratch, int threads)
    ctypedef struct tc_conv_shape:
        int64_t n
    int64_t tc_conv_packed(const tc_conv_shape *s, int which)
    const char *tc_conv_algorithm(const tc_conv_shape *s, int which)
    int tc_conv_unpacked(const tc_conv_shape *s, int which)
    enum: TC_TERMS
    double tc_conv_terms(const tc_conv_shape *s, int which, double *terms)

cdef extern from "program.h" nogil:
    enum: TC_OPERANDS
    enum: TC_INTS
    enum: TC_FLOATS
    ctypedef struct tc_kernel:
        pass
    ctypedef struct tc_step:
        const tc_kernel *kernel
        int32_t operands
        int32_t *base
        int64_t *offset
        int64_t scratch
        int64_t *i
        double *f
    ctypedef struct tc_context:
        char *const *base
        char *scratch
        int threads
        float lr
        uint64_t seed
        uint64_t step
    const tc_kernel *tc_kernel_named(const char *name)
    int64_t tc_step_scratch(const tc_step *step, int threads)
    void tc_program_run(const tc_step *steps, int64_t first, int64_t last, const tc_context *run)

FORWARD, DATA_GRAD, WEIGHT_GRAD = 0, 1, 2
OPERANDS = TC_OPERANDS


cdef class Program:
    """Steps for C. Each is `(kernel name, [(base, byte offset), …], ints, floats)`; base -1: operand left out."""

    cdef tc_step *steps
    cdef char **addresses
    cdef readonly Py_ssize_t count
    cdef readonly int bases

    def __cinit__(self, steps):
        self.count = len(steps)
        self.steps = <tc_step *> calloc(max(self.count, 1), sizeof(tc_step))
        if self.steps == NULL:
            raise MemoryError()
        cdef tc_step *step
        cdef Py_ssize_t i, j
        for i, (name, operands, ints, floats) in enumerate(steps):
            step = &self.steps[i]
            step.kernel = tc_kernel_named(name.encode())
            if step.kernel == NULL:
                raise KeyError(f"there is no kernel {name}")
            if len(operands) > TC_OPERANDS or len(ints) > TC_INTS or len(floats) > TC_FLOATS:
                raise ValueError(f"too many operands or attributes for {name}")
            step.operands = len(operands)
            for j, (base, offset) in enumerate(operands):
                step.base[j], step.offset[j] = base, offset
                self.bases = max(self.bases, base + 1)
            for j, value in enumerate(ints):
                step.i[j] = value
            for j, value in enumerate(floats):
                step.f[j] = value
        self.addresses = <char **> calloc(max(self.bases, 1), sizeof(char *))
        if self.addresses == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.steps)
        free(self.addresses)

    def scratch(self, int threads):
        """Bytes of scratch memory that each step needs with that many threads."""
        return [tc_step_scratch(&self.steps[i], threads) for i in range(self.count)]

    def place_scratch(self, list offsets):
        """Where each step's begins, in bytes behind the address that `run` is given. Before: all at that address."""
        for i, offset in enumerate(offsets):
            self.steps[i].scratch = offset

    def run(self, Py_ssize_t first, Py_ssize_t last, list bases, uintptr_t scratch, int threads,
            float lr=0, uint64_t seed=0, uint64_t step=0):
        """Runs steps first to last (exclusive) on the memory at the addresses `bases`. One run at a time."""
        if not 0 <= first <= last <= self.count:
            raise IndexError(f"steps {first} to {last} of {self.count}")
        if len(bases) < self.bases:
            raise ValueError(f"{self.bases} base addresses are needed, {len(bases)} were given")
        cdef int j
        cdef tc_context how
        for j in range(self.bases):
            self.addresses[j] = <char *> <uintptr_t> bases[j]
        how.base, how.scratch, how.threads = self.addresses, <char *> scratch, threads
        how.lr, how.seed, how.step = lr, seed, step
        with nogil:
            tc_program_run(self.steps, first, last, &how)


def address(array):
    """Where the memory of a C-contiguous array begins. The caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef uintptr_t begin = <uintptr_t> view.buf
    PyBuffer_Release(&view)
    return begin


cdef tc_conv_shape *_shape(list ints, int64_t *room):
    cdef Py_ssize_t i
    for i, value in enumerate(ints):
        room[i] = value
    return <tc_conv_shape *> room


def conv_packed(list ints, int which):
    """Floats of the packed weights of one pass."""
    cdef int64_t room[TC_INTS]
    return tc_conv_packed(_shape(ints, room), which)


def conv_algorithm(list ints, int which):
    """The name of the algorithm for one pass: a function of shape and instruction set."""
    cdef int64_t room[TC_INTS]
    return tc_conv_algorithm(_shape(ints, room), which).decode()


def conv_unpacked(list ints, int which):
    """Whether weights that would be packed for one call alone are better read as they stand, by "unpacked"."""
    cdef int64_t room[TC_INTS]
    return bool(tc_conv_unpacked(_shape(ints, room), which))


def conv_terms(list ints, int which):
    """What the algorithm does in the terms of the choice's cost model, and the floating-point operations of a step:
    ([steps, inputs, outputs, weights], operations). For `tinyconv bench --calibrate`."""
    cdef int64_t room[TC_INTS]
    cdef double terms[TC_TERMS]
    cdef double work = tc_conv_terms(_shape(ints, room), which, terms)
    return [terms[i] for i in range(TC_TERMS)], work


def gemm(int64_t m, int64_t n, int64_t k, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t scratch, int threads):
    """c (m, n) = a (m, k) b (k, n), C-contiguous float32 at these addresses."""
    with nogil:
        tc_gemm(m, n, k, <float *> a, k, <float *> b, n, <float *> c, n, <void *> scratch, threads)


def gemm_scratch(int64_t m, int64_t n, int64_t k, int threads):
    """Bytes of scratch memory gemm needs."""
    return tc_gemm_scratch(m, n, k, threads)


def isa():
    """The instruction set in use."""
    return tc_isa_name().decode()


def isas():
    """Those this build has and this CPU runs, best first."""
    return [tc_isa_list(i).decode() for i in range(tc_isa_count())]


def force_isa(str name):
    """Chooses another; False if it is not available."""
    return bool(tc_isa_force(name.encode()))


def has_openmp():
    return bool(tc_has_openmp())


def cpu_count():
    """Processors this process may use: cpuset and cgroup quota, at least 1."""
    return tc_cpu_count()


def least_work(double work):
    """Sets the work below which a kernel stays on one thread (0: all use all threads); returns the value before."""
    return tc_least_work(work)


def measure_fma(int threads, double seconds):
    """GFLOP/s of fused multiply-adds on registers."""
    cdef double rate
    with nogil:
        rate = tc_measure_fma(threads, seconds)
    return rate


def measure_read(int threads, double seconds):
    """GB/s of reading memory."""
    cdef double rate
    with nogil:
        rate = tc_measure_read(threads, seconds)
    return rate

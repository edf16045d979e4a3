// The doors of the shared library: plain C, so that one file serves every version of Python and torch.

#include <atomic>
#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "job.h"

using followspot::Block;
using followspot::Job;
using followspot::Path;
using followspot::WIDE;

extern "C" {
extern const Path followspot_portable;
#if defined(FOLLOWSPOT_AVX2)
extern const Path followspot_avx2;
#endif
#if defined(FOLLOWSPOT_AVX512)
extern const Path followspot_avx512;
#endif
#if defined(FOLLOWSPOT_AVX512VNNI)
extern const Path followspot_avx512vnni;
#endif
}

namespace {

// The path of a number as in library.py's PATHS; null where this library lacks it or this processor cannot run it.
const Path* path_of(int number) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    [[maybe_unused]] const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    switch (number) {
        case 0:
            return &followspot_portable;
#if defined(FOLLOWSPOT_AVX2)
        case 1:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &followspot_avx2 : nullptr;
#endif
#if defined(FOLLOWSPOT_AVX512)
        case 2:
            return avx512 ? &followspot_avx512 : nullptr;
#endif
#if defined(FOLLOWSPOT_AVX512VNNI)
        case 3:
            return avx512 && __builtin_cpu_supports("avx512vnni") ? &followspot_avx512vnni : nullptr;
#endif
        default:
            return nullptr;
    }
}

// Memory that begins on a cache line; null where there is none.
struct Memory {
    char* bytes;
    explicit Memory(int64_t size) : bytes((char*)::operator new(size, std::align_val_t(64), std::nothrow)) {}
    ~Memory() { ::operator delete(bytes, std::align_val_t(64)); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
};

// Runs work on this thread and up to `threads - 1` more. Threads live for one call: nothing is left that a fork could break, and where the
// system gives fewer, those that exist do it all.
template <class Work>
void on_threads(int threads, const Work& work) {
    std::vector<std::thread> others;
    try {
        for (int i = 1; i < threads; i++) others.emplace_back(work);
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    work();
    for (std::thread& other : others) other.join();
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// Changes whenever a source does, so that a library of other sources is not taken.
const char* followspot_sources() { return FOLLOWSPOT_SOURCES; }

int32_t followspot_usable(int32_t path) { return path_of(path) != nullptr; }

// Packs a frame of (height, width, channels) for a path, which must be usable; returns the largest distance of a key from its packed form.
float followspot_pack(int32_t path, const float* cells, const float* scale, int32_t height, int32_t width, int32_t channels,
                      int32_t stride, char* keys, int64_t row_bytes, int32_t threads) {
    const Path& code = *path_of(path);
    std::atomic<int32_t> next{0};
    std::atomic<float> error{0};
    on_threads(threads < height ? threads : height, [&] {
        for (int y = next++; y < height; y = next++) {
            const int64_t cell = (int64_t)y * width;
            const float lost = code.pack_row(cells + cell * channels, scale ? scale + cell : nullptr, width, channels, stride, keys + y * row_bytes);
            for (float before = error; lost > before && !error.compare_exchange_weak(before, lost);) {
            }
        }
    });
    return error;
}

// Fills job.labels and job.entropy. Returns how many queries were searched twice, or -1 where memory ran out.
int32_t followspot_match(int32_t path, const Job* job) {
    const Path& code = *path_of(path);
    const int tiles = (job->width + WIDE - 1) / WIDE;
    // Four tasks a thread, so that none waits long for the last; taller blocks copy fewer rows twice.
    const int wanted = job->threads == 1 ? 1 : (4 * job->threads + tiles - 1) / tiles;
    const int rows = (job->height + wanted - 1) / wanted;
    const int bands = (job->height + rows - 1) / rows;
    std::atomic<int32_t> next{0}, again{0};
    std::atomic<bool> short_of_memory{false};
    on_threads(job->threads < tiles * bands ? job->threads : tiles * bands, [&] {
        const Memory memory(code.scratch(*job, rows));
        if (!memory.bytes) {
            short_of_memory = true;
            return;
        }
        for (int task = next++; task < tiles * bands; task = next++) {
            const int top = task / tiles * rows;
            const Block block = {task % tiles * WIDE, top, top + rows < job->height ? top + rows : job->height};
            again += code.match(*job, block, memory.bytes);
        }
    });
    return short_of_memory ? -1 : again.load();
}
}
#pragma GCC visibility pop

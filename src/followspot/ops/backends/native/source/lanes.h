// Vectors as wide as the flags of this compilation allow, written with the vector types that GCC and Clang share. What differs between
// processors is only how many lanes there are, how comparisons become bits, and whether bfloat16 products exist.
//
// This header is compiled once for each path. All of it has internal linkage: were one copy shared, the linker might give an old processor
// the copy with new instructions. For the same reason no header of the standard library with functions in it is included.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 2;
#elif defined(__AVX2__)
constexpr int LANES = 8, ROWS = 1;
#elif defined(__aarch64__)
constexpr int LANES = 4, ROWS = 2;
#else
constexpr int LANES = 4, ROWS = 1;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));

#if defined(__AVX512VNNI__)
// Two 16-bit numbers of neighbouring channels, the first in the low half, and exact sums of products of such.
typedef uint32_t Key;
typedef int32_t Score;
typedef Integers Scores;
constexpr int CHANNELS_IN_KEY = 2;
constexpr Score LOWEST = INT32_MIN;
#else
typedef float Key;
typedef float Score;
typedef Vector Scores;
constexpr int CHANNELS_IN_KEY = 1;
constexpr Score LOWEST = -__builtin_inff();
#endif
constexpr bool ROUNDED = CHANNELS_IN_KEY > 1;

INLINE Vector load(const float* from) {
    Vector vector;
    __builtin_memcpy(&vector, from, sizeof vector);
    return vector;
}

INLINE Scores load_scores(const Score* from) {
    Scores vector;
    __builtin_memcpy(&vector, from, sizeof vector);
    return vector;
}

// Bit i is set where lane i is above the bound; never for NaN.
INLINE uint32_t above(Scores scores, Score bound) {
#if defined(__AVX512VNNI__)
    return _mm512_cmpgt_epi32_mask((__m512i)scores, _mm512_set1_epi32(bound));
#elif defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)scores, _mm512_set1_ps(bound), _CMP_GT_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)scores, _mm256_set1_ps(bound), _CMP_GT_OQ));
#elif defined(__SSE2__)
    return _mm_movemask_ps(_mm_cmpgt_ps((__m128)scores, _mm_set1_ps(bound)));
#elif defined(__aarch64__)
    const uint32x4_t bits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32((float32x4_t)scores, vdupq_n_f32(bound)), bits));
#else
    uint32_t bits = 0;
    for (int lane = 0; lane < LANES; lane++) bits |= (uint32_t)(scores[lane] > bound) << lane;
    return bits;
#endif
}

// The vector with one lane replaced.
INLINE Scores with(Scores scores, int lane, Score score) {
    Integers places;
    for (int i = 0; i < LANES; i++) places[i] = i;
    return places == lane ? Scores{} + score : scores;
}

// Least of the lanes, and their sum in a fixed order.
INLINE Score least_of(Scores scores) {
#if defined(__AVX512VNNI__)
    return _mm512_reduce_min_epi32((__m512i)scores);
#elif defined(__AVX512F__)
    return _mm512_reduce_min_ps((__m512)scores);
#else
    Score least = scores[0];
    for (int lane = 1; lane < LANES; lane++) least = scores[lane] < least ? scores[lane] : least;
    return least;
#endif
}

INLINE float sum_of(Vector vector) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)vector);
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += vector[lane];
    return sum;
#endif
}

#if defined(__AVX512VNNI__)
// Unit vectors fit: no channel is above 1, and by Cauchy-Schwarz no sum of products is above FULL * FULL < 2^30.
constexpr float FULL = 32767;

INLINE Scores add_products(Scores sums, const Key* keys, Key query) {
    // The query comes last: that operand may be broadcast from memory within the instruction.
    return (Scores)_mm512_dpwssd_epi32((__m512i)sums, _mm512_load_si512(keys), _mm512_set1_epi32(query));
}

// One channel as a 16-bit number; adds to `lost` the square of what rounding takes away.
INLINE Key rounded(float channel, float& lost) {
    const float scaled = channel * FULL, whole = __builtin_rintf(scaled > FULL ? FULL : scaled < -FULL ? -FULL : scaled);
    lost += (scaled - whole) * (scaled - whole);
    return (uint16_t)(int16_t)whole;
}
#else
INLINE Scores add_products(Scores sums, const Key* keys, Key query) { return sums + load(keys) * query; }
#endif

// Inner product in float32 of whole vectors of channels, then of the rest.
INLINE float dot(const float* a, const float* b, int length) {
    Vector even = {}, odd = {};
    int i = 0;
    for (; i + 2 * LANES <= length; i += 2 * LANES) {
        even += load(a + i) * load(b + i);
        odd += load(a + i + LANES) * load(b + i + LANES);
    }
    for (; i + LANES <= length; i += LANES) even += load(a + i) * load(b + i);
    float sum = sum_of(even + odd);
    for (; i < length; i++) sum += a[i] * b[i];
    return sum;
}

}  // namespace

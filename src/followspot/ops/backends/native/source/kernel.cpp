// Label propagation of one block of queries, compiled once for each path (compile.py gives FOLLOWSPOT_PATH and the flags).
//
// Keys are packed by rows, channels outside and columns inside, so that a vector holds one channel of neighbouring keys and a query's
// channel is broadcast against it. For every key row, the columns that a tile of queries can reach are copied to a slab that stays in the
// first cache; all rows of queries within reach then run over that slab, WIDE queries and up to two vectors of keys at a time.
//
// With keys of 16 bits the scores only choose candidates. Their exact scores are computed in float32, and a bound on the rounding proves that
// no better key was passed over: |q.k - q'.k'| <= |q - q'| |k| + |q'| |k - k'| (Cauchy-Schwarz). Queries without that proof are searched
// again in float32.

#include "candidates.h"
#include "job.h"
#include "lanes.h"

namespace {

using followspot::Block;
using followspot::Frame;
using followspot::Job;
using followspot::WIDE;

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int most(int a, int b) { return a > b ? a : b; }

int steps_of(const Job& job) { return (job.channels + CHANNELS_IN_KEY - 1) / CHANNELS_IN_KEY; }

// Memory of one block, cut from one piece.
struct Scratch {
    Key* slab;       // (steps, up to 2 * LANES)
    Key* queries;    // (rows, steps, WIDE)
    float* rounded;  // (rows, WIDE): distance of each query from its packed form
    Candidates found;
    int64_t bytes = 0;

    // With null for memory only the bytes are counted.
    Scratch(const Job& job, int rows, char* memory) {
        const int64_t steps = steps_of(job), count = (int64_t)rows * WIDE;
        found.size = job.candidates;
        cut(slab, steps * 2 * LANES, memory);
        cut(queries, count * steps, memory);
        cut(rounded, count, memory);
        cut(found.bar, count, memory);
        cut(found.scores, count * job.candidates, memory);
        cut(found.ids, count * job.candidates, memory);
    }

    template <class Type>
    void cut(Type*& part, int64_t count, char* memory) {
        part = memory ? (Type*)(memory + bytes) : nullptr;
        bytes += (count * (int64_t)sizeof(Type) + 63) / 64 * 64;
    }
};

int64_t scratch_bytes(const Job& job, int rows) { return Scratch(job, rows, nullptr).bytes; }

// Packs the channels of one cell, `apart` keys from each other; returns what rounding takes away.
INLINE float pack_cell(const float* cell, float scale, int channels, int64_t apart, Key* keys) {
#if defined(__AVX512VNNI__)
    float lost = 0;
    for (int c = 0; c + 1 < channels; c += 2) keys[c / 2 * apart] = rounded(cell[c] * scale, lost) | rounded(cell[c + 1] * scale, lost) << 16;
    if (channels % 2) keys[channels / 2 * apart] = rounded(cell[channels - 1] * scale, lost);
    return __builtin_sqrtf(lost) / FULL;
#else
    for (int c = 0; c < channels; c++) keys[c * apart] = cell[c] * scale;
    return 0;
#endif
}

float pack_row(const float* cells, const float* scale, int width, int channels, int stride, void* keys) {
    float error = 0;
    for (int x = 0; x < width; x++) {
        const float lost = pack_cell(cells + (int64_t)x * channels, scale ? scale[x] : 1, channels, stride, (Key*)keys + x);
        error = lost > error ? lost : error;
    }
    const int steps = (channels + CHANNELS_IN_KEY - 1) / CHANNELS_IN_KEY;
    for (int c = 0; c < steps; c++)
        for (int x = width; x < stride; x++) ((Key*)keys)[(int64_t)c * stride + x] = 0;
    return error;
}

void pack_queries(const Job& job, const Block& block, const Scratch& own) {
    const int steps = steps_of(job);
    for (int y = block.top; y < block.bottom; y++)
        for (int i = 0; i < WIDE; i++) {
            const int at = (y - block.top) * WIDE + i;
            Key* keys = own.queries + (int64_t)(y - block.top) * steps * WIDE + i;
            own.rounded[at] = 0;
            if (block.column + i < job.width) {
                const float* cell = job.query + ((int64_t)y * job.width + block.column + i) * job.channels;
                own.rounded[at] = pack_cell(cell, 1, job.channels, WIDE, keys);
            } else {
                for (int c = 0; c < steps; c++) keys[c * WIDE] = 0;
            }
        }
}

// Scores of ROWS x WIDE queries with the keys of a slab.
template <int VECTORS>
INLINE void score(const Key* const* rows, const Key* slab, int steps, Scores (&sums)[ROWS * WIDE][VECTORS]) {
    for (int i = 0; i < ROWS * WIDE; i++)
        for (int v = 0; v < VECTORS; v++) sums[i][v] = Scores{};
    for (int c = 0; c < steps; c++) {
        const Key* keys = slab + (int64_t)c * VECTORS * LANES;
#pragma GCC unroll 2
        for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 6
            for (int i = 0; i < WIDE; i++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++)
                    sums[row * WIDE + i][v] = add_products(sums[row * WIDE + i][v], keys + v * LANES, rows[row][c * WIDE + i]);
    }
}

// A piece of a key row: columns [first, last], from which the slab's lane 0 may be somewhat to the left.
struct Piece {
    int frame, row, first, last, lane0;
};

// Lanes of the piece that a query in column x may use.
INLINE uint32_t lanes_within(const Piece& piece, int x, int reach) {
    const int from = most(x - reach, piece.first), to = least(x + reach, piece.last);
    return from > to ? 0 : (uint32_t)(((2ull << (to - from)) - 1) << (from - piece.lane0));
}

template <int VECTORS>
void match_piece(const Job& job, const Block& block, Scratch& own, Piece piece, int rows_reached) {
    const Frame& frame = job.frames[piece.frame];
    const int steps = steps_of(job), wide = VECTORS * LANES;
    // The last columns are read from further left rather than beyond the row.
    piece.lane0 = least(piece.first, job.stride - wide);
    const Key* keys = (const Key*)frame.keys + (int64_t)piece.row * steps * job.stride + piece.lane0;
    for (int c = 0; c < steps; c++) __builtin_memcpy(own.slab + c * wide, keys + (int64_t)c * job.stride, wide * sizeof(Key));
    const int32_t id = (piece.frame * job.height + piece.row) * job.width + piece.lane0;
    const int count = least(WIDE, job.width - block.column);
    const int bottom = least(block.bottom, piece.row + rows_reached + 1);
    for (int y = most(block.top, piece.row - rows_reached); y < bottom; y += ROWS) {
        uint32_t valid[ROWS * WIDE], any = 0;
        const Key* rows[ROWS];
        for (int row = 0; row < ROWS; row++) {
            const int distance = y + row < piece.row ? piece.row - y - row : y + row - piece.row;
            const bool here = y + row < bottom;
            rows[row] = own.queries + (int64_t)(least(y + row, block.bottom - 1) - block.top) * steps * WIDE;
            for (int i = 0; i < WIDE; i++) {
                valid[row * WIDE + i] = here && i < count ? lanes_within(piece, block.column + i, frame.reach[distance]) : 0;
                any |= valid[row * WIDE + i];
            }
        }
        if (!any) continue;
        Scores sums[ROWS * WIDE][VECTORS];
        score<VECTORS>(rows, own.slab, steps, sums);
        for (int i = 0; i < ROWS * WIDE; i++)
            if (valid[i]) own.found.offer<VECTORS>((y - block.top) * WIDE + i, sums[i], valid[i], id);
    }
}

// Brings the next key row nearer while this one is computed: its lines lie too far apart for the processor to guess.
INLINE void fetch(const Job& job, const Frame& frame, int row, int first, int last) {
    const int steps = steps_of(job), line = 64 / (int)sizeof(Key);
    const Key* keys = (const Key*)frame.keys + (int64_t)row * steps * job.stride;
    for (int c = 0; c < steps; c++)
        for (int x = first / line * line; x <= last; x += line) __builtin_prefetch(keys + (int64_t)c * job.stride + x, 0, 2);
}

void match_frame(const Job& job, const Block& block, Scratch& own, int index) {
    const Frame& frame = job.frames[index];
    int rows = 0;
    while (rows + 1 < job.height && frame.reach[rows + 1] >= 0) rows++;
    const int bottom = least(job.height, block.bottom + rows);
    for (int row = most(0, block.top - rows); row < bottom; row++) {
        // Rows above and below the block are reached by its outermost rows at best.
        const int distance = most(0, most(block.top - row, row - block.bottom + 1));
        const int first = most(0, block.column - frame.reach[distance]);
        const int last = least(job.width - 1, block.column + WIDE - 1 + frame.reach[distance]);
        if (row + 1 < bottom) fetch(job, frame, row + 1, first, last);
        for (int x = first; x <= last; x += 2 * LANES) {
            const Piece piece = {index, row, x, least(x + 2 * LANES - 1, last), 0};
            if (piece.last - piece.first < LANES)
                match_piece<1>(job, block, own, piece, rows);
            else
                match_piece<2>(job, block, own, piece, rows);
        }
    }
}

INLINE float exact(const Job& job, const float* query, int32_t id) {
    const int cells = job.height * job.width, cell = id % cells;
    const Frame& frame = job.frames[id / cells];
    const float score = dot(query, frame.cells + (int64_t)cell * job.channels, job.channels);
    return frame.scale ? score * frame.scale[cell] : score;
}

// How far rounding can have moved the score of any key with this query. The last term is for the float32 sums it is compared with.
float doubt_of(const Job& job, float rounded) {
    float error = 0;
    for (int m = 0; m < job.frame_count; m++) error = job.frames[m].error > error ? job.frames[m].error : error;
    return rounded + (1 + rounded) * error + (job.channels / (2 * LANES) + 8) * 6e-8f;
}

// A rounded score as one of unit vectors.
INLINE float unrounded(Score score) {
#if defined(__AVX512VNNI__)
    return (float)score / (FULL * FULL);
#else
    return score;
#endif
}

// Starts to load the keys of a query's candidates: they lie anywhere in the remembered frames.
INLINE void fetch_candidates(const Job& job, const int32_t* ids) {
    const int cells = job.height * job.width;
    for (int i = 0; i < job.candidates; i++) {
        if (ids[i] < 0) continue;
        const float* cell = job.frames[ids[i] / cells].cells + (int64_t)(ids[i] % cells) * job.channels;
        for (int c = 0; c < job.channels; c += 16) __builtin_prefetch(cell + c, 0, 2);
    }
}

// The best of the candidates by their exact scores. False where a key that is not among them might be better.
bool rank(const Job& job, const Candidates& found, int at, const float* query, float rounded, Best& best) {
    const float doubt = ROUNDED ? doubt_of(job, rounded) : 0;
    const Score* scores = found.scores + (int64_t)at * found.size;
    const int32_t* ids = found.ids + (int64_t)at * found.size;
    for (int i = 0; i < found.size; i++) {
        const bool hopeless = ROUNDED && best.count == best.limit && unrounded(scores[i]) + doubt < best.scores[best.limit - 1];
        if (ids[i] >= 0 && !hopeless) best.add(exact(job, query, ids[i]), ids[i]);
    }
    return !ROUNDED || found.bar[at] == LOWEST || best.scores[best.count - 1] >= unrounded(found.bar[at]) + doubt;
}

// Searches again for queries of one row, all keys in float32; every key is read once for all of them.
void search_all(const Job& job, int y, const int* columns, int count, Best* const* bests) {
    for (int i = 0; i < count; i++) bests[i]->count = 0;
    for (int m = 0; m < job.frame_count; m++)
        for (int row = 0; row < job.height; row++) {
            const int reach = job.frames[m].reach[row < y ? y - row : row - y];
            if (reach < 0) continue;
            const int last = least(job.width - 1, columns[count - 1] + reach);
            const int32_t id = (m * job.height + row) * job.width;
            for (int u = most(0, columns[0] - reach); u <= last; u++)
                for (int i = 0; i < count; i++)
                    if (u >= columns[i] - reach && u <= columns[i] + reach)
                        bests[i]->add(exact(job, job.query + ((int64_t)y * job.width + columns[i]) * job.channels, id + u), id + u);
        }
}

// Labels and entropy of one query from its best keys.
void write(const Job& job, int64_t at, const Best& best) {
    float weights[followspot::MOST];
    double sum = 0, spread = 0;
    for (int i = 0; i < best.count; i++) {
        const float exponent = (best.scores[i] - best.scores[0]) / job.temperature;
        weights[i] = __builtin_expf(exponent);
        sum += weights[i];
        spread += weights[i] > 0 ? (double)weights[i] * exponent : 0;
    }
    const double doubt = best.count > 1 ? (__builtin_log(sum) - spread / sum) / __builtin_log(best.count) : 0;
    job.entropy[at] = doubt < 0 ? 0 : doubt > 1 ? 1 : (float)doubt;
    float* labels = job.labels + at * job.label_count;
    for (int l = 0; l < job.label_count; l++) labels[l] = 0;
    const int cells = job.height * job.width;
    for (int i = 0; i < best.count; i++) {
        const float weight = (float)(weights[i] / sum);
        const float* from = job.frames[best.ids[i] / cells].labels + (int64_t)(best.ids[i] % cells) * job.label_count;
        for (int l = 0; l < job.label_count; l++) labels[l] += weight * from[l];
    }
}

// From candidates to labels, for one row of a block; returns how many queries had to be searched again.
int32_t finish_row(const Job& job, const Block& block, const Scratch& own, int y) {
    const int count = least(WIDE, job.width - block.column), first = (y - block.top) * WIDE;
    Best best[WIDE];
    Best* unsure[WIDE];
    int columns[WIDE], again = 0;
    for (int i = 0; i < count; i++) fetch_candidates(job, own.found.ids + (int64_t)(first + i) * own.found.size);
    for (int i = 0; i < count; i++) {
        const int x = block.column + i;
        best[i].limit = job.top_k;
        if (rank(job, own.found, first + i, job.query + ((int64_t)y * job.width + x) * job.channels, own.rounded[first + i], best[i])) continue;
        unsure[again] = &best[i];
        columns[again++] = x;
    }
    if (again) search_all(job, y, columns, again, unsure);
    for (int i = 0; i < count; i++) write(job, (int64_t)y * job.width + block.column + i, best[i]);
    return again;
}

int32_t match(const Job& job, const Block& block, char* memory) {
    Scratch own(job, block.bottom - block.top, memory);
    pack_queries(job, block, own);
    own.found.clear((block.bottom - block.top) * WIDE);
    for (int m = 0; m < job.frame_count; m++) match_frame(job, block, own, m);
    int32_t again = 0;
    for (int y = block.top; y < block.bottom; y++) again += finish_row(job, block, own, y);
    return again;
}

}  // namespace

extern "C" const followspot::Path FOLLOWSPOT_PATH = {scratch_bytes, match, pack_row};

// The best keys of a query. While scores stream by, a list of candidates is kept in no order, with the score that the next one has to
// beat; then the best few are ordered by their exact scores.
#pragma once

#include "job.h"
#include "lanes.h"

namespace {

// Lists of all queries of a block. A key's id is (frame * height + row) * width + column.
struct Candidates {
    int size;       // of each list, whole GROUPs
    Score* bar;     // (queries): the least score of each list
    Score* scores;  // (queries, size)
    int32_t* ids;

    void clear(int queries) {
        for (int i = 0; i < queries; i++) bar[i] = LOWEST;
        for (int i = 0; i < queries * size; i++) scores[i] = LOWEST, ids[i] = -1;
    }

    // Replaces the least of a list: the first lane that is not above the bar.
    INLINE void insert(int query, Score score, int32_t id) {
        Score* list = scores + (int64_t)query * size;
        Scores least = load_scores(list);
        int place = -1;
        for (int i = 0; i < size; i += LANES) {
            Scores part = load_scores(list + i);
            const uint32_t low = ~above(part, bar[query]) & ((1u << LANES) - 1);
            if (place < 0 && low) {
                const int lane = __builtin_ctz(low);
                place = i + lane;
                part = with(part, lane, score);
                __builtin_memcpy(list + i, &part, sizeof part);
            }
            least = i == 0 ? part : part < least ? part : least;
        }
        ids[(int64_t)query * size + place] = id;
        bar[query] = least_of(least);
    }

    // Offers keys `first`, `first + 1`, ... with the scores of one or two vectors; bits of `valid` say which exist.
    template <int VECTORS>
    INLINE void offer(int query, const Scores* sums, uint32_t valid, int32_t first) {
        uint32_t better = above(sums[0], bar[query]);
        if (VECTORS == 2) better |= above(sums[VECTORS - 1], bar[query]) << LANES;
        better &= valid;
        if (__builtin_expect(better == 0, 1)) return;
        Score stored[VECTORS * LANES];
        __builtin_memcpy(stored, sums, sizeof stored);
        for (; better; better &= better - 1) {
            const int lane = __builtin_ctz(better);
            if (stored[lane] > bar[query]) insert(query, stored[lane], first + lane);
        }
    }
};

// The best keys in order, best first; of equal scores the earlier stays.
struct Best {
    int limit = 0, count = 0;
    float scores[followspot::MOST];
    int32_t ids[followspot::MOST];

    INLINE void add(float score, int32_t id) {
        if (count == limit && !(score > scores[count - 1])) return;
        int place = count < limit ? count++ : count - 1;
        for (; place > 0 && scores[place - 1] < score; place--) scores[place] = scores[place - 1], ids[place] = ids[place - 1];
        scores[place] = score;
        ids[place] = id;
    }
};

}  // namespace

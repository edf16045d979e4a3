// What Python hands over, and what every code path offers. The layouts of Frame and Job are mirrored in library.py.
#pragma once

#include <cstdint>

namespace followspot {

// Width of a query tile. Six queries times two vectors of keys are the sums that fit into 16 registers; two rows of them fit into 32.
constexpr int WIDE = 6;
// Longest list of best keys that is kept for a query; library.py refuses longer ones.
constexpr int MOST = 64;
// Candidates of a query come in whole groups of these, so that lists can be searched by vectors.
constexpr int GROUP = 16;

// One remembered frame of height x width cells.
struct Frame {
    const void* keys;      // packed by the same path, see pack_row
    const float* cells;    // (height, width, channels)
    const float* scale;    // (height, width): what scores are multiplied with; null means 1
    const float* labels;   // (height * width, label_count)
    const int32_t* reach;  // (height): columns to either side that are searched so many rows away; -1 is none
    float error;           // no packed key is farther than this from the key itself
};

// One query frame against all remembered ones.
struct Job {
    const float* query;  // (height, width, channels)
    const Frame* frames;
    float* labels;   // out: (height * width, label_count)
    float* entropy;  // out: (height * width)
    int32_t frame_count, height, width, channels;
    int32_t stride;  // columns of a packed row
    int32_t label_count, top_k, candidates, threads;
    float temperature;
};

// Cells [column, column + WIDE) of rows [top, bottom): what one thread does at a time.
struct Block {
    int column, top, bottom;
};

// One code path: the same source, compiled for one kind of processor.
struct Path {
    // Bytes of memory that match needs for blocks of so many rows.
    int64_t (*scratch)(const Job&, int rows);
    // Fills the outputs of a block; returns how many queries had to be searched again in full precision.
    int32_t (*match)(const Job&, const Block&, char* scratch);
    // Packs one row of keys; returns the largest distance between a key and its packed form.
    float (*pack_row)(const float* cells, const float* scale, int width, int channels, int stride, void* keys);
};

}  // namespace followspot

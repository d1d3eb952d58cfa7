// Attention: what each query sees of all keys, softmax(q k^T scale) v, without keeping the scores.
//
// One head of one sequence at a time; its queries in chunks, its keys in blocks whose scores stay in the cache. Sums
// are scaled down as larger scores turn up (Rabe and Staats, "Self-attention Does Not Need O(n^2) Memory", 2021).
#pragma once

#include "lanes.h"

namespace {

constexpr int64_t KEYS = 512, QUERIES = 256, FEWEST = 64;  // in a block, in a chunk

struct Strides { int64_t sequence, head, token; };  // in numbers; those of a token lie side by side

struct Heads {
    int64_t sequences, heads, queries, keys, width, threads;
    Strides query, key, value, out;
    float scale;
};

// Queries of a chunk: fewer where threads would have nothing to do, though each chunk lays out the keys anew. No bit of
// a query depends on the others.
INLINE int64_t chunk_of(const Heads &plan) {
    int64_t chunk = QUERIES, heads = plan.sequences * plan.heads;
    while (chunk > FEWEST && heads * (up(plan.queries, chunk) / chunk) < 2 * plan.threads) chunk /= 2;
    return chunk;
}

// Memory of a thread. Words, or floats, row after row.
struct Space {
    int32_t *queries;  // (queries, words)
    int32_t *rows;     // (keys, words), keys as they are
    int32_t *keys;     // (words, keys)
    int32_t *values;   // (keys / PER_WORD, width)
    int32_t *weights;  // (ROWS, KEYS) of softmax
    float *scores;     // (ROWS, KEYS)
    float *sums;       // (queries, width) of values, with their weights
    float *tops;       // (queries,) largest score so far
    float *totals;     // (queries,) of weights
};

// How many words each part of a thread's memory has, and where they lie in it.
template <class Kind> struct Sizes {
    int64_t each[9], all = 0;

    explicit Sizes(const Heads &plan) {
        int64_t keys = up(least(plan.keys, KEYS), LANES), queries = up(least(plan.queries, chunk_of(plan)), ROWS);
        int64_t width = up(plan.width, LANES), words = up(plan.width, Kind::PER_WORD) / Kind::PER_WORD;
        int64_t sizes[] = {queries * words, keys * up(words, LANES), up(words, LANES) * keys, keys * width,
                           ROWS * KEYS, ROWS * KEYS, queries * width, queries, queries};
        for (int i = 0; i < 9; i++) all += each[i] = up(sizes[i], LANES);
    }

    Space at(int32_t *memory) const {
        int32_t *parts[9];
        for (int i = 0; i < 9; memory += each[i++]) parts[i] = memory;
        return {parts[0], parts[1], parts[2], parts[3], parts[4],
                (float *)parts[5], (float *)parts[6], (float *)parts[7], (float *)parts[8]};
    }
};

// out (ROWS, width) = scale of its row, or 0, times out, + a (ROWS, count) times b (count, width)
template <class Kind>
INLINE void multiply(const int32_t *a, int64_t stride, int64_t count, const int32_t *b, int64_t width, float *out,
                     int64_t out_stride, const float *scale) {
    by_columns(width, [&]<int columns>(int64_t first) INLINE_LAMBDA {
        Floats sums[ROWS][columns];
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < columns; c++)
                sums[r][c] = scale ? load<Floats>(out + r * out_stride + first + c * LANES) * scale[r] : Floats{};
        product<Kind>(sums, a, stride, count, b + first, width);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < columns; c++) store(out + r * out_stride + first + c * LANES, sums[r][c]);
    });
}

// Adds what ROWS queries from number `query` see of a block of keys, whose scores times `scale` are powers of two.
template <class Kind>
void see(const Space &space, int64_t query, int64_t words, int64_t keys, int64_t width, float scale, bool first) {
    int64_t padded = up(keys, LANES);
    float *sums = space.sums + query * width, *tops = space.tops + query, *totals = space.totals + query, keep[ROWS];
    multiply<Kind>(space.queries + query * words, words, words, space.keys, padded, space.scores, KEYS, nullptr);
    for (int r = 0; r < ROWS; r++) {
        float *row = space.scores + r * KEYS;
        for (int64_t i = keys; i < padded; i++) row[i] = -3e38f;
        Floats high = load<Floats>(row);
        for (int64_t i = LANES; i < padded; i += LANES) high = larger(high, load<Floats>(row + i));
        float top = maximum(high) * scale;
        if (!first && tops[r] > top) top = tops[r];
        keep[r] = first ? 0 : power_of_two(larger(all(-126), all(tops[r] - top)))[0];
        Floats total = {};
        for (int64_t i = 0; i < padded; i += LANES) {
            Floats weight = power_of_two(larger(all(-126), load<Floats>(row + i) * scale - top));
            Kind::put((typename Kind::Number *)(space.weights + r * KEYS) + i, weight);
            total += weight;
        }
        tops[r] = top;
        totals[r] = sum(total) + (first ? 0 : totals[r] * keep[r]);
    }
    multiply<Kind>(space.weights, KEYS, up(keys, Kind::PER_WORD) / Kind::PER_WORD, space.values, width, sums, width,
                   first ? nullptr : keep);
}

// A row of numbers as words, the last one filled up with 0.
template <class Number> INLINE void as_words(int32_t *to, const Number *from, int64_t width, int64_t words) {
    to[words - 1] = 0;
    memcpy(to, from, width * sizeof(Number));
}

// Lays out a block of keys and their values.
template <class Kind, class Number = typename Kind::Number>
void arrange(const Space &space, const Heads &plan, const Number *key, const Number *value, int64_t keys) {
    constexpr int PER_WORD = Kind::PER_WORD;
    int64_t words = up(plan.width, PER_WORD) / PER_WORD, stride = up(words, LANES), padded = up(keys, LANES);
    for (int64_t n = 0; n < keys; n++) as_words(space.rows + n * stride, key + n * plan.key.token, plan.width, words);
    for (int64_t n = 0; n < padded; n += LANES)
        for (int64_t first = 0; first < words; first += LANES) {
            Words square[LANES];
            for (int i = 0; i < LANES; i++) square[i] = load<Words>(space.rows + (n + i) * stride + first);
            transpose(square);
            for (int i = 0; i < LANES; i++) store(space.keys + (first + i) * padded + n, square[i]);
        }
    int64_t width = up(plan.width, LANES);
    for (int64_t n = 0; n < keys; n += PER_WORD) {
        Number *to = (Number *)(space.values + n / PER_WORD * width);
        for (int64_t i = 0; i < PER_WORD; i++) {
            bool there = n + i < keys;
            const Number *from = value + (there ? n + i : n) * plan.value.token;
            for (int64_t d = 0; d < plan.width; d++) to[d * PER_WORD + i] = there ? from[d] : 0;
        }
    }
}

// The pieces that can be worked on at the same time.
INLINE int64_t pieces(const Heads &plan) {
    int64_t chunk = chunk_of(plan);
    return plan.sequences * plan.heads * (up(plan.queries, chunk) / chunk);
}

template <class Kind, class Number = typename Kind::Number>
void attend(const Heads &plan, const Number *query, const Number *key, const Number *value, Number *out,
            int64_t item, const Space &space) {
    int64_t chunk = chunk_of(plan), chunks = up(plan.queries, chunk) / chunk, start = item % chunks * chunk;
    int64_t head = item / chunks % plan.heads, sequence = item / chunks / plan.heads;
    auto at = [&](const Strides &strides, int64_t token) {
        return sequence * strides.sequence + head * strides.head + token * strides.token;
    };
    query += at(plan.query, start), out += at(plan.out, start), key += at(plan.key, 0), value += at(plan.value, 0);
    int64_t words = up(plan.width, Kind::PER_WORD) / Kind::PER_WORD, width = up(plan.width, LANES);
    int64_t queries = least(plan.queries - start, chunk);
    for (int64_t r = 0; r < queries; r++)
        as_words(space.queries + r * words, query + r * plan.query.token, plan.width, words);
    for (int64_t first = 0; first < plan.keys; first += KEYS) {
        int64_t keys = least(plan.keys - first, KEYS);
        arrange<Kind>(space, plan, key + first * plan.key.token, value + first * plan.value.token, keys);
        for (int64_t r = 0; r < queries; r += ROWS)
            see<Kind>(space, r, words, keys, width, plan.scale * LOG2_E, first == 0);
    }
    for (int64_t r = 0; r < queries; r++) {
        float share = 1 / space.totals[r];
        for (int64_t d = 0; d < plan.width; d++)
            out[r * plan.out.token + d] = Kind::rounded(space.sums[r * width + d] * share);
    }
}

}  // namespace

// Rows of numbers and what is done to each by itself: norms, linear layers, feed-forwards.
#pragma once

#include "lanes.h"

namespace {

constexpr int64_t CHUNK = 64, HIDDEN = 2 * LANES;  // rows, and columns between the products, that are worked on at once

struct LayerNorm {
    const void *gain, *offset;  // (width,)
    float epsilon;
};

// A row, normalised, plus `shift` if there is one.
template <class Kind, class Number = typename Kind::Number>
INLINE void normalise(const LayerNorm &norm, const Number *x, int64_t width, const typename Kind::Number *shift,
                      Number *to) {
    const Number *gain = (const Number *)norm.gain, *offset = (const Number *)norm.offset;
    Floats total = {}, squares = {};
    for (int64_t i = 0; i < width; i += LANES) total += Kind::floats(x + i);
    float mean = sum(total) / width;
    for (int64_t i = 0; i < width; i += LANES) {
        Floats apart = Kind::floats(x + i) - mean;
        squares += apart * apart;
    }
    float scale = 1 / sqrtf(sum(squares) / width + norm.epsilon);
    for (int64_t i = 0; i < width; i += LANES) {
        Floats y = (Kind::floats(x + i) - mean) * scale * Kind::floats(gain + i) + Kind::floats(offset + i);
        if (shift) y += Kind::floats(shift + i);
        Kind::put(to + i, y);
    }
}

// The products of rows (ROWS of them are read at a time) with a weight (words, outputs), plus bias if there is one:
// `put` takes the row, the column, and the numbers from there.
template <class Kind, class Put, class Number>
INLINE void linear(const Number *x, int64_t rows, int64_t inputs, const int32_t *weight, int64_t outputs,
                   const typename Kind::Number *bias, Put put) {
    int64_t words = inputs / Kind::PER_WORD;
    by_columns(outputs, [&]<int columns>(int64_t column) INLINE_LAMBDA {
        for (int64_t r = 0; r < rows; r += ROWS) {
            Floats sums[ROWS][columns];
            for (int i = 0; i < ROWS; i++)
                for (int c = 0; c < columns; c++)
                    sums[i][c] = bias ? Kind::floats(bias + column + c * LANES) : Floats{};
            product<Kind>(sums, (const int32_t *)x + r * words, words, words, weight + column, outputs);
            for (int i = 0; i < least(ROWS, rows - r); i++)
                for (int c = 0; c < columns; c++) put(r + i, column + c * LANES, sums[i][c]);
        }
    });
}

// The weights of a feed-forward: (words, values and gates), (words of the hidden ones, width), and their biases.
struct Widening {
    int64_t width, hidden;
    const int32_t *wide;
    const void *wide_bias;
    const int32_t *narrow;
    const void *narrow_bias;
};

// out (rows, HIDDEN) = value times GELU(gate), for columns of the two halves of the first product
template <class Kind, class Number = typename Kind::Number>
INLINE void widen(const Widening &weights, const Number *x, int64_t rows, int64_t column, Number *out) {
    constexpr int columns = HIDDEN / LANES;
    int64_t words = weights.width / Kind::PER_WORD, hidden = weights.hidden;
    const int32_t *weight = weights.wide + column;
    const Number *bias = (const Number *)weights.wide_bias + column;
    for (int64_t r = 0; r < rows; r += ROWS) {
        Floats gate[ROWS][columns], value[ROWS][columns];
        float kept[ROWS * HIDDEN];
        const int32_t *row = (const int32_t *)x + r * words;
        for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < columns; c++) gate[i][c] = Kind::floats(bias + hidden + c * LANES);
        product<Kind>(gate, row, words, words, weight + hidden, 2 * hidden);
        for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < columns; c++) store(kept + i * HIDDEN + c * LANES, gelu(gate[i][c]));
        for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < columns; c++) value[i][c] = Kind::floats(bias + c * LANES);
        product<Kind>(value, row, words, words, weight, 2 * hidden);
        for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < columns; c++)
                Kind::put(out + (r + i) * HIDDEN + c * LANES,
                          value[i][c] * load<Floats>(kept + i * HIDDEN + c * LANES));
    }
}

// Fills sums (rows, width) with what the feed-forward makes of rows x. What that is added to must not be in the sums
// from the beginning: each product would be rounded to its size. Of x, of sums and of `active` (rows, HIDDEN), which is
// memory to work in, there are up to a multiple of ROWS.
template <class Kind, class Number = typename Kind::Number>
INLINE void feed_forward(const Widening &weights, const Number *x, int64_t rows, Number *active, float *sums) {
    constexpr int64_t hidden_words = HIDDEN / Kind::PER_WORD;
    int64_t width = weights.width;
    const Number *bias = (const Number *)weights.narrow_bias;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += LANES)
            store(sums + r * width + i, Kind::floats(bias + i));
    for (int64_t column = 0; column < weights.hidden; column += HIDDEN) {
        widen<Kind>(weights, x, up(rows, ROWS), column, active);
        const int32_t *weight = weights.narrow + column / Kind::PER_WORD * width;
        by_columns(width, [&]<int columns>(int64_t to) INLINE_LAMBDA {
            for (int64_t r = 0; r < rows; r += ROWS) {
                Floats block[ROWS][columns];
                float *start = sums + r * width + to;
                for (int i = 0; i < ROWS; i++)
                    for (int c = 0; c < columns; c++) block[i][c] = load<Floats>(start + i * width + c * LANES);
                product<Kind>(block, (int32_t *)active + r * hidden_words, hidden_words, hidden_words, weight + to,
                              width);
                for (int i = 0; i < ROWS; i++)
                    for (int c = 0; c < columns; c++) store(start + i * width + c * LANES, block[i][c]);
            }
        });
    }
}

}  // namespace

// Linear layers and feed-forwards of rows, for widths whose weights stay in the cache: norm, products, gate and residual
// in one pass over the rows.
#include "lanes.h"

namespace {

constexpr int64_t CHUNK = 64, HIDDEN = 2 * LANES;  // rows, and columns between the products, that are worked on at once

struct Plan {
    int64_t rows, inputs, outputs, hidden;
    int64_t frame;    // rows of a frame
    int64_t threads;
    const void *gain, *offset;  // of the norm of the input, (inputs,), or null if it has none
    const void *shift;          // (frames, inputs), added to what was normalised, or null
    float epsilon;
};

// Copies a chunk of rows from row `first`, normalised where a norm is given.
template <class Kind, class Number = typename Kind::Number>
void take(const Plan &plan, const Number *x, int64_t first, int64_t rows, Number *to) {
    int64_t width = plan.inputs;
    x += first * width;
    if (!plan.gain) {
        memcpy(to, x, rows * width * sizeof(Number));
        return;
    }
    const Number *gain = (const Number *)plan.gain, *offset = (const Number *)plan.offset;
    for (int64_t r = 0; r < rows; r++, x += width, to += width) {
        Floats total = {}, squares = {};
        for (int64_t i = 0; i < width; i += LANES) total += Kind::floats(x + i);
        float mean = sum(total) / width;
        for (int64_t i = 0; i < width; i += LANES) {
            Floats apart = Kind::floats(x + i) - mean;
            squares += apart * apart;
        }
        float scale = 1 / sqrtf(sum(squares) / width + plan.epsilon);
        const Number *shift = plan.shift ? (const Number *)plan.shift + (first + r) / plan.frame * width : nullptr;
        for (int64_t i = 0; i < width; i += LANES) {
            Floats y = (Kind::floats(x + i) - mean) * scale * Kind::floats(gain + i) + Kind::floats(offset + i);
            if (shift) y += Kind::floats(shift + i);
            Kind::put(to + i, y);
        }
    }
}

template <class Kind, class Number = typename Kind::Number>
int linear(const Plan &plan, const Number *x, const int32_t *weight, const Number *bias, const Number *residual,
            Number *out) {
    int64_t chunk = least(CHUNK, up(up(plan.rows, plan.threads) / plan.threads, ROWS));
    int64_t words = plan.inputs / Kind::PER_WORD, outputs = plan.outputs;
    Memory memory(plan.threads, 4 * chunk * words);
    if (!memory.start) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads)
    {
        Number *mine = (Number *)memory.mine();
#pragma omp for schedule(static)
        for (int64_t first = 0; first < plan.rows; first += chunk) {
            int64_t rows = least(chunk, plan.rows - first);
            take<Kind>(plan, x, first, rows, mine);
            by_columns(outputs, [&]<int columns>(int64_t column) INLINE_LAMBDA {
                for (int64_t r = 0; r < rows; r += ROWS) {
                    Floats sums[ROWS][columns];
                    for (int i = 0; i < ROWS; i++)
                        for (int c = 0; c < columns; c++)
                            sums[i][c] = bias ? Kind::floats(bias + column + c * LANES) : Floats{};
                    product<Kind>(sums, (int32_t *)mine + r * words, words, words, weight + column, outputs);
                    for (int i = 0; i < least(ROWS, rows - r); i++)
                        for (int c = 0; c < columns; c++) {
                            int64_t at = (first + r + i) * outputs + column + c * LANES;
                            Kind::put(out + at, residual ? sums[i][c] + Kind::floats(residual + at) : sums[i][c]);
                        }
                }
            });
        }
    }
    return DONE;
}

// out (chunk, HIDDEN) = value times GELU(gate), for columns of the two halves of the first product
template <class Kind, class Number = typename Kind::Number>
INLINE void widen(const Number *x, int64_t chunk, int64_t words, const int32_t *weight, int64_t hidden,
                  const Number *bias, Number *out) {
    constexpr int columns = HIDDEN / LANES;
    for (int64_t r = 0; r < chunk; r += ROWS) {
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

template <class Kind, class Number = typename Kind::Number>
int feed_forward(const Plan &plan, const Number *x, const int32_t *wide, const Number *wide_bias,
                  const int32_t *narrow, const Number *narrow_bias, const Number *residual, Number *out) {
    int64_t chunk = least(CHUNK, up(up(plan.rows, plan.threads) / plan.threads, ROWS));
    int64_t width = plan.inputs, words = width / Kind::PER_WORD;
    constexpr int64_t hidden_words = HIDDEN / Kind::PER_WORD;
    Memory memory(plan.threads, 4 * chunk * (words + hidden_words + width));
    if (!memory.start) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads)
    {
        int32_t *first_row = (int32_t *)memory.mine();
        Number *mine = (Number *)first_row, *active = (Number *)(first_row + chunk * words);
        float *sums = (float *)(first_row + chunk * (words + hidden_words));
#pragma omp for schedule(static)
        for (int64_t first = 0; first < plan.rows; first += chunk) {
            int64_t rows = least(chunk, plan.rows - first);
            take<Kind>(plan, x, first, rows, mine);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < width; i += LANES)
                    store(sums + r * width + i,
                          Kind::floats(residual + (first + r) * width + i) + Kind::floats(narrow_bias + i));
            for (int64_t column = 0; column < plan.hidden; column += HIDDEN) {
                widen<Kind>(mine, up(rows, ROWS), words, wide + column, plan.hidden, wide_bias + column, active);
                const int32_t *weight = narrow + column / Kind::PER_WORD * width;
                by_columns(width, [&]<int columns>(int64_t to) INLINE_LAMBDA {
                    for (int64_t r = 0; r < rows; r += ROWS) {
                        Floats block[ROWS][columns];
                        float *start = sums + r * width + to;
                        for (int i = 0; i < ROWS; i++)
                            for (int c = 0; c < columns; c++) block[i][c] = load<Floats>(start + i * width + c * LANES);
                        product<Kind>(block, (int32_t *)active + r * hidden_words, hidden_words, hidden_words,
                                      weight + to, width);
                        for (int i = 0; i < ROWS; i++)
                            for (int c = 0; c < columns; c++) store(start + i * width + c * LANES, block[i][c]);
                    }
                });
            }
            for (int64_t i = 0; i < rows * width; i += LANES) Kind::put(out + first * width + i, load<Floats>(sums + i));
        }
    }
    return DONE;
}

}  // namespace

extern "C" int linear_float32(const Plan *plan, const float *x, const int32_t *weight, const float *bias,
                               const float *residual, float *out) {
    return linear<Single>(*plan, x, weight, bias, residual, out);
}

extern "C" int feed_forward_float32(const Plan *plan, const float *x, const int32_t *wide, const float *wide_bias,
                                     const int32_t *narrow, const float *narrow_bias, const float *residual,
                                     float *out) {
    return feed_forward<Single>(*plan, x, wide, wide_bias, narrow, narrow_bias, residual, out);
}

#if defined(__AVX512BF16__)
extern "C" int feed_forward_bfloat16(const Plan *plan, const uint16_t *x, const int32_t *wide,
                                      const uint16_t *wide_bias, const int32_t *narrow, const uint16_t *narrow_bias,
                                      const uint16_t *residual, uint16_t *out) {
    return feed_forward<Pair>(*plan, x, wide, wide_bias, narrow, narrow_bias, residual, out);
}
#endif

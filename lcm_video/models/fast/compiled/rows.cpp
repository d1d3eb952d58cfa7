// Linear layers and feed-forwards of whole tensors, for widths whose weights stay in the cache: see rows.h.
#include "rows.h"

namespace {

struct Plan {
    int64_t rows, inputs, outputs, threads;
};

// Rows that a thread takes at a time.
INLINE int64_t chunk_of(const Plan &plan) { return least(CHUNK, up(up(plan.rows, plan.threads) / plan.threads, ROWS)); }

template <class Kind, class Number = typename Kind::Number>
int linear(const Plan &plan, const Number *x, const int32_t *weight, const Number *bias, const Number *residual,
           Number *out) {
    int64_t chunk = chunk_of(plan), inputs = plan.inputs, outputs = plan.outputs;
    Memory memory(plan.threads, chunk * inputs * sizeof(Number));
    if (!memory.start) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads)
    {
        Number *mine = (Number *)memory.mine();
#pragma omp for schedule(static)
        for (int64_t first = 0; first < plan.rows; first += chunk) {
            int64_t rows = least(chunk, plan.rows - first);
            memcpy(mine, x + first * inputs, rows * inputs * sizeof(Number));  // more than there are may be read
            linear<Kind>(mine, rows, inputs, weight, outputs, bias, [&](int64_t row, int64_t column, Floats sums)
                         INLINE_LAMBDA {
                int64_t at = (first + row) * outputs + column;
                Kind::put(out + at, residual ? sums + Kind::floats(residual + at) : sums);
            });
        }
    }
    return DONE;
}

template <class Kind, class Number = typename Kind::Number>
int feed_forward(const Plan &plan, const Number *x, const LayerNorm &norm, const Widening &weights, Number *out) {
    int64_t chunk = chunk_of(plan), width = plan.inputs, words = width / Kind::PER_WORD;
    constexpr int64_t hidden_words = HIDDEN / Kind::PER_WORD;
    Memory memory(plan.threads, 4 * chunk * (words + hidden_words + width));
    if (!memory.start) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads)
    {
        int32_t *mine = (int32_t *)memory.mine();
        Number *normed = (Number *)mine, *active = (Number *)(mine + chunk * words);
        float *sums = (float *)(mine + chunk * (words + hidden_words));
#pragma omp for schedule(static)
        for (int64_t first = 0; first < plan.rows; first += chunk) {
            int64_t rows = least(chunk, plan.rows - first);
            const Number *from = x + first * width;
            Number *to = out + first * width;
            for (int64_t r = 0; r < rows; r++)
                normalise<Kind>(norm, from + r * width, width, nullptr, normed + r * width);
            feed_forward<Kind>(weights, normed, rows, active, sums);
            for (int64_t i = 0; i < rows * width; i += LANES)
                Kind::put(to + i, load<Floats>(sums + i) + Kind::floats(from + i));
        }
    }
    return DONE;
}

}  // namespace

extern "C" int linear_float32(const Plan *plan, const float *x, const int32_t *weight, const float *bias,
                              const float *residual, float *out) {
    return linear<Single>(*plan, x, weight, bias, residual, out);
}

extern "C" int feed_forward_float32(const Plan *plan, const float *x, const LayerNorm *norm, const Widening *weights,
                                    float *out) {
    return feed_forward<Single>(*plan, x, *norm, *weights, out);
}

#if defined(__AVX512BF16__)
extern "C" int feed_forward_bfloat16(const Plan *plan, const uint16_t *x, const LayerNorm *norm,
                                     const Widening *weights, uint16_t *out) {
    return feed_forward<Pair>(*plan, x, *norm, *weights, out);
}
#endif

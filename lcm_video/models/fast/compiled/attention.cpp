// Attention of whole tensors: see attention.h.
#include "attention.h"

namespace {

template <class Kind, class Number = typename Kind::Number>
int attention(const Heads &plan, const Number *query, const Number *key, const Number *value, Number *out) {
    Sizes<Kind> sizes(plan);
    Memory memory(plan.threads, 4 * sizes.all);
    if (!memory.start) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads)
    {
        Space space = sizes.at((int32_t *)memory.mine());
#pragma omp for schedule(static)
        for (int64_t piece = 0; piece < pieces(plan); piece++)
            attend<Kind>(plan, query, key, value, out, piece, space);
    }
    return DONE;
}

}  // namespace

extern "C" int attention_float32(const Heads *plan, const float *query, const float *key, const float *value,
                                  float *out) {
    return attention<Single>(*plan, query, key, value, out);
}

#if defined(__AVX512BF16__)
extern "C" int attention_bfloat16(const Heads *plan, const uint16_t *query, const uint16_t *key, const uint16_t *value,
                                   uint16_t *out) {
    return attention<Pair>(*plan, query, key, value, out);
}
#endif

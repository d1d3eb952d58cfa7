// GroupNorm of whole images: see norms.h.
#include "norms.h"

namespace {

// From numbers of one kind to the same or another.
template <class Kind, class Out, class Number = typename Kind::Number>
int group_norm(const Groups &plan, const Number *x, const Number *gain, const Number *offset,
                typename Out::Number *out) {
    Affines<Kind> affines(plan);
    if (!affines.there()) return NO_MEMORY;
    auto line = [&](int64_t image, int64_t line) {
        norm_pixels<Kind, Out>(plan, x + image * affines.size + line * plan.columns * plan.channels, plan.columns,
                               affines.of(image), out + image * plan.image + line * plan.line);
    };
#pragma omp parallel num_threads(plan.threads)
    if (affines.chunks == 1) {  // a small image stays in the cache of one core
#pragma omp for schedule(static)
        for (int64_t image = 0; image < plan.images; image++) {
            affines.one(x, gain, offset, image);
            for (int64_t i = 0; i < plan.lines; i++) line(image, i);
        }
    } else {
        affines.each(x, gain, offset);
#pragma omp for schedule(static)
        for (int64_t item = 0; item < plan.images * plan.lines; item++) line(item / plan.lines, item % plan.lines);
    }
    return DONE;
}

}  // namespace

extern "C" int group_norm_float32(const Groups *plan, const float *x, const float *gain, const float *offset,
                                   float *out) {
    return group_norm<Single, Single>(*plan, x, gain, offset, out);
}

#if defined(__AVX512BF16__)
extern "C" int group_norm_bfloat16(const Groups *plan, const uint16_t *x, const uint16_t *gain, const uint16_t *offset,
                                    uint16_t *out) {
    return group_norm<Pair, Pair>(*plan, x, gain, offset, out);
}

extern "C" int group_norm_bfloat16_to_float32(const Groups *plan, const uint16_t *x, const uint16_t *gain,
                                               const uint16_t *offset, float *out) {
    return group_norm<Pair, Single>(*plan, x, gain, offset, out);
}
#endif

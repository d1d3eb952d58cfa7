// GroupNorm of images whose channels are last, and a SiLU behind it: one pass for the statistics, one for the rest.
#include "lanes.h"

namespace {

constexpr int64_t BLOCK = 64;        // pixels whose sums are added in float32
constexpr int64_t PIECE = 1 << 16;  // numbers, roughly, that a thread adds up at a time

struct Plan {
    int64_t images, lines, columns, channels, groups, silu, threads;
    int64_t image, line;  // strides of what is written, in numbers
    float epsilon;
};

// Per channel of some pixels the sums of (number - pivot) and of its square. A pivot near the mean saves the digits
// that a mean much larger than the deviations would cost.
template <class Kind, class Number = typename Kind::Number>
void add_up(const Number *x, const Number *pivot, int64_t pixels, int64_t channels, double *sums, double *squares) {
    for (int64_t c = 0; c < channels; c += LANES) {
        Floats centre = Kind::floats(pivot + c);
        double total[LANES] = {}, square[LANES] = {};
        for (int64_t first = 0; first < pixels; first += BLOCK) {
            Floats some = {}, some_square = {};
            for (int64_t i = first; i < least(first + BLOCK, pixels); i++) {
                Floats apart = Kind::floats(x + i * channels + c) - centre;
                some += apart;
                some_square += apart * apart;
            }
            for (int l = 0; l < LANES; l++) total[l] += some[l], square[l] += some_square[l];
        }
        for (int l = 0; l < LANES; l++) sums[c + l] = total[l], squares[c + l] = square[l];
    }
}

// Per channel (3, channels) the mean, what is left of numbers without it is multiplied by, and what is added then.
// sums: (chunks, 2, channels)
template <class Kind, class Number = typename Kind::Number>
void affine(const Plan &plan, const Number *pivot, const double *sums, int64_t chunks, const Number *gain,
            const Number *offset, float *out) {
    int64_t each = plan.channels / plan.groups;
    float *means = out, *factors = out + plan.channels, *shifts = out + 2 * plan.channels;
    double pixels = plan.lines * plan.columns;
    for (int64_t group = 0; group < plan.channels; group += each) {
        double total = 0, square = 0, base = Kind::number(pivot[group]);
        for (int64_t c = group; c < group + each; c++) {
            double sum = 0, squares = 0, apart = Kind::number(pivot[c]) - base;
            for (int64_t i = 0; i < chunks; i++) {
                sum += sums[2 * i * plan.channels + c];
                squares += sums[(2 * i + 1) * plan.channels + c];
            }
            total += sum + pixels * apart;  // from the pivot of the group's first channel
            square += squares + 2 * apart * sum + pixels * apart * apart;
        }
        double mean = total / (pixels * each), variance = square / (pixels * each) - mean * mean;
        double scale = 1 / sqrt((variance > 0 ? variance : 0) + plan.epsilon);
        for (int64_t c = group; c < group + each; c++) {
            double by = scale * Kind::number(gain[c]);
            means[c] = mean + base, factors[c] = by;
            shifts[c] = Kind::number(offset[c]) - (mean + base - means[c]) * by;  // the mean's last digits
        }
    }
}

template <class Kind, class Out>
void norm_line(const Plan &plan, const typename Kind::Number *x, const float *affine, typename Out::Number *out) {
    const float *mean = affine, *factor = affine + plan.channels, *shift = affine + 2 * plan.channels;
    for (int64_t i = 0; i < plan.columns; i++, x += plan.channels, out += plan.channels)
        for (int64_t c = 0; c < plan.channels; c += LANES) {
            Floats apart = Kind::floats(x + c) - load<Floats>(mean + c);
            Floats y = apart * load<Floats>(factor + c) + load<Floats>(shift + c);
            Out::put(out + c, plan.silu ? silu(y) : y);
        }
}

// From numbers of one kind to the same or another.
template <class Kind, class Out, class Number = typename Kind::Number>
int group_norm(const Plan &plan, const Number *x, const Number *gain, const Number *offset,
                typename Out::Number *out) {
    int64_t channels = plan.channels, size = plan.lines * plan.columns * channels;
    // Pieces depend on the image alone, so that its bits do not depend on the number of threads.
    int64_t chunks = least(plan.lines, size / PIECE + 1);
    Memory for_sums(1, 16 * plan.images * chunks * channels), for_affines(1, 12 * plan.images * channels);
    if (!for_sums.start || !for_affines.start) return NO_MEMORY;
    double *sums = (double *)for_sums.start;
    float *affines = (float *)for_affines.start;
#pragma omp parallel num_threads(plan.threads)
    {
#pragma omp for schedule(static)
        for (int64_t item = 0; item < plan.images * chunks; item++) {
            int64_t image = item / chunks, chunk = item % chunks;
            int64_t first = chunk * plan.lines / chunks, last = (chunk + 1) * plan.lines / chunks;
            const Number *from = x + image * size;
            add_up<Kind>(from + first * plan.columns * channels, from, (last - first) * plan.columns, channels,
                         sums + 2 * item * channels, sums + (2 * item + 1) * channels);
        }
#pragma omp for schedule(static)
        for (int64_t image = 0; image < plan.images; image++)
            affine<Kind>(plan, x + image * size, sums + 2 * image * chunks * channels, chunks, gain, offset,
                         affines + 3 * image * channels);
#pragma omp for schedule(static)
        for (int64_t item = 0; item < plan.images * plan.lines; item++) {
            int64_t image = item / plan.lines, line = item % plan.lines;
            norm_line<Kind, Out>(plan, x + image * size + line * plan.columns * channels,
                                 affines + 3 * image * channels, out + image * plan.image + line * plan.line);
        }
    }
    return DONE;
}

}  // namespace

extern "C" int group_norm_float32(const Plan *plan, const float *x, const float *gain, const float *offset,
                                   float *out) {
    return group_norm<Single, Single>(*plan, x, gain, offset, out);
}

#if defined(__AVX512BF16__)
extern "C" int group_norm_bfloat16(const Plan *plan, const uint16_t *x, const uint16_t *gain, const uint16_t *offset,
                                    uint16_t *out) {
    return group_norm<Pair, Pair>(*plan, x, gain, offset, out);
}

extern "C" int group_norm_bfloat16_to_float32(const Plan *plan, const uint16_t *x, const uint16_t *gain,
                                               const uint16_t *offset, float *out) {
    return group_norm<Pair, Single>(*plan, x, gain, offset, out);
}
#endif

// GroupNorm of images whose channels are last, and a SiLU behind it: a pass for the statistics, one for the rest.
#pragma once

#include "lanes.h"

namespace {

constexpr int64_t BLOCK = 64;        // pixels whose sums are added in float32
constexpr int64_t PIECE = 1 << 16;  // numbers, roughly, that a thread adds up at a time

struct Groups {
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
void affine(const Groups &plan, const Number *pivot, const double *sums, int64_t chunks, const Number *gain,
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

// What statistics make of the numbers of images, and the memory for it.
template <class Kind, class Number = typename Kind::Number> struct Affines {
    const Groups &plan;
    int64_t size, chunks;  // of an image; they depend on it alone, so that its bits do not depend on the threads
    Memory for_sums, for_all;
    double *sums;  // (images, chunks, 2, channels)
    float *all;    // (images, 3, channels)

    explicit Affines(const Groups &plan)
        : plan(plan), size(plan.lines * plan.columns * plan.channels), chunks(least(plan.lines, size / PIECE + 1)),
          for_sums(1, 16 * plan.images * chunks * plan.channels), for_all(1, 12 * plan.images * plan.channels),
          sums((double *)for_sums.start), all((float *)for_all.start) {}

    bool there() const { return sums && all; }
    const float *of(int64_t image) const { return all + 3 * image * plan.channels; }

    void add_up_chunk(const Number *x, int64_t image, int64_t chunk) {
        int64_t first = chunk * plan.lines / chunks, last = (chunk + 1) * plan.lines / chunks;
        double *to = sums + 2 * (image * chunks + chunk) * plan.channels;
        x += image * size;
        add_up<Kind>(x + first * plan.columns * plan.channels, x, (last - first) * plan.columns, plan.channels, to,
                     to + plan.channels);
    }

    void finish(const Number *x, const Number *gain, const Number *offset, int64_t image) {
        affine<Kind>(plan, x + image * size, sums + 2 * image * chunks * plan.channels, chunks, gain, offset,
                     all + 3 * image * plan.channels);
    }

    // One image, by the thread that calls.
    void one(const Number *x, const Number *gain, const Number *offset, int64_t image) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) add_up_chunk(x, image, chunk);
        finish(x, gain, offset, image);
    }

    // All images, by all threads of a parallel region.
    void each(const Number *x, const Number *gain, const Number *offset) {
#pragma omp for schedule(static)
        for (int64_t item = 0; item < plan.images * chunks; item++) add_up_chunk(x, item / chunks, item % chunks);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < plan.images; image++) finish(x, gain, offset, image);
    }
};

template <class Kind, class Out>
void norm_pixels(const Groups &plan, const typename Kind::Number *x, int64_t pixels, const float *affine,
                 typename Out::Number *out) {
    const float *mean = affine, *factor = affine + plan.channels, *shift = affine + 2 * plan.channels;
    for (int64_t i = 0; i < pixels; i++, x += plan.channels, out += plan.channels)
        for (int64_t c = 0; c < plan.channels; c += LANES) {
            Floats apart = Kind::floats(x + c) - load<Floats>(mean + c);
            Floats y = apart * load<Floats>(factor + c) + load<Floats>(shift + c);
            Out::put(out + c, plan.silu ? silu(y) : y);
        }
}

}  // namespace

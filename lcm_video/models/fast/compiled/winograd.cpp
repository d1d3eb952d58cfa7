// Winograd's convolution of float32 images, as winograd.py explains it. Some tiles at a time, the image is transformed,
// multiplied, and transformed back while what lies between stays in the cache: all threads work on the same tiles, and
// share the weights that they read, or where weights are small each has its own tiles and waits for no other.
#include "lanes.h"

namespace {

constexpr int HIGH = 6;                       // rows and vectors of columns whose products are summed up in registers
constexpr int WIDEST = LANES == 16 ? 4 : 2;
constexpr int64_t SUMMED = 128;  // inputs

// Vectors of columns of weights that lie together, a panel: as many as divide the outputs.
INLINE int64_t wide_of(int64_t outputs) {
    int64_t wide = WIDEST;
    while (outputs % (wide * LANES)) wide /= 2;
    return wide;
}

struct Plan {
    int64_t frames, lines, columns;  // of the image
    int64_t ahead;                   // lines and columns of zeros before it that are not in memory; as many come after
    int64_t inputs, outputs;
    int64_t height, width;           // of the result; of the image before it is doubled, if `doubling`
    int64_t doubling, tiles, apart, threads;  // apart: whether each thread has its own tiles
    int64_t out_frame, out_line, added_frame, added_line;  // strides in numbers
    int64_t tile, taps;              // output pixels of a tile, and of the kernel, along a side
    const float *to_points, *from_points;  // the matrices B and A, (side, side) and (tile, side)
};

// The points come as 0, p, -p, q, -q ..., infinity. A polynomial's even and odd terms at -p are those at p, the odd ones
// negated; so each pair costs what one of its points would, and one sum.

// values[i] becomes the sum over j of b[i][j] values[j]
template <int side> INLINE void to_points(const float *b, Floats (&values)[side]) {
    Floats first = {}, last = {}, out[side];
    for (int j = 0; j < side; j += 2) first += b[j] * values[j];
    for (int j = 1; j < side; j += 2) last += b[(side - 1) * side + j] * values[j];
    for (int i = 1; i < side - 1; i += 2) {
        Floats even = {}, odd = {};
        for (int j = 2; j < side - 1; j += 2) even += b[i * side + j] * values[j];
        for (int j = 1; j < side - 1; j += 2) odd += b[i * side + j] * values[j];
        out[i] = even + odd, out[i + 1] = even - odd;
    }
    out[0] = first, out[side - 1] = last;
    for (int i = 0; i < side; i++) values[i] = out[i];
}

// The first `tile` values become the sums over j of a[i][j] values[j].
template <int side, int tile> INLINE void from_points(const float *a, Floats (&values)[side]) {
    Floats even[side], odd[side], out[tile];
    for (int j = 1; j < side - 1; j += 2) even[j] = values[j] + values[j + 1], odd[j] = values[j] - values[j + 1];
    for (int i = 0; i < tile; i++) {
        out[i] = i == 0 ? a[0] * values[0] : Floats{};
        if (i == tile - 1) out[i] += a[i * side + side - 1] * values[side - 1];
        for (int j = 1; j < side - 1; j += 2) out[i] += a[i * side + j] * (i % 2 ? odd[j] : even[j]);
    }
    for (int i = 0; i < tile; i++) values[i] = out[i];
}

INLINE int64_t tiles_down(const Plan &plan) { return up(plan.height + plan.doubling, plan.tile) / plan.tile; }
INLINE int64_t tiles_across(const Plan &plan) { return up(plan.width + plan.doubling, plan.tile) / plan.tile; }

// Where tile `number` is.
struct Place { int64_t frame, line, column; };

INLINE Place place(const Plan &plan, int64_t number) {
    int64_t down = tiles_down(plan), across = tiles_across(plan);
    return {number / across / down, number / across % down * plan.tile, number % across * plan.tile};
}

// One tile of the image at all points: (side * side, tiles, inputs), from `to` on
template <int side> void transform(const Plan &plan, const float *x, int64_t number, float *to, int64_t apart) {
    Place at = place(plan, number);
    int64_t line = plan.columns * plan.inputs, top = at.line - plan.ahead, left = at.column - plan.ahead;
    bool inside = top >= 0 && left >= 0 && top + side <= plan.lines && left + side <= plan.columns;
    x += (at.frame * plan.lines + top) * line + left * plan.inputs;
    for (int64_t c = 0; c < plan.inputs; c += LANES) {
        Floats tile[side][side];
        for (int j = 0; j < side; j++) {
            Floats column[side];
            for (int i = 0; i < side; i++) {
                bool there = inside || ((uint64_t)(top + i) < (uint64_t)plan.lines &&
                                        (uint64_t)(left + j) < (uint64_t)plan.columns);
                column[i] = there ? load<Floats>(x + i * line + j * plan.inputs + c) : Floats{};
            }
            to_points(plan.to_points, column);
            for (int i = 0; i < side; i++) tile[i][j] = column[i];
        }
        for (int i = 0; i < side; i++) {
            to_points(plan.to_points, tile[i]);
            for (int j = 0; j < side; j++) store(to + (i * side + j) * apart + c, tile[i][j]);
        }
    }
}

// One tile of the result, with its bias, and what is added to it, from the products (side * side, tiles, outputs)
template <class Kind, int side, int tile, class Number = typename Kind::Number>
void restore(const Plan &plan, const float *from, int64_t apart, int64_t number, const float *bias,
             const Number *added, Number *out) {
    Place at = place(plan, number);
    int64_t channels = plan.doubling ? plan.outputs / 4 : plan.outputs, step = plan.doubling ? 2 : 1;
    for (int64_t c = 0; c < plan.outputs; c += LANES) {
        int64_t phase = c / channels, channel = c % channels, down = phase / 2, across = phase % 2;
        Floats half[side][side], offset = load<Floats>(bias + channel);
        for (int j = 0; j < side; j++) {
            Floats column[side];
            for (int i = 0; i < side; i++) column[i] = load<Floats>(from + (i * side + j) * apart + c);
            from_points<side, tile>(plan.from_points, column);
            for (int i = 0; i < tile; i++) half[i][j] = column[i];
        }
        // A phase that looks at the pixel before begins one pixel later: its kernel sees one more than it needs.
        int64_t line = at.line - down, first = at.column - across;
        for (int i = 0; i < tile; i++) {
            if (line + i < 0 || line + i >= plan.height) continue;
            from_points<side, tile>(plan.from_points, half[i]);
            int64_t y = step * (line + i) + down;
            for (int j = 0; j < tile; j++) {
                if (first + j < 0 || first + j >= plan.width) continue;
                int64_t x = (step * (first + j) + across) * channels + channel;
                Floats pixel = half[i][j] + offset;
                if (added) pixel += Kind::floats(added + at.frame * plan.added_frame + y * plan.added_line + x);
                Kind::put(out + at.frame * plan.out_frame + y * plan.out_line + x, pixel);
            }
        }
    }
}

// out (tiles, outputs), at one panel: tiles (tiles, inputs) times weight (inputs, panel). Sums of some inputs are summed
// up again: one long sum of 512 would round twice as much.
template <int wide>
void multiply(const float *tiles, int64_t count, int64_t inputs, const float *weight, float *out, int64_t outputs) {
    for (int64_t r = 0; r < count; r += HIGH)
        for (int64_t first = 0; first < inputs; first += SUMMED) {
            Floats sums[HIGH][wide];
            for (int i = 0; i < HIGH; i++)
                for (int c = 0; c < wide; c++) sums[i][c] = Floats{};
            product<Single>(sums, (const int32_t *)(tiles + r * inputs + first), inputs, least(SUMMED, inputs - first),
                            (const int32_t *)(weight + first * wide * LANES), wide * LANES);
            for (int i = 0; i < HIGH; i++)
                for (int c = 0; c < wide; c++) {
                    float *to = out + (r + i) * outputs + c * LANES;
                    store(to, first ? load<Floats>(to) + sums[i][c] : sums[i][c]);
                }
        }
}

template <class Kind, int side, int tile, class Number = typename Kind::Number>
void convolve(const Plan &plan, const float *x, const float *weight, const float *bias, const Number *added,
              Number *out, float *memory) {
    int64_t all = plan.frames * tiles_down(plan) * tiles_across(plan), high = up(plan.tiles, HIGH);
    int64_t wide = wide_of(plan.outputs), columns = wide * LANES, points = side * side;
    int64_t panels = plan.outputs / columns;
    auto to_domain = [&](float *tiles, int64_t first, int64_t i) {
        transform<side>(plan, x, first + i, tiles + i * plan.inputs, high * plan.inputs);
    };
    auto products = [&](float *tiles, int64_t count, int64_t item) {
        int64_t point = item / panels, panel = item % panels;
        const float *from = tiles + point * high * plan.inputs, *by = weight + item * plan.inputs * columns;
        float *to = tiles + points * high * plan.inputs + point * high * plan.outputs + panel * columns;
        if (wide == 4) multiply<4>(from, count, plan.inputs, by, to, plan.outputs);
        else if (wide == 2) multiply<2>(from, count, plan.inputs, by, to, plan.outputs);
        else multiply<1>(from, count, plan.inputs, by, to, plan.outputs);
    };
    auto from_domain = [&](float *tiles, int64_t first, int64_t i) {
        float *from = tiles + points * high * plan.inputs + i * plan.outputs;
        restore<Kind, side, tile>(plan, from, high * plan.outputs, first + i, bias, added, out);
    };
#pragma omp parallel num_threads(plan.threads)
    if (plan.apart) {
        float *mine = memory + omp_get_thread_num() * points * high * (plan.inputs + plan.outputs);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < all; first += plan.tiles) {
            int64_t count = least(plan.tiles, all - first);
            for (int64_t i = 0; i < count; i++) to_domain(mine, first, i);
            for (int64_t item = 0; item < points * panels; item++) products(mine, count, item);
            for (int64_t i = 0; i < count; i++) from_domain(mine, first, i);
        }
    } else
        for (int64_t first = 0; first < all; first += plan.tiles) {
            int64_t count = least(plan.tiles, all - first);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i++) to_domain(memory, first, i);
#pragma omp for schedule(static)
            for (int64_t item = 0; item < points * panels; item++) products(memory, count, item);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i++) from_domain(memory, first, i);
        }
}

template <class Kind, class Number = typename Kind::Number>
void winograd(const Plan &plan, const float *x, const float *weight, const float *bias, const Number *added,
              Number *out, float *memory) {
    if (plan.tile == 4) convolve<Kind, 6, 4>(plan, x, weight, bias, added, out, memory);
    else convolve<Kind, 4, 3>(plan, x, weight, bias, added, out, memory);
}

// Weights at all points, in panels: (side * side, panels, inputs, columns of a panel), from (outputs, taps * taps, inputs).
// g: (side, taps), which evaluates a kernel
template <class Kind, int side, int taps, class Number = typename Kind::Number>
void weights(const Number *weight, int64_t outputs, int64_t inputs, const float *g, float *to, int64_t threads) {
    int64_t columns = wide_of(outputs) * LANES, panels = outputs / columns;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t item = 0; item < outputs / LANES; item++) {
        int64_t output = item * LANES, panel = output / columns;
        for (int64_t input = 0; input < inputs; input += LANES) {
            Words kernel[taps * taps][LANES];  // by tap and input, the outputs
            for (int tap = 0; tap < taps * taps; tap++) {
                for (int i = 0; i < LANES; i++)
                    kernel[tap][i] = (Words)Kind::floats(weight + ((output + i) * taps * taps + tap) * inputs + input);
                transpose(kernel[tap]);
            }
            for (int l = 0; l < LANES; l++)
                for (int i = 0; i < side; i++) {
                    Floats half[taps];
                    for (int b = 0; b < taps; b++) {
                        half[b] = Floats{};
                        for (int a = 0; a < taps; a++) half[b] += g[i * taps + a] * (Floats)kernel[a * taps + b][l];
                    }
                    for (int j = 0; j < side; j++) {
                        Floats value = {};
                        for (int b = 0; b < taps; b++) value += g[j * taps + b] * half[b];
                        int64_t at = (((i * side + j) * panels + panel) * inputs + input + l) * columns;
                        store(to + at + output % columns, value);
                    }
                }
        }
    }
}

template <class Kind, class Number = typename Kind::Number>
void winograd_weights(const Number *weight, int64_t outputs, int64_t inputs, int64_t taps, const float *g, float *to,
                      int64_t threads) {
    if (taps == 3) weights<Kind, 6, 3>(weight, outputs, inputs, g, to, threads);
    else weights<Kind, 4, 2>(weight, outputs, inputs, g, to, threads);
}

}  // namespace

extern "C" int winograd_float32(const Plan *plan, const float *x, const float *weight, const float *bias,
                                 const float *added, float *out, float *memory) {
    winograd<Single>(*plan, x, weight, bias, added, out, memory);
    return DONE;
}

extern "C" int winograd_weights_float32(const float *weight, const int64_t *sizes, const float *g, float *to) {
    winograd_weights<Single>(weight, sizes[0], sizes[1], sizes[2], g, to, sizes[3]);
    return DONE;
}

#if defined(__AVX512BF16__)
extern "C" int winograd_bfloat16(const Plan *plan, const float *x, const float *weight, const float *bias,
                                  const uint16_t *added, uint16_t *out, float *memory) {
    winograd<Pair>(*plan, x, weight, bias, added, out, memory);
    return DONE;
}

extern "C" int winograd_weights_bfloat16(const uint16_t *weight, const int64_t *sizes, const float *g, float *to) {
    winograd_weights<Pair>(weight, sizes[0], sizes[1], sizes[2], g, to, sizes[3]);
    return DONE;
}
#endif
